"""The table of writers: every format is reached by its ending, none is loaded before it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest

from parity.report.report import Report
from parity.report.text import describe
from parity.report.writers import WRITERS, Writer
from tests.parity.report.sample_reports import failed, passed


@pytest.mark.parametrize("ending", WRITERS)
def test_every_format_is_written_whole(tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"report{ending}"
    target.write_text("an older file")
    failed().save(target)
    assert "encoder.layer.7.output.LayerNorm" in target.read_text("utf-8")
    failed().save(tmp_path / f"again{ending.upper()}")
    assert (tmp_path / f"again{ending.upper()}").read_bytes() == target.read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_new_format_takes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WRITERS, ".md", Writer(f"{__name__}:write_heading"))
    monkeypatch.setitem(sys.modules, __name__, sys.modules[write_heading.__module__])
    passed().save(tmp_path / "r.md")
    assert (tmp_path / "r.md").read_text() == "# resnet-18"
    with pytest.raises(ValueError, match=r"\.html, \.json, \.xml \(JUnit\) or \.md"):
        passed().save(tmp_path / "r.rst")


def write_heading(report: Report, path: Path) -> None:
    path.write_text(f"# {report.name}")


def test_the_text_of_a_report_is_its_description() -> None:
    assert str(failed()) == describe(failed())


def test_a_report_loads_no_writer() -> None:
    program = (
        "import sys; from parity.report.results import Report; print(Report('r', ()).verdict.value); "
        "print([m for m in sys.modules if m.startswith('parity.report.') and m.split('.')[-1] in "
        "('html', 'json', 'junit', 'text', 'charts')])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split("\n")[:2] == ["error", "[]"]
