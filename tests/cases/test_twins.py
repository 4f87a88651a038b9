"""The declarations hold, checked without the harness: right twins are right in float64, faulty ones wrong."""

import importlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch

from parity.report.kinds import Stage
from tests.cases.declare import Case
from tests.faults.plain_runs import gradients_differ, jax_run, torch_run, worst
from tests.kit.pairs import Pair

WRONG = 1e-9

MODULES = [path.stem for path in sorted(Path(__file__).parent.glob("test_*.py")) if path != Path(__file__)]
CASES = [
    value
    for name in MODULES
    for value in vars(importlib.import_module(f"{__package__}.{name}")).values()
    if isinstance(value, Case)
]


def both(case: Case, pair: Pair) -> tuple[Any, Any]:
    """What the two sides compute: their outputs, or their losses where the pair has these."""
    torch.manual_seed(0)
    reference, candidate = torch_run(pair), jax_run(case, pair)
    if pair.loss is None:
        return reference, candidate
    own, port = pair.loss
    targets = np.asarray(pair.targets, np.float64)
    with jax.enable_x64(True):
        loss = np.asarray(port(candidate, targets))
    return own(torch.tensor(reference), torch.tensor(targets)).numpy(), loss


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_right_twin_is_right(case: Case) -> None:
    reference, candidate = both(case, case.right)
    assert worst(candidate, reference) < case.within
    if case.stage is Stage.GRADIENTS:
        assert gradients_differ(case, case.right, case.right) < case.within


@pytest.mark.parametrize("case", [case for case in CASES if case.twins], ids=lambda case: case.id)
def test_the_faulty_twin_is_wrong(case: Case) -> None:
    assert case.fault
    reference, candidate = both(case, case.faulty)
    if case.stage is Stage.GRADIENTS:
        assert worst(candidate, reference) < case.within
        assert gradients_differ(case, case.right, case.faulty) > WRONG
    else:
        assert worst(candidate, reference) > WRONG


def test_every_case_has_its_own_name() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
