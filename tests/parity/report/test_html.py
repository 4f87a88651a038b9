"""The HTML page as text: whole in itself, in the right order, and with nothing taken for markup."""

import base64
import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from parity.report.html import page, write_html
from parity.report.results import AS_STORED, Quantity, Report, Verdict
from parity.report.sides import TORCH_AND_JAX
from parity.report.table import Scale, table_rows
from tests.parity.report.sample_reports import (
    EXAMPLES,
    HOSTILE,
    LEAVES,
    SCRIPT,
    failed,
    hostile,
    large,
    passed,
    quantity,
    stopped,
)

VOID = {"meta", "link", "input", "wbr"}
SHOWN = HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e").replace("\ud800", "\\ud800")
"""The hostile text as it is shown: control characters as escapes, the rest letter by letter."""


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1:] != [tag]:
            raise ValueError(f"</{tag}> closes {self.open[-3:]} at {self.getpos()}")
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.text[tag][-1] += data

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] or "" for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    few = {"large": lambda: large(50)}
    return {name: Page(page(make())) for name, make in (EXAMPLES | few).items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_element_is_closed_in_its_place(pages: dict[str, Page], name: str) -> None:
    assert pages[name].open == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_needs_nothing_but_itself(pages: dict[str, Page], name: str) -> None:
    parsed = pages[name]
    ids = parsed.attributes("id")
    assert len(ids) == len(set(ids))
    for target in parsed.attributes("href") + parsed.attributes("src"):
        assert target == "data:," or target.removeprefix("#") in ids
    for attribute in ("aria-labelledby", "for"):
        assert set(parsed.attributes(attribute)) <= set(ids)
    style = "".join(parsed.text["style"])
    assert "@import" not in style
    assert "url(" not in style
    assert not re.search(r"fetch|XMLHttpRequest|https?:", "".join(parsed.text["script"]))


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_our_script_may_run(pages: dict[str, Page], name: str) -> None:
    parsed = pages[name]
    kinds = [attributes.get("type") for tag, attributes in parsed.elements if tag == "script"]
    scripts = [text for kind, text in zip(kinds, parsed.text["script"], strict=True) if kind is None]
    assert set(kinds) <= {None, "application/json"}
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    (policy,) = [p for p in parsed.attributes("content") if "default-src" in p]
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in policy


def test_hostile_names_stay_text(pages: dict[str, Page]) -> None:
    parsed = pages["hostile"]
    assert not [tag for tag, _ in parsed.elements if tag in ("img", "iframe", "object", "base")]
    assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on")]
    for tag in ("h1", "title", "td", "code", "figcaption", "li", "dd", "pre"):
        assert any(SHOWN in text for text in parsed.text[tag]), tag
    assert "{{ 7 * 7 }}" in SHOWN  # and so no template has computed it
    assert {c for c in parsed.source if not c.isprintable()} == {"\n"}


def test_hostile_names_stay_text_in_embedded_data(pages: dict[str, Page]) -> None:
    parsed = pages["hostile"]
    blocks = [json.loads(text) for text in parsed.text["script"] if text.startswith("{")]
    assert len(blocks) == 3  # a curve and two passes
    cells = [cell for block in blocks[1:] for row in block["rows"] for cell in row]
    assert any(SHOWN in cell for cell in cells)
    assert SCRIPT not in parsed.source


def test_an_svg_title_is_text(pages: dict[str, Page]) -> None:
    titles = pages["hostile"].text["title"]
    assert len(titles) > 3
    assert any(SHOWN in title for title in titles[1:])


def test_the_verdict_comes_first_and_then_the_first_divergence(pages: dict[str, Page]) -> None:
    text = pages["failed"].source
    order = [
        "bert-base, Flax port</h1>",
        "the first difference is in the forward pass, at layer <code>encoder.layer.7.output.LayerNorm</code> "
        "(native_layer_norm), model_jax.py:88",
        "First divergence",
        "x = self.LayerNorm(dropped + residual)",
        "h = (x - mean) * jax.lax.rsqrt(var + eps)",
        "Cause: epsilon",
        "the two sides agree to 3e-16",
        "4.6e-06 relative",
        "Divergence 2 of 2",
        "Every compared quantity",
        "How the weights were converted",
        "How the error grows",
        "Other findings",
        "What was not checked",
        "Precision, devices and versions",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)


def test_every_quantity_and_every_weight_is_a_row(pages: dict[str, Page]) -> None:
    parsed = pages["failed"]
    report = failed()
    assert len(parsed.text["tr"]) == len(report.quantities) + len(report.plan) + 2  # and two heads
    for torch, jax in LEAVES:
        assert parsed.text["td"].count(torch) == 4  # in weights, in two precisions, in the plan
        assert parsed.text["td"].count(jax) == 4


def test_sections_without_content_are_left_out(pages: dict[str, Page]) -> None:
    for heading in ("divergence", "Curves", "grows", "findings", "converted"):
        assert heading not in "".join(pages["large"].text["h2"])
    assert "No answer" in pages["stopped"].source
    assert "at model_jax.py:12" in pages["stopped"].source


def test_the_gravest_rows_come_first() -> None:
    quantities = [
        quantity("a", 3.0),
        quantity("b", 200.0),
        quantity("c", math.inf),
        quantity("d", 5.0, verdict=Verdict.INCONCLUSIVE),
        Quantity("forward", "outputs", "e", "float64", Verdict.FAIL),
        quantity("f", 1e9),
    ]
    rows = table_rows(quantities, Scale.over(quantities), TORCH_AND_JAX)
    assert [row.quantity.name for row in rows] == ["c", "e", "f", "b", "d", "a"]
    assert [row.rho.text for row in rows] == ["inf", "none", "1.0e+09", "200", "5", "3"]


def test_rho_is_drawn_on_a_logarithmic_scale_that_reaches_the_largest() -> None:
    scale = Scale.over([quantity("a", 0.5), quantity("b", 3e8), quantity("c", math.inf)])
    assert scale == (-3, 9)
    steps = [scale.place(10.0**e) for e in range(-2, 10)]
    assert steps == pytest.approx([100 * k / 12 for k in range(1, 13)], abs=0.05)
    assert 'style="--limit:33.3%"' in page(Report("r", (quantity("a", 3e8),)))


def test_a_star_marks_what_float64_excused() -> None:
    excused = quantity("a", 14.0, "float32", verdict=Verdict.PASS, accuracy=1.4)
    text = page(Report("r", (excused,)))
    assert "14*" in text
    assert "A star: over the limit" in text
    assert "A star" not in page(Report("r", (quantity("a", 1.0),)))


def test_weights_that_are_equal_are_called_exact() -> None:
    weight = Quantity("weights", "weights", "w", AS_STORED, Verdict.PASS, 0.0, 0.0, 1.0)
    assert "exact" in page(Report("r", (weight,)))


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, by the definition of WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(mode: int) -> None:
    style = "".join(Page(page(stopped())).text["style"])
    found = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", style)
    colours = {name: pair[mode] for name, *pair in found}
    grounds = {"pass": ["pass-soft"], "fail": ["fail-soft"], "inconclusive": ["inconclusive-soft"]}
    for name in ("ink", "quiet", "accent", "pass", "fail", "inconclusive"):
        for ground in ["paper", "raised", *grounds.get(name, [])]:
            light, dark = sorted((_luminance(colours[name]), _luminance(colours[ground])), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground)


def test_a_missing_directory_is_said_and_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist; make it first"):
        write_html(failed(), tmp_path / "missing" / "r.html")
    target = tmp_path / "r.html"
    hostile().save(target)
    assert target.read_text("utf-8") == page(hostile())
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


def test_the_ending_says_how_a_report_is_saved(tmp_path: Path) -> None:
    for ending, start in (
        (".html", "<!doctype html>"),
        (".json", "{\n"),
        (".xml", "<?xml"),
        (".HTML", "<!doc"),
    ):
        failed().save(tmp_path / f"report{ending}")
        assert (tmp_path / f"report{ending}").read_text("utf-8").lstrip().startswith(start)
    for name in ("report", "report.pdf", ".html"):
        with pytest.raises(ValueError, match=r"\.html, \.json or \.xml"):
            failed().save(tmp_path / name)
    for ending in (".html", ".json", ".xml"):
        with pytest.raises(ValueError, match="does not exist; make it first"):
            failed().save(tmp_path / "missing" / f"report{ending}")


def test_the_page_has_every_place_the_layer_and_the_doubts_of_the_plan() -> None:
    doubts = (("w (2, 2)", "kernel (2, 2)", "as it is: settled by running"),)
    fault = failed().divergences[0]
    place = dataclasses.replace(fault.reference[0], layer="LayerNorm((768,), eps=1e-06)")
    report = dataclasses.replace(
        failed(), doubts=doubts, divergences=(dataclasses.replace(fault, reference=(place,)),)
    )
    text = page(report)
    assert "LayerNorm((768,), eps=1e-06)" in text
    assert "as it is: settled by running" in text
    passing = dataclasses.replace(passed(), doubts=doubts)
    assert "settled by running" not in page(passing)
