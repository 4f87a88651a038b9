"""What the two sides are called, in every kind of output."""

import dataclasses
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from parity.networks.figure import draw_curves
from parity.report.charts import curve_chart, growth_charts
from parity.report.html import page
from parity.report.report import Report
from parity.report.sentences import answer, headline
from parity.report.sides import TORCH_AND_JAX, Sides
from parity.report.text import describe, describe_quantity
from parity.report.verdicts import Verdict
from tests.parity.report.sample_reports import alike, failed, quantity, trained

FRAMEWORKS = re.compile(r"PyTorch|JAX|(?i:jax|torch)(?![\w.])")
"""A framework by its name, rather than in a name such as jax.lax.rsqrt or model_jax.py."""


def written(report: Report, ending: str, directory: Path) -> str:
    report.save(directory / f"r{ending}")
    return (directory / f"r{ending}").read_text("utf-8")


@pytest.mark.parametrize("ending", [".html", ".xml", ".json", "text"])
def test_a_report_on_one_framework_names_none(tmp_path: Path, ending: str) -> None:
    report = dataclasses.replace(alike(), environment=None)
    text = describe(report) if ending == "text" else written(report, ending, tmp_path)
    assert FRAMEWORKS.findall(text) == []
    assert "<reference" not in text
    assert "&lt;candidate" not in text
    both = failed() if ending == "text" else dataclasses.replace(failed(), environment=None)
    named = describe(both) if ending == "text" else written(both, ending, tmp_path)
    assert {"PyTorch", "JAX"} <= set(FRAMEWORKS.findall(named))


def test_the_text_speaks_of_the_reference_and_the_candidate() -> None:
    text = describe(alike(), width=120)
    for part in (
        "    reference  pooler                 /home/ada/port/model.py:77        x = x.view(b, h, t, d)",
        "    candidate  pooler (scan step 2)   /home/ada/port/model_jax.py:131   x = x.transpose(0, 2, 1, 3)",
        "    shapes     (2, 12, 64, 64) in the reference, (2, 64, 12, 64) in the candidate",
        "epsilon is 1e-12 in the candidate and 1e-06 in the reference; pass eps=1e-06; with that changed",
        "finding: the candidate computes attention scores in float32",
        "jax on cpu; jax matmul precision highest",
    ):
        assert part in text
    (curve,) = (q for q in alike().failures("curve") if q.dtype == "float64")
    assert "first at point 17: reference 0.70182607, candidate 0.72182607" in "".join(
        describe_quantity(curve, alike().sides)
    )


def test_the_page_has_them_at_the_heads_of_its_columns() -> None:
    for report, heads, words in (
        (failed(), ("PyTorch", "JAX"), ("PyTorch", "JAX")),
        (alike(), ("Reference", "Candidate"), ("the reference", "the candidate")),
    ):
        text = page(report)
        for head in heads:
            assert f"<h3>{head}</h3>" in text
            assert f">{head} name</button>" in text
            assert f">{head}</button>" in text
        reference, candidate = words
        assert f"(2, 12, 64, 64) in {reference}, (2, 64, 12, 64) in {candidate}" in text
        assert re.search(rf"noise \S+ in {reference}, \S+ in {candidate};", text)
        assert f"times that of {reference}, at most 10 passes" in text
        assert f"""--in-candidate:"in {candidate}"'""" in text
        assert f"further from float64 than {reference} is." in text


def test_charts_name_both_sides() -> None:
    for sides, titles in (
        (TORCH_AND_JAX, ("PyTorch", "JAX")),
        (Sides.of("JAX", "JAX"), ("reference", "candidate")),
    ):
        chart = curve_chart(trained(sides).failures("curve")[0], sides)
        assert chart is not None
        assert [row[2] for row in chart.legend[:2]] == list(titles)
        assert chart.fields[1:3] == titles
        assert {growth.fields[1:3] for growth in growth_charts(failed(sides))} == {titles}


def test_the_figure_names_both_sides(tmp_path: Path) -> None:
    for sides, titles in (
        (TORCH_AND_JAX, {"PyTorch", "JAX"}),
        (Sides.of("JAX", "JAX"), {"reference", "candidate"}),
    ):
        draw_curves([trained(sides)], tmp_path / "c.svg")
        legend = re.findall(r"<!-- (?:train|val) loss, (\w+) -->", (tmp_path / "c.svg").read_text())
        assert set(legend) == titles


def test_sentences_name_both_sides() -> None:
    sides = Sides.of("JAX", "JAX")
    weights = quantity("w", 1e9, stage="weights", verdict=Verdict.FAIL)
    assert (
        answer(Report("r", (weights,), sides=sides))
        == "The candidate does not hold the reference's weights: the values differ in w."
    )
    narrow = (quantity("w", 0.1), quantity("w", 40.0, "float32"))
    assert "but the candidate loses more accuracy than the reference in float32" in answer(
        Report("r", narrow, sides=sides)
    )
    wrong = dataclasses.replace(failed().divergences[0], stage="weights")
    assert headline(wrong, sides) == "the candidate does not hold the reference's values"
    assert headline(wrong, TORCH_AND_JAX) == "the JAX model does not hold PyTorch's values"


def test_junit_says_what_the_text_says(tmp_path: Path) -> None:
    alike().save(tmp_path / "r.xml")
    failures = [e.text or "" for e in ElementTree.parse(tmp_path / "r.xml").getroot().iter("failure")]
    assert "1e-12 in the candidate and 1e-06 in the reference" in failures[0]
