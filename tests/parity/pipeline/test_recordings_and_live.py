"""A reference recorded, then compared with the candidate, live or recorded: what `check` says at once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.report.results import Divergence, Quantity, Report, Verdict
from tests.faults.declare import cases
from tests.kit.checking import arguments
from tests.sides.declare import pairs

QUICK = {"dtypes": ["float64"], "finite_differences": False}

FAULTS = {case.id: case for case in cases()}
SIDES = {pair.name: pair for pair in pairs()}

FAULTY = ("A01", "N01", "X05", "T01", "W08", "R02", "R04", "M05", "P04", "W20")
"""Of every class: a forward fault, statistics, a gradient alone, a mask, weights wrongly converted, ..."""

RIGHT = ("A01", "R04", "T01")

OF_ONE_FRAMEWORK = ("torch-torch/encoder-gelu", "torch-torch/detach", "jax-functions/gradient")

QUICKLY = {"A01", "X05", "W08", "R04"}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What JAX compiles in one test is not there in the next."""
    yield
    jax.clear_caches()


def some(names: tuple[str, ...]) -> list[Any]:
    marks = (pytest.mark.whole,)
    return [pytest.param(name, marks=() if name in QUICKLY else marks, id=name) for name in names]


def recorded(given: dict[str, Any], where: Path) -> tuple[Report, Report, Report]:
    """The reports of `check`, of a recording with the live candidate, and of two recordings."""
    given = given | QUICK
    at_once = parity.check(**sorted_arguments(given))
    parity.record(where / "reference", side="reference", trace=True, **given)
    rest = {name: value for name, value in given.items() if name not in ("reference", "reference_params")}
    live = parity.compare(where / "reference", rest)
    parity.record(where / "candidate", side="candidate", against=where / "reference", **given)
    return at_once, live, parity.compare(where / "reference", where / "candidate")


def judged(quantity: Quantity) -> tuple[Any, ...]:
    """What identifies a quantity and its verdict."""
    return (quantity.stage, quantity.name, quantity.candidate_name, quantity.program, quantity.verdict)


def found(divergence: Divergence) -> tuple[Any, ...]:
    """Where a fault is and why, in the candidate as in the reference."""
    sides = [
        [(p.operation, p.module, p.file, p.line, p.step, p.layer) for p in places]
        for places in (divergence.reference, divergence.candidate)
    ]
    cause = divergence.cause
    why = (cause.name, cause.text) if cause is not None else None
    return (divergence.stage, divergence.kind, *sides, why)


def require_the_same(at_once: Report, live: Report, apart: Report) -> None:
    """Compare verdicts, quantities, and with the live candidate places and causes, too."""
    assert live.verdict is at_once.verdict, str(live)
    assert apart.verdict is at_once.verdict, str(apart)
    for other in (live, apart):
        assert [judged(q) for q in other.quantities] == [judged(q) for q in at_once.quantities]
        assert [q.rho for q in other.quantities] == pytest.approx([q.rho for q in at_once.quantities])
        assert other.plan == at_once.plan
    assert [found(d) for d in live.divergences] == [found(d) for d in at_once.divergences]


@pytest.mark.filterwarnings("ignore")  # the models under test may warn
@pytest.mark.parametrize("id", some(FAULTY))
def test_a_fault_is_found_alike(id: str, tmp_path: Path) -> None:
    reports = recorded(arguments(FAULTS[id].pair(True)), tmp_path)
    assert reports[0].verdict is Verdict.FAIL
    assert reports[0].divergences
    require_the_same(*reports)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("id", some(RIGHT))
def test_a_right_port_passes_alike(id: str, tmp_path: Path) -> None:
    reports = recorded(arguments(FAULTS[id].pair(False)), tmp_path)
    assert reports[0].verdict is Verdict.PASS
    require_the_same(*reports)


@pytest.mark.parametrize("name", OF_ONE_FRAMEWORK)
def test_two_sides_of_one_framework(name: str, tmp_path: Path) -> None:
    reports = recorded(SIDES[name].build(True), tmp_path)
    assert reports[0].verdict is Verdict.FAIL
    assert reports[0].divergences
    require_the_same(*reports)


def test_without_a_trace_the_place_is_not_looked_for(tmp_path: Path) -> None:
    given = SIDES["torch-torch/encoder-gelu"].build(True) | QUICK
    parity.record(tmp_path / "reference", side="reference", **given)
    report = parity.compare(tmp_path / "reference", {"candidate": given["candidate"]})
    assert report.verdict is Verdict.FAIL
    assert report.divergences == ()
    assert any("no trace" in finding for finding in report.findings)
