"""`check_training` of two models: right set-ups pass, faults are named with step, phase and cause."""

import re

import pytest

import parity
from parity.report.verdicts import Verdict
from tests.parity.pipeline.training_faults import (
    FAULTS,
    RIGHT,
    Case,
    batches,
    mean_square,
    mean_square_torch,
    network,
)


def report_of(case: Case, **options):
    module, port, template = network()
    given = case.torch(module.parameters())
    return parity.check_training(
        module,
        port,
        batches(),
        loss=case.losses or (mean_square_torch, mean_square),
        optimizer=given if case.optax is None else (given, case.optax),
        scheduler=case.scheduler,
        updates_per_step=case.every,
        clip=case.clip,
        weights=parity.Weights(template=template),
        settings=parity.Settings(dtypes=["float64"]),
        **options,
    )


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_set_up_passes(name):
    report = report_of(RIGHT[name])
    assert report.verdict is Verdict.PASS, str(report)
    assert report.parting is None


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_step_phase_and_cause(name):
    case = FAULTS[name]
    report = report_of(case)
    assert report.verdict is Verdict.FAIL, str(report)
    parting = report.parting
    assert parting is not None
    assert parting.step == case.step or case.step is None, str(parting)
    assert parting.phase is case.phase, str(parting)
    assert re.search(case.cause, parting.cause), str(parting)
    assert f"parts at step {parting.step}, phase {case.phase}" in str(report)
