"""The engine itself: traces made by hand, without a framework; errors inside a family of hypotheses."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import parity.diagnose as engine
from parity.diagnose import diagnose
from parity.diagnose.fault import Fault
from parity.diagnose.trials import Change
from parity.localise import Comparison, Region, candidate_places, failing, find_regions
from parity.report.kinds import CauseKind
from parity.trace.graph import Evaluation, Node, NodeKind, Spot, Trace
from tests.parity.diagnose.diagnosed import numbers


class Tape:
    """A trace that is written operation by operation, each on a line of its own."""

    def __init__(self) -> None:
        self.trace = Trace([], {}, {}, {})

    def given(self, kind: NodeKind, name: str, value: Any) -> int:
        self.trace.nodes.append(
            Node(name, kind, (), np.asarray(value, np.float64), fixed=kind is not NodeKind.INPUT)
        )
        return len(self.trace.nodes) - 1

    def run(self, operation: str, function: Callable[..., Any], *inputs: int, **params: Any) -> int:
        nodes, index, step = self.trace.nodes, len(self.trace.nodes), len(self.trace.evaluations)
        value = function(*[nodes[i].value for i in inputs])
        spot = Spot(file="model.py", line=step + 1)
        nodes.append(Node(operation, NodeKind.OPERATION, inputs, value, spot, params, step=step))
        again = Evaluation(
            operation, params, inputs, (index,), lambda values: [np.asarray(function(*values))]
        )
        self.trace.evaluations.append(again)
        return index


def scaled(scale: float, *, in_params: bool = False) -> Trace:
    """tanh(x @ w * scale) @ w; the scale is a setting, as in aten, or a constant, as in LAX."""
    tape = Tape()
    w = tape.given(NodeKind.WEIGHT, "w", numbers(6, 6))
    x = tape.given(NodeKind.INPUT, "x", numbers(5, 6))
    h = tape.run("mm" if in_params else "dot_general", np.matmul, x, w)
    if in_params:
        h = tape.run("mul", lambda h: h * scale, h, other=scale)
    else:
        h = tape.run("mul", np.multiply, h, tape.given(NodeKind.CONSTANT, "constant", scale))
    h = tape.run("tanh", np.tanh, h)
    out = tape.run("mm" if in_params else "dot_general", np.matmul, h, w)
    tape.trace.outputs["outputs"] = {"y": out}
    tape.trace.weights["w"], tape.trace.inputs["x"] = w, x
    return tape.trace


def compared(reference: Trace, candidate: Trace) -> Comparison:
    return Comparison(reference, candidate, [1e-15] * len(reference.nodes), [1e-15] * len(candidate.nodes))


def a_fault() -> tuple[Comparison, Region]:
    comparison = compared(scaled(0.5), scaled(0.25))
    return comparison, next(find_regions(comparison, "outputs"))


@pytest.mark.parametrize("in_params", [False, True])
def test_traces_of_any_origin_are_explained_without_a_framework(
    in_params: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for framework in ("jax", "torch"):
        monkeypatch.setitem(sys.modules, framework, None)  # an import fails now
    comparison = compared(scaled(0.5, in_params=in_params), scaled(0.25))
    region = next(find_regions(comparison, "outputs"))
    problems: list[str] = []
    diagnosis = diagnose(comparison, region, problems)
    cause = diagnosis.cause if diagnosis is not None else None
    assert candidate_places(comparison, region)[0].line == 2
    assert cause is not None
    assert (cause.name, problems) == (CauseKind.CONSTANT, [])
    assert "0.25 in <candidate> and 0.5 in <reference>" in cause.text


def test_a_fault_is_mended_before_the_next_is_looked_for() -> None:
    comparison = compared(scaled(0.5), scaled(0.25))
    assert len(failing(comparison, "outputs")) == 1
    assert len(list(find_regions(comparison, "outputs"))) == 1
    assert failing(comparison, "outputs") == []


def broken(fault: Fault) -> Iterator[Change]:
    raise IndexError("no such axis")
    yield


def test_an_error_inside_a_family_is_told_and_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARITY_DEBUG", raising=False)
    monkeypatch.setattr(engine, "FAMILIES", (broken, *engine.FAMILIES))
    problems: list[str] = []
    diagnosis = diagnose(*a_fault(), problems)
    assert diagnosis is not None
    cause = diagnosis.cause
    assert cause is not None
    assert cause.name == CauseKind.CONSTANT
    (problem,) = problems
    assert all(word in problem for word in ("broken", "IndexError", "no such axis", "mul", ".py:"))
    assert diagnose(*a_fault()) == diagnosis  # without a list to tell it to


def test_an_error_inside_a_family_is_raised_for_developers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARITY_DEBUG", "1")
    monkeypatch.setattr(engine, "FAMILIES", (broken, *engine.FAMILIES))
    with pytest.raises(IndexError, match="no such axis"):
        diagnose(*a_fault())
