"""Both ways of training, measured with and without noise, and judged."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Side, SideByDtype, Subject, measure
from parity.numerics.progress import Progress
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.step_rows import Hidden, numbered, starting_at
from parity.pipeline.training_judging import rules_for
from parity.pipeline.training_runs import TrainingSide, freely, from_equal_weights
from parity.report.results import Quantity

DIVERGED = 1e4
"""A loss so many times as large as the first, and as 1, that does not come back: training diverges."""

NOTHING: Hidden = MappingProxyType({})


class Compared(NamedTuple):
    """What both ways of training give.

    Attributes:
        free: quantities of the free runs.
        stepped: quantities of the steps from equal weights, in float64.
        equal: the values of these, of the reference and the candidate.
    """

    free: list[Quantity]
    stepped: list[Quantity]
    equal: tuple[Side, Side]


@dataclasses.dataclass(frozen=True)
class Training:
    """Two sides and what they are trained on.

    Attributes:
        sides: the reference and the candidate.
        weights: of both, by their own names.
        steps: the batches of each step.
        dtypes: to be judged.
        progress: called with a short description as each phase begins.
    """

    sides: tuple[TrainingSide, TrainingSide]
    weights: tuple[Arrays, Arrays]
    steps: Sequence[Sequence[Arrays]]
    dtypes: tuple[str, ...]
    progress: Progress

    @property
    def start(self) -> Arrays:
        """The reference's weights before the first step, by tensor."""
        return self.sides[0].tensors(self.weights[0])

    def compared(self, hidden: Hidden = NOTHING) -> Compared:
        """Train both sides freely in all dtypes, and from equal weights in float64, and judge.

        Args:
            hidden: entries that are not compared.
        """
        start = self.start
        scale = {name: float(np.max(np.abs(weight), initial=0.0)) for name, weight in start.items()}
        batches = numbered(self.steps)
        self.progress(f"training {len(self.steps)} steps, freely")
        free = self._measured(freely, hidden, batches, self.dtypes)
        rules = {
            "loss": Criterion("curve", over_time=True),
            "weights": Criterion("curve", over_time=True, scale=scale),
            "averages": Criterion("curve", over_time=True, scale=scale),
        }
        quantities = judge_quantities(free["reference"], free["candidate"], rules)
        self.progress("every step from equal weights")
        first = self.dtypes[0]
        # Entries that are hidden lie where they lay: no other value depends on them.
        after = {
            name: np.where(hidden[name], start[name], rows) if name in hidden else rows
            for name, rows in free["reference"][first].base["weights"].items()
        }
        stepped = {**batches, **starting_at(start, after)}
        equal = self._measured(from_equal_weights, hidden, stepped, ("float64",))
        sides = (equal["reference"]["float64"], equal["candidate"]["float64"])
        judged = judge_quantities(equal["reference"], equal["candidate"], rules_for(sides, scale))
        return Compared(quantities, judged, sides)

    def _measured(
        self, way: object, hidden: Hidden, inputs: Arrays, dtypes: tuple[str, ...]
    ) -> Mapping[str, SideByDtype]:
        labels = ("reference", "candidate")
        subjects = {
            label: Subject(way(side, hidden), weights)  # type: ignore[operator]
            for label, side, weights in zip(labels, self.sides, self.weights, strict=True)
        }
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is judged as such
            return measure(subjects, inputs, dtypes, self.progress)


def until_divergence(training: Training) -> tuple[Training, tuple[str, ...]]:
    """The training up to the step in which it has diverged, and what is to be said of it.

    It has where a loss is NaN or infinite, or so large, up to there or to the end, that units saturate and
    gradients are what rounding leaves of them.

    Args:
        training: of all steps.

    Returns:
        The steps up to the first of these, with it; no word where no loss diverges.
    """
    batches = numbered(training.steps)
    told, ends = [], []
    for side, weights, word in zip(
        training.sides, training.weights, ("<reference>", "<candidate>"), strict=True
    ):
        with np.errstate(all="ignore"):
            values = freely(side)(weights, batches, "float64")
        loss, rates = values["loss"]["loss"], values.get("rates", {})
        if (found := _diverges(np.abs(loss))) is not None:
            first, at, limit = found
            before = f", after {loss[at - 1]:.4g} in the step before" if at else ""
            rate = next((f", at a rate of {rows[at]:.4g}" for rows in rates.values()), "")
            grown = f", and over {limit:.4g} from step {first} on" if first < at else ""
            told.append(f"{word}'s loss is {loss[at]:.4g} at step {at}{before}{rate}{grown}")
            ends.append(first + 1)
    if not told:
        return training, ()
    stopped = dataclasses.replace(training, steps=training.steps[: min(ends)])
    return stopped, (f"{'; '.join(told)}: training diverges, and steps behind it are not compared",)


def _diverges(loss: np.ndarray) -> tuple[int, int, float] | None:
    """The step from which on a loss is too large, the one to name, and how large is too large.

    To be named is the step where it is no number, or the last. A loss that begins near zero may grow.

    >>> _diverges(np.array([1.0, 3.0, 2e4, 3e9, np.inf, np.nan]))
    (2, 4, 10000.0)
    >>> _diverges(np.array([1.0, 2e4, 3.0, 1.0]))
    >>> _diverges(np.array([1e-9, 1e-3, 0.5, 1.0]))

    Args:
        loss: magnitudes, over time.
    """
    broken = ~np.isfinite(loss)
    limit = DIVERGED * max(float(loss[0]), 1.0) if np.isfinite(loss[0]) else np.inf
    large = broken | (loss >= limit)
    at = int(np.argmax(broken)) if broken.any() else len(loss) - 1
    if not large[at]:
        return None
    first = at
    while first and large[first - 1]:
        first -= 1
    return first, at, limit
