"""The declarations hold, checked without the harness: right ports are right, faulty ones wrong."""

from typing import Any

import jax
import pytest
import torch

from parity.report.kinds import CauseKind, Stage
from tests.faults.declare import MODES, STAGES, Case, cases, fault_lines
from tests.faults.plain_runs import (
    author_lines,
    gradients_differ,
    jax_function,
    jax_run,
    leaves_of,
    torch_run,
    worst,
)

RIGHT = 1e-12
WRONG = 1e-9

CASES = cases()
SHOWN = [case for case in CASES if case.mode == "float64"]


def by_id(chosen: list[Case]) -> Any:
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.id)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_fields_are_in_the_vocabulary(case: Case) -> None:
    assert {case.cause or CauseKind.EPSILON, *case.also} <= set(CauseKind)
    assert case.stage in STAGES
    assert case.mode in MODES
    pair = case.pair(not case.benign)
    model = pair.reference
    assert isinstance(model, torch.nn.Module)
    assert isinstance(pair.inputs, dict)
    assert case.module in dict(model.named_modules())
    assert set(case.tensors) <= set(model.state_dict())
    assert sum(p.numel() for p in model.parameters()) <= 20_000
    if case.stage is Stage.WEIGHTS:
        assert case.tensors
        assert pair.params is not None


@by_id([case for case in CASES if not case.benign and case.stage is not Stage.WEIGHTS])
def test_a_line_of_the_port_is_marked(case: Case) -> None:
    assert fault_lines(case.id)


@by_id([case for case in SHOWN if not case.benign and case.stage is not Stage.WEIGHTS])
def test_an_operation_of_the_faulty_port_stands_on_a_marked_line(case: Case) -> None:
    call, leaves = jax_function(case, case.pair(True))
    if case.stage is Stage.GRADIENTS:
        traced = jax.make_jaxpr(jax.grad(lambda own: sum(out.sum() for out in jax.tree.leaves(call(own)))))
    else:
        traced = jax.make_jaxpr(call)
    with jax.enable_x64(True):
        assert set(author_lines(traced(leaves).jaxpr)) & set(fault_lines(case.id))


@by_id(SHOWN)
def test_the_right_port_is_right(case: Case) -> None:
    torch.manual_seed(0)
    pair = case.pair(False)
    expected, actual = torch_run(pair), jax_run(case, pair)
    if not case.benign:
        assert worst(actual, expected) < RIGHT
    if case.stage is Stage.GRADIENTS:
        assert gradients_differ(case, pair, pair) < RIGHT


@by_id([case for case in SHOWN if not case.benign])
def test_the_faulty_port_is_wrong(case: Case) -> None:
    torch.manual_seed(0)
    right, faulty = case.pair(False), case.pair(True)
    expected = torch_run(right)
    assert worst(torch_run(faulty), expected) == 0  # only the JAX side has the fault
    if case.stage is Stage.GRADIENTS:
        assert worst(jax_run(case, faulty), expected) < RIGHT
        assert gradients_differ(case, right, faulty) > WRONG
        return
    if case.stage is Stage.WEIGHTS:
        assert worst(leaves_of(faulty.params)[0], leaves_of(right.params)[0]) > WRONG
    assert worst(jax_run(case, faulty), expected) > WRONG


@by_id([case for case in CASES if case.mode == "accelerator"])
def test_a_fault_of_the_accelerator_does_not_show_on_a_cpu(case: Case) -> None:
    torch.manual_seed(0)
    for faulty in (False, True):
        pair = case.pair(faulty)
        assert worst(jax_run(case, pair), torch_run(pair)) < RIGHT
