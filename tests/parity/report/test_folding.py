"""Lines and paths in the width of a terminal, never cut within a word."""

import dataclasses
import os
import re
from pathlib import Path

import pytest

from parity.report.divergences import Divergence, Place
from parity.report.folding import WIDTH, folded, line_width, shortened, shortened_path
from parity.report.locations import location, relative, with_relative_paths
from parity.report.text import describe
from tests.parity.report.sample_reports import EXAMPLES, failed

PATH = "/home/ada/" + "/".join(f"directory_{i}" for i in range(20)) + "/model.py:1234"


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_description_fits_its_width(name: str, width: int) -> None:
    lines = describe(EXAMPLES[name](), plan=True, width=width).splitlines()
    assert max(map(len, lines)) <= width
    if name == "failed":
        assert max(map(len, lines)) > width - 12, "the width is used"


def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "72")
    assert line_width() == WIDTH, "not a terminal"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert line_width() == 72
    assert 60 < max(map(len, str(failed()).splitlines())) <= 72
    monkeypatch.setenv("COLUMNS", "3")
    assert line_width() == 40


def test_words_stay_whole_at_every_width() -> None:
    words = set(re.findall(r"\w+", describe(failed(), width=10_000)))
    for width in (60, 80, 120):
        assert set(re.findall(r"\w+", describe(failed(), width=width))) <= words


def test_a_path_that_is_too_long_is_broken_at_a_separator() -> None:
    lines = folded([f"  finding: reproducer of divergence 1: {PATH}"], 60)
    assert all(len(line) <= 60 for line in lines)
    assert "".join(line.strip() for line in lines).endswith(PATH)
    assert all(line.endswith(("/", "1234")) for line in lines[1:])
    assert shortened_path(PATH, 50) == ".../directory_18/directory_19/model.py:1234"


def test_names_and_code_are_cut_after_a_separator() -> None:
    assert shortened("encoder.layer.11.attention.output", 24) == "encoder.layer.11. ..."
    assert shortened("h = norm(h, eps=1e-6)", 21) == "h = norm(h, eps=1e-6)"
    assert shortened("x" * 50, 20) == "x" * 16 + " ..."
    assert shortened_path("x" * 50, 20) == "..." + "x" * 17


def test_paths_are_relative_to_the_working_directory_or_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert relative(os.path.join(tmp_path, "port", "model.py")) == os.path.join("port", "model.py")
    assert relative("/venv/lib/python3.11/site-packages/flax/nnx/norm.py") == "flax/nnx/norm.py"
    assert relative("/usr/lib/python3/dist-packages/flax/norm.py") == "flax/norm.py"
    for file in ("/elsewhere/model.py", "model.py", "../model.py", "<string>"):
        assert relative(file) == file
    installed = Place("add", "norm", "/venv/lib/python3.11/site-packages/flax/nnx/norm.py", 4)
    assert location(installed, full=True) == "flax/nnx/norm.py:4"
    report = dataclasses.replace(failed(), divergences=(Divergence("forward", (installed,), ()),))
    assert " flax/nnx/norm.py:4" in describe(report)


def test_paths_in_a_sentence_are_relative_and_a_package_is_known_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src" / "port" / "layers"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    assert relative(str(package / "norm.py")) == os.path.join("port", "layers", "norm.py")
    assert relative(str(tmp_path / "src" / "norm.py")) == str(tmp_path / "src" / "norm.py")
    monkeypatch.chdir(tmp_path)
    said = f"JAX computes in bfloat16 ({tmp_path}/rotary.py:85), 1/2 of it; see /elsewhere/a.py"
    assert (
        with_relative_paths(said) == "JAX computes in bfloat16 (rotary.py:85), 1/2 of it; see /elsewhere/a.py"
    )
    report = dataclasses.replace(failed(), findings=(said,))
    assert "bfloat16 (rotary.py:85)" in describe(report)
    assert str(tmp_path) in str(report.as_dict()["findings"]), "files keep the whole path"
