"""Renderers: they show what the report holds, at 80 columns, and write files whole."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from parity.networks.console import print_findings, print_table
from parity.networks.figure import draw_curves
from parity.report.json import plain, write_json
from parity.report.results import AS_STORED, Curve, ParityError, Quantity, Report, Verdict
from parity.report.text import describe


def report(verdict: Verdict = Verdict.PASS, rho: float = 0.5, **changes: object) -> Report:
    curve = Curve((2.0, 1.0), (2.0, 1.5), (0.1, 0.1), (0.0, 5.0), 1 if verdict is Verdict.FAIL else None)
    quantities = [
        Quantity(
            "weights", "weights", "0.weight", AS_STORED, Verdict.PASS, rho=0.0, difference=0.0, scale=1.0
        )
    ]
    for dtype in ("float64", "float32"):
        quantities += [
            Quantity("forward", "outputs", "output", dtype, Verdict.PASS, 0.25, 1e-16, 1.0, 1e-16, 2e-16),
            Quantity(
                "gradients",
                "gradients",
                "[red]0.weight",
                dtype,
                verdict,
                rho,
                1e-3,
                0.5,
                1e-16,
                candidate_name="dense/kernel",
                index=(1, 2),
                notes=("a note [bold]as it is[/]",),
            ),
            Quantity("curve", "curve", "train_loss", dtype, verdict, 5.0, 0.5, 2.0, curve=curve),
        ]
    return Report("a_case_of_many_words", tuple(quantities), **changes)  # type: ignore[arg-type]


def shown(*reports: Report, width: int = 80) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    print_table(console, [(r, r.verdict, None) for r in reports])
    return console.export_text()


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_its_terminal_and_nothing_is_cut(width: int) -> None:
    text = shown(report(), report(Verdict.FAIL, 1.2e14), width=width)
    assert "…" not in text
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "1e14" in text
    assert "exact" in text


def test_an_error_and_an_empty_report_never_look_like_a_pass() -> None:
    stopped = Report("stopped", (), error="ValueError: no data")
    assert "error" in shown(stopped)
    assert "pass" not in shown(stopped)
    assert Report("empty", ()).verdict is Verdict.ERROR


def test_a_star_marks_what_float64_excused() -> None:
    assert "18*" in shown(report(rho=18.0))


def test_findings_show_names_and_notes_literally() -> None:
    console = Console(record=True, width=200, file=io.StringIO())
    print_findings(console, report(Verdict.FAIL, 2e5))
    text = console.export_text()
    assert "FAIL gradients, float64: [red]0.weight <-> dense/kernel: rho 2.0e+05" in text
    assert "a note [bold]as it is[/]" in text
    assert "worst at [1, 2]" in text
    assert "first at point 1: PyTorch 1, JAX 1.5" in text


def test_the_text_lists_failures_first_and_counts_the_rest() -> None:
    many = tuple(Quantity("gradients", "g", f"w{i}", "float64", Verdict.FAIL, rho=20.0) for i in range(20))
    text = describe(Report("case", many, not_checked=("the weather",)))
    assert text.startswith("case: FAIL\n  The two programs do not compute the same thing")
    assert text.index("\n  FAIL gradients, float64: w0") < text.index("\n  gradients: 20 compared")
    assert "and 8 more with verdict fail" in text
    assert "not checked: the weather" in text


def test_only_a_pass_raises_nothing() -> None:
    passing = report()
    assert passing.raise_if_failed() is passing
    for other in (
        report(Verdict.FAIL, 1e3),
        report(Verdict.INCONCLUSIVE),
        report(error="ValueError: no data"),
        Report("empty", ()),
    ):
        with pytest.raises(ParityError) as caught:
            other.raise_if_failed()
        assert caught.value.report is other
        assert str(caught.value) == describe(other)
        assert isinstance(caught.value, AssertionError)


def test_json_has_no_nan_and_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_json({"rho": float("nan"), "shape": (1, 2)}, path)
    assert path.read_text() == '{\n "rho": "nan",\n "shape": [\n  1,\n  2\n ]\n}\n'
    with pytest.raises(TypeError):
        write_json({"bad": object()}, path)
    assert "nan" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert plain(report().as_dict())["quantities"][0]["verdict"] == "pass"


def test_the_figure_is_drawn_in_the_format_of_its_name(tmp_path: Path) -> None:
    draw_curves([report(), report(Verdict.FAIL)], tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    draw_curves([report()] * 5, tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_bytes().startswith(b"<?xml")
    with pytest.raises(ValueError, match="image format"):
        draw_curves([report()], tmp_path / "c.docx")
    with pytest.raises(ValueError, match="no curve"):
        draw_curves([Report("empty", ())], tmp_path / "c.png")
