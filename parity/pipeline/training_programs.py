"""Two programs that train by themselves: do they make the same step and draw the same curves?"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from parity.frameworks.environment import environment
from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Runnable, Subject, Values, measure
from parity.numerics.precision import pinned, require_device, running
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.outcome import Outcome
from parity.pipeline.request import Settings
from parity.report.errors import raised_by
from parity.report.results import Report
from parity.report.sides import TORCH_AND_JAX, Sides


def check_programs(
    reference: Subject,
    candidate: Subject,
    inputs: Arrays,
    *,
    decided_by: Mapping[str, str] | None = None,
    scales: Mapping[str, float] | None = None,
    oracles: Mapping[str, Subject] | None = None,
    settings: Settings | None = None,
    sides: Sides = TORCH_AND_JAX,
    name: str = "training",
) -> Report:
    """Compare one optimiser step and whole training curves of two programs.

    Both programs start from their weights, see the same inputs in the same order, and return two
    groups of values under the reference's names:

    - "updates": per weight the change that the first optimiser step makes to it;
    - "curve": per metric an array whose first axis is time (epochs, or steps), e.g. "train_loss",
      "step_loss". They are judged point by point; the first point that leaves the yardstick is named.

    Args:
        reference: `parity.Subject(program, weights)`: a function `program(weights, inputs, dtype)` of named
            NumPy arrays and a dtype's name, which returns {group: {name: array}}, and the weights it starts
            from.
        candidate: likewise; its weights may have names of their own.
        inputs: named arrays that both programs read: samples, labels, order of samples.
        decided_by: for curves that count decisions (accuracies), the curve of the same program that holds
            the margins of the decisions, shape (time, samples).
        scales: for curves that are a small difference of larger numbers, the size of those numbers, e.g.
            1.0 for an R squared, which is 1 minus a ratio.
        oracles: further programs to compare with the reference, by label: a second implementation, the same
            over several processes. They return the same groups.
        settings: `dtypes`, `seed` and `device` are used; see `parity.Settings`.
        sides: what the two programs are called in the report.
        name: of the report.

    Returns:
        The report.

    Raises:
        ValueError: if a program returns other groups, or an argument cannot be used.
        Exception: what a program raises, with a note that names it.
    """
    started = time.perf_counter()
    settings = settings or Settings()
    dtypes = tuple(settings.dtypes or DTYPES)
    with pinned(seed=settings.seed):
        require_device(settings.device)
        subjects = {"reference": reference, "candidate": candidate, **(oracles or {})}
        titles = {"reference": sides.reference, "candidate": sides.candidate}
        measured = measure(
            {
                label: Subject(
                    _noted(subject.program, titles.get(label, label), settings.device), subject.weights
                )
                for label, subject in subjects.items()
            },
            inputs,
            dtypes,
        )
        for label in measured:
            groups = measured[label][dtypes[0]].base
            if not groups.get("updates") or not groups.get("curve"):
                raise ValueError(
                    f"the {label} program returned the groups {', '.join(groups) or 'none'}; it must return "
                    "'updates' and 'curve', neither of them empty"
                )
        scale = {name: float(np.max(np.abs(w), initial=0.0)) for name, w in reference.weights.items()}
        rules = {
            "updates": Criterion("step", scale=scale),
            "curve": Criterion("curve", over_time=True, scale=scales, decided_by=decided_by or {}),
        }
        outcome = Outcome(name, sides=sides)
        outcome.not_checked = ("steps after the first but by their losses and metrics", "optimiser state")
        outcome.quantities = [
            quantity
            for label in measured
            if label != "reference"
            for quantity in judge_quantities(measured["reference"], measured[label], rules, program=label)
        ]
        outcome.environment = environment(settings.device)
    return outcome.report(time.perf_counter() - started)


def _noted(program: Runnable, title: str, device: str) -> Runnable:
    """The same program; its errors say whose they are, and JAX's 64-bit types are on in float64 alone."""

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        with _running(dtype, device), raised_by(title, f"training in {dtype}"):
            return program(weights, inputs, dtype)

    return run


@contextmanager
def _running(dtype: str, device: str) -> Iterator[None]:
    """JAX as it runs in this dtype, where the user's program has loaded it."""
    if "jax" not in sys.modules:
        yield
        return
    with running(dtype, device):
        yield
