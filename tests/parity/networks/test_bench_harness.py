"""The cost of a check: time by phase adds up, plain passes beside it, no figures of a check that fails."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from parity.cli import main
from parity.networks.benchmark import harness
from parity.networks.benchmark.harness_tables import draw_costs
from parity.networks.drawing import Drawn, draw_case
from parity.networks.registry import find_cases


def drawn(name: str) -> Drawn:
    return draw_case(find_cases((name,))[0], "embedded", limit=64)


@pytest.fixture(scope="module")
def found() -> harness.Cost:
    cost = harness.cost("logistic", drawn("logistic"), repeats=2)
    assert cost is not None
    return cost


def test_time_is_counted_from_one_phase_to_the_next() -> None:
    marks = [("begin", 0.0), ("noise, 1 of 2", 1.0), ("judging", 1.5), ("noise, 2 of 2", 4.0)]
    assert harness.spans(marks, end=6.0) == {"begin": 1.0, "noise": 2.5, "judging": 2.5}


def test_both_frameworks_and_dtypes_and_the_check(found: harness.Cost) -> None:
    assert {(p.framework, p.dtype) for p in found.plain} == {
        (f, d) for f in ("torch", "jax") for d in ("float64", "float32")
    }
    assert all(len(p.times) == 2 and min(p.times) > 0 for p in found.plain)
    assert len(found.again) == 2
    assert found.factor == pytest.approx(found.median / sum(p.median for p in found.plain))
    assert found.factor > 1
    assert found.cold_factor == pytest.approx(found.cold / sum(p.first for p in found.plain))
    compiling = {p.framework: p.first for p in found.plain if p.dtype == "float32"}
    assert compiling["jax"] > next(
        p.median for p in found.plain if (p.framework, p.dtype) == ("jax", "float32")
    )


def test_the_phases_of_a_check(found: harness.Cost) -> None:
    phases = {
        "both sides in float64",
        "noise in float64",
        "noise in float32",
        "judging",
        "finite differences",
    }
    assert phases <= set(found.phases)
    assert harness.BEGINNING in found.phases
    # medians of two are means: they add up
    assert sum(found.phases.values()) == pytest.approx(found.median)


def test_a_check_that_fails_has_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = drawn("logistic")
    other = chosen.jax_recipe._replace(loss=lambda logits, y: 2 * chosen.jax_recipe.loss(logits, y))
    assert harness.cost("logistic", chosen._replace(jax_recipe=other), repeats=1) is None


def test_the_command_and_its_picture(tmp_path: Path, found: harness.Cost) -> None:
    data, figure = tmp_path / "harness.json", tmp_path / "harness.png"
    options = ["--harness", "--repeats", "1", "--json", str(data), "--figure", str(figure)]
    result = CliRunner().invoke(main, ["bench", "logistic", *options])
    assert result.exit_code == 0, result.output
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "finite differences" in result.stdout
    (row,) = json.loads(data.read_text())["checks"]
    assert row["case"] == "logistic"
    assert row["factor"] > 1
    assert len(row["plain"]) == 4
    assert figure.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="image format"):
        draw_costs([found], tmp_path / "x.docx")
