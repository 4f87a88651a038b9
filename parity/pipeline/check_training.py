"""`check_training`: do two training programs make the same step and draw the same curves?"""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np

from parity.numerics.arrays import DTYPES, Arrays, require_dtypes
from parity.numerics.noise import Program, Subject, Values, measure
from parity.numerics.precision import environment, pinned, require_device, running
from parity.numerics.yardstick import Rule, compare
from parity.pipeline.outcome import reporting
from parity.report.results import ParityError, Report, Verdict


def check_training(
    torch: Subject,
    jax: Subject,
    inputs: Arrays,
    *,
    decided_by: Mapping[str, str] | None = None,
    scales: Mapping[str, float] | None = None,
    others: Mapping[str, Subject] | None = None,
    dtypes: Sequence[str] = DTYPES,
    name: str = "training",
    seed: int = 0,
    device: str = "cpu",
) -> Report:
    """Compare one optimiser step and whole training curves of two programs.

    Both programs start from their weights, see the same inputs in the same order, and return two
    groups of values under PyTorch's names:

    - "updates": per weight the change that the first optimiser step makes to it;
    - "curve": per metric an array whose first axis is time (epochs, or steps), e.g. "train_loss",
      "step_loss". They are judged point by point; the first point that leaves the yardstick is named.

    Args:
        torch: the PyTorch program and the weights it starts from.
        jax: the JAX program and its weights.
        inputs: named arrays that both programs read: samples, labels, order of samples.
        decided_by: for curves that count decisions (accuracies), the curve of the same program that holds
            the margins of the decisions, shape (time, samples).
        scales: for curves that are a small difference of larger numbers, the size of those numbers, e.g.
            1.0 for an R squared, which is 1 minus a ratio.
        others: further programs to compare with PyTorch's, by label: an oracle, the same over several
            processes. They return the same groups.
        dtypes: floating dtypes to judge.
        name: of the report.
        seed: of the global generators while the programs run.
        device: where the programs run, for the report.

    Returns:
        A report. A program that raises gives one with verdict `error`.
    """
    started = time.perf_counter()
    with reporting(name) as outcome, pinned(seed=seed):
        require_device(device)
        require_dtypes(dtypes)
        programs = {"reference": torch, "candidate": Subject(_run_by_jax(jax.program, device), jax.weights)}
        sides = measure({**programs, **(others or {})}, inputs, dtypes)
        for label in sides:
            groups = sides[label][dtypes[0]].base
            if not groups.get("updates") or not groups.get("curve"):
                raise ValueError(
                    f"the {label} program returned the groups {', '.join(groups) or 'none'}; it must return "
                    "'updates' and 'curve', neither of them empty"
                )
        scale = {name: float(np.max(np.abs(w), initial=0.0)) for name, w in torch.weights.items()}
        rules = {
            "updates": Rule("step", scale=scale),
            "curve": Rule("curve", over_time=True, scale=scales, decided_by=decided_by or {}),
        }
        outcome.not_checked = ("steps after the first but by their losses and metrics", "optimiser state")
        outcome.quantities = [
            quantity
            for label in sides
            if label != "reference"
            for quantity in compare(sides["reference"], sides[label], rules, program=label)
        ]
        outcome.environment = environment(device)
    return dataclasses.replace(outcome.report(), seconds=time.perf_counter() - started)


def _run_by_jax(program: Program, device: str) -> Program:
    """The same program with JAX's 64-bit types on in float64 and off otherwise."""

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        with running(dtype, device):
            return program(weights, inputs, dtype)

    return run


def assert_training_parity(*args: object, **kwargs: object) -> Report:
    """`check_training`, raising `ParityError` with the whole report unless the verdict is pass.

    Raises:
        ParityError: an AssertionError; its `report` has the evidence.
    """
    report = check_training(*args, **kwargs)  # type: ignore[arg-type]
    if report.verdict is not Verdict.PASS:
        raise ParityError(report)
    return report
