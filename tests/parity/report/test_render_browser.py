"""The HTML page in a real browser: it opens, sorts, filters, points, turns dark, and runs no other script."""

import importlib.util
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parity.report.sample_reports import EXAMPLES, FAULTY, LAYERS, OPERATIONS, failed, large

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("playwright") is None, reason="requires_playwright: pip install playwright"
    ),
    pytest.mark.skipif(BROWSER is None, reason="requires_chromium: no chromium is on the path"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pages")
    for name, make in EXAMPLES.items():
        make().save(directory / f"{name}.html")
    return directory


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


class Opened:
    """A page with everything that went wrong on it."""

    def __init__(self, browser: Any, path: Path, width: int = 1400, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())

    def column(self, number: int, table: str = "#quantities") -> list[str]:
        return self.page.locator(f"{table} tbody td:nth-child({number})").all_inner_texts()  # type: ignore[no-any-return]

    def head(self, text: str) -> Any:
        return self.page.locator("#quantities th", has_text=text)


@pytest.fixture
def open_page(browser: Any, saved: Path) -> Iterator[Any]:
    opened: list[Opened] = []

    def open_one(name: str, width: int = 1400, **context: Any) -> Opened:
        opened.append(Opened(browser, saved / f"{name}.html", width, **context))
        return opened[-1]

    yield open_one
    for one in opened:
        one.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("name", EXAMPLES)
def test_it_opens_without_a_complaint_or_a_request_and_fits(
    open_page: Any, name: str, width: int, scheme: str
) -> None:
    opened = open_page(name, width, color_scheme=scheme)
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1217, 1280, 1440])
@pytest.mark.parametrize("name", ["failed", "alike", "trained", "passed"])
def test_the_table_needs_no_scrolling_sideways(open_page: Any, name: str, width: int) -> None:
    opened = open_page(name, width)
    opened.page.locator("#quantities [data-more=all]").dispatch_event("click")
    room = "box => box.scrollWidth - box.clientWidth"
    assert opened.page.locator("#quantities .scroll").evaluate(room) <= 0


def test_a_narrow_page_names_the_side_of_the_second_name(open_page: Any) -> None:
    before = "cell => getComputedStyle(cell, '::before').content"
    for name, words in (("failed", "in JAX"), ("alike", "in the candidate")):
        cells = open_page(name, 400).page.locator("#quantities tbody td:nth-child(4):not(:empty)")
        assert cells.first.evaluate(before) == f'"{words}"'


def test_hostile_names_run_nothing(open_page: Any) -> None:
    opened = open_page("hostile")
    assert "<script>alert(1)</script>" in opened.page.locator("h1").inner_text()
    assert opened.page.locator("img").count() == 0
    opened.page.locator(".plots").first.hover()
    assert "<script>alert(1)</script>" in opened.page.locator("#growth .readout").first.inner_text()
    opened.page.get_by_label("Filter quantities").fill("<script>")
    assert len(opened.column(1)) == 2
    assert opened.complaints == []


def test_a_script_that_got_in_all_the_same_would_not_run(open_page: Any) -> None:
    opened = open_page("passed")
    opened.page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'alert(3)'}))"
    )
    assert any("Content Security Policy" in text for text in opened.complaints)
    assert "3" not in opened.complaints


def test_a_column_sorts_by_its_numbers_both_ways(open_page: Any) -> None:
    opened = open_page("failed")
    opened.page.locator("#quantities [data-more=all]").click()
    rho = sorted(q.rho for q in failed().quantities)
    for direction, expected in (("descending", rho[::-1]), ("ascending", rho)):
        opened.head("rho").get_by_role("button").click()
        assert opened.head("rho").get_attribute("aria-sort") == direction
        shown = [float(text.rstrip("*")) for text in opened.column(6)]
        assert shown == pytest.approx(expected, rel=0.06)  # two digits are shown
    assert opened.page.locator("#quantities [aria-sort]").count() == 1


def test_names_sort_by_the_numbers_in_them_and_from_the_keyboard(open_page: Any) -> None:
    opened = open_page("failed")
    opened.head("PyTorch name").get_by_role("button").focus()
    opened.page.keyboard.press("Enter")
    opened.page.locator("#quantities [data-more=all]").click()
    layers = [int(name.split(".")[2]) for name in opened.column(3) if name.startswith("encoder")]
    assert layers == sorted(layers)
    assert layers[-1] == LAYERS - 1
    opened.head("PyTorch name").get_by_role("button").press("Space")
    assert opened.head("PyTorch name").get_attribute("aria-sort") == "descending"


def test_filters_narrow_the_table_and_say_how_far(open_page: Any) -> None:
    opened = open_page("failed")
    quantities = failed().quantities
    status = opened.page.locator("#quantities [role=status]")
    assert status.inner_text() == f"first 25 of {len(quantities)}"
    opened.page.get_by_label("Filter quantities").fill("layer.3 DENSE")
    found = [q for q in quantities if "layer.3" in q.name and "dense" in q.name]
    assert opened.column(3) == [q.name for q in found] != []
    assert status.inner_text() == f"{len(found)} of {len(quantities)} shown"
    opened.page.get_by_role("combobox", name="Precision").select_option("float32")
    assert opened.column(5) == ["float32"] * sum(q.dtype == "float32" for q in found)
    opened.page.get_by_label("Filter quantities").fill("")
    opened.page.get_by_role("combobox", name="Verdict").select_option("fail")
    assert opened.column(1) == []
    opened.page.get_by_role("combobox", name="Precision").select_option("all")
    assert set(opened.column(1)) == {"fail"}


def test_an_inconclusive_is_found_and_not_taken_for_another(open_page: Any) -> None:
    opened = open_page("failed")
    opened.page.get_by_role("combobox", name="Verdict").select_option("inconclusive")
    (name,) = opened.column(3)
    assert name.split() == ["pooler.weight", "reference", "against", "finite", "differences"]


def test_a_stage_leads_to_its_quantities(open_page: Any) -> None:
    opened = open_page("failed")
    opened.page.get_by_role("list", name="Stages").get_by_role("link", name="Outputs").click()
    assert opened.column(2) == ["forward", "forward"]


def test_the_plan_filters_and_sorts(open_page: Any) -> None:
    opened = open_page("failed")
    opened.page.get_by_label("Filter weights").fill("layer.11 kernel")
    assert [len(row) for row in (opened.column(1, "#plan"), opened.column(3, "#plan"))] == [2, 2]
    assert set(opened.column(3, "#plan")) == {"permute (1, 0)"}


def test_thousands_of_rows_stay_usable(open_page: Any) -> None:
    opened = open_page("large")
    assert len(opened.column(1)) == 25
    click = "head => { const t = performance.now(); head.click(); return performance.now() - t }"
    duration_ms = opened.head("rho").get_by_role("button").evaluate(click)
    assert duration_ms < 5000  # 15 on two busy cores; a sort of quadratic time would take minutes
    opened.page.get_by_label("Filter quantities").fill("block.4999")
    assert opened.column(3) == ["block.4999.weight"]
    opened.page.get_by_label("Filter quantities").fill("")
    opened.page.get_by_role("button", name="Show 100 more").click()
    assert len(opened.column(1)) == 125
    opened.page.get_by_role("button", name="Show all").click()
    assert opened.page.locator("#quantities tbody tr").count() == len(large().quantities)
    assert opened.page.get_by_role("button", name="Show all").count() == 0  # it is hidden


def test_dark_and_light_follow_the_system_until_the_button_is_pressed(open_page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    for scheme, start in (("light", "false"), ("dark", "true")):
        opened = open_page("passed", color_scheme=scheme)
        button = opened.page.get_by_role("button", name="Dark")
        before = opened.page.evaluate(ground)
        assert button.get_attribute("aria-pressed") == start
        button.click()
        assert button.get_attribute("aria-pressed") != start
        after = opened.page.evaluate(ground)
        assert after != before
        button.click()
        assert opened.page.evaluate(ground) == before


def test_pointing_at_the_growth_names_both_places(open_page: Any) -> None:
    opened = open_page("failed")
    chart = opened.page.locator("#growth [data-chart]").first
    readout = chart.locator(".readout")
    assert f"{FAULTY * len(OPERATIONS) + 1} of {LAYERS * len(OPERATIONS)}" in readout.inner_text()
    chart.scroll_into_view_if_needed()
    box = chart.locator(".panel").bounding_box()
    share = (2 * len(OPERATIONS) + 5 + 0.5) / (LAYERS * len(OPERATIONS))  # the last operation of layer 2
    opened.page.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
    text = readout.inner_text()
    assert "encoder.layer.2.output.LayerNorm" in text
    assert "aten.native_layer_norm" in text
    assert "model.py:35" in text
    assert "encoder/layer_2" in text
    chart.get_by_role("slider").press("ArrowLeft")
    assert "encoder.layer.2.output.dense" in readout.inner_text()


def test_a_curve_shows_its_first_failure(open_page: Any) -> None:
    opened = open_page("trained")
    chart = opened.page.locator("#curves [data-chart]").first
    assert chart.locator("dd").first.inner_text() == "17"
    path = chart.locator("path.failure").first.get_attribute("d")
    assert math.isclose(float(path[1:].split()[0]), 100 * 17.5 / 40, abs_tol=0.01)


def test_without_javascript_everything_is_there(open_page: Any) -> None:
    opened = open_page("failed", java_script_enabled=False)
    assert len(opened.column(1)) == len(failed().quantities)
    assert not opened.page.get_by_label("Filter quantities").is_visible()
    assert not opened.page.locator("#theme").is_visible()
    assert opened.page.locator("#growth .readout").first.is_visible()
