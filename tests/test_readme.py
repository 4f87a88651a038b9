"""The Python of the README and of the pages runs, and says what they claim."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pages import ROOT, Shown, agrees, as_in_a_terminal, blocks, comparable, run

README = (ROOT / "README.md").read_text()

PAGES = {"README.md": 2, "docs/guide.md": 16, "docs/networks.md": 5, "docs/training.md": 18}
"""Pages whose Python runs, and how many blocks of it each has."""

MOST_WORDS = 700


@pytest.fixture(scope="module", params=PAGES)
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page that has been run: its path, its outputs, its names."""
    path = request.param
    names: dict[str, Any] = {}
    with as_in_a_terminal(tmp_path_factory.mktemp("page")):
        outputs = list(run(Path(path).name, (ROOT / path).read_text(), names))
    return path, outputs, names


def test_the_python_blocks_run_in_order(page: Any) -> None:
    path, outputs, names = page
    texts = [block for block in blocks((ROOT / path).read_text()) if block.language == "python"]
    assert len(texts) == PAGES[path]
    assert outputs or path == "docs/networks.md"
    if path == "README.md":
        report = names["report"]
        assert report.failures("forward", "float64"), "the README says that the tanh GELU fails"
        assert report.failures("weights") == ()
        (divergence,) = report.divergences
        assert divergence.cause.name == "activation"
        assert divergence.candidate[0].file == "README.md"


def test_the_outputs_shown_are_what_is_printed(page: Any) -> None:
    path, outputs, _ = page
    wrong = [one for one in outputs if not agrees(one, Path(path).name)]
    assert not wrong, f"{path}: `python -m tests.pages {path}` writes what is printed:\n{wrong[0].printed}"


def test_every_print_has_its_output(page: Any) -> None:
    path = page[0]
    of_page = [block for block in blocks((ROOT / path).read_text()) if block.language != "console"]
    for block, after in itertools.pairwise([*of_page, None]):
        if block.language == "python" and path != "docs/networks.md":
            shows = after is not None and after.language == "text"
            assert shows == ("print(" in block.text), block.text


def test_the_two_commands_are_marked_for_ci() -> None:
    for mark in ("main-job", "tests"):
        assert re.search(rf"<!-- {mark} -->\n```\n(.+\n)+```", README)


def test_the_commands_install_what_they_need() -> None:
    commands = dict(re.findall(r"<!-- (.+) -->\n```\n((?:.+\n)+)```", README))
    assert '".[networks]"' in commands["main-job"]
    assert commands["main-job"].endswith("parity run\n")
    assert '".[test]"' in commands["tests"]


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS


def test_another_output_is_seen() -> None:
    shown = "check: FAIL\n  FAIL forward, float64: output: rho 7.0e+10, error 4.5e-04\n"
    for printed in (shown.replace("4.5", "4.6"), shown.replace("FAIL", "PASS"), shown + "more\n"):
        assert not agrees(Shown(shown, printed, 0), "")
    assert agrees(Shown(shown, shown.replace("7.0e+10", "8.1e+10"), 0), "")
    assert agrees(Shown("check: FAIL\n...\n", shown, 0), "")
    assert not agrees(Shown("check: PASS\n...\n", shown, 0), "")


def test_what_a_machine_decides_is_left_out() -> None:
    one = "  not checked: x\n  python 3.11.7, torch 2.13.0;\n      system Linux\n"
    other = "  not checked: x\n  python 3.12.1, torch 2.14.0\n"
    assert comparable(one) == comparable(other) == "not checked: x ENVIRONMENT"
    assert comparable("took 3.1 s at /home/me/port.py:3") == comparable("took 12 s at /tmp/port.py:3")
    assert comparable("README.md:3", "README.md") == "port.py:3"


def test_an_error_in_a_block_is_not_swallowed(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(ZeroDivisionError):
        list(run("page.md", "```python\n1 / 0\n```\n", {}))
