"""Both ways of training of one side, measured with and without noise; two sides judged."""

import dataclasses
from collections.abc import Callable, Collection, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Runnable, Side, SideByDtype, Subject, Values, measure
from parity.numerics.progress import Progress
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.step_rows import Entries, numbered, starting_at
from parity.pipeline.training_judging import rules_for
from parity.pipeline.training_runs import TrainingSide, freely, from_equal_weights, of_tensors
from parity.report.results import Quantity

DIVERGED = 1e4
"""A loss so many times as large as the first, and as 1, that does not come back: training diverges."""

OF_WEIGHTS = ("weights", "update", "early", "averages")
"""Groups of values of every weight that either side may move; the others are of those with gradients."""

NOTHING: Entries = MappingProxyType({})


class Trained(NamedTuple):
    """What both ways of training give of one side.

    Attributes:
        free: values of the free runs, by dtype.
        equal: of the steps from equal weights, in float64.
    """

    free: SideByDtype
    equal: Side

    def first(self, steps: int) -> "Trained":
        """The same values of the first steps alone.

        Args:
            steps: how many.
        """
        return self._each(
            lambda groups: {g: {n: rows[:steps] for n, rows in held.items()} for g, held in groups.items()}
        )

    def restricted(self, tensors: Collection[str], moved: Collection[str]) -> "Trained":
        """The same values, of some tensors alone.

        Args:
            tensors: whose gradients and slots are compared.
            moved: whose weights and updates are.
        """

        def part(groups: Values) -> Values:
            kept = of_tensors(groups, tensors), of_tensors(groups, moved)
            every = {"loss", "rates"}
            return {
                group: dict(held if group in every else kept[group in OF_WEIGHTS][group])
                for group, held in groups.items()
            }

        return self._each(part)

    def _each(self, change: Callable[[Values], Values]) -> "Trained":
        free = {dtype: Side(*map(change, side)) for dtype, side in self.free.items()}
        return Trained(free, Side(*map(change, self.equal)))


class Compared(NamedTuple):
    """What both ways of training give, judged.

    Attributes:
        free: quantities of the free runs.
        stepped: quantities of the steps from equal weights, in float64.
        equal: the values of these, of the reference and the candidate.
        after: the reference's weights after every step of the free run, by tensor.
    """

    free: list[Quantity]
    stepped: list[Quantity]
    equal: tuple[Side, Side]
    after: Arrays


@dataclasses.dataclass(frozen=True)
class Training:
    """What one side is trained on.

    Attributes:
        side: its program and its optimiser.
        weights: to begin with, by its own names.
        steps: the batches of each step.
        dtypes: to be judged.
        progress: called with a short description as each phase begins.
    """

    side: TrainingSide
    weights: Arrays
    steps: Sequence[Sequence[Arrays]]
    dtypes: tuple[str, ...]
    progress: Progress

    def first(self, steps: int) -> "Training":
        """The same training of the first steps alone.

        Args:
            steps: how many.
        """
        return dataclasses.replace(self, steps=self.steps[:steps])

    def trained(self, start: Arrays, reference: Trained | None = None, level: Entries = NOTHING) -> Trained:
        """Train freely in all dtypes, and from equal weights in float64.

        Args:
            start: the reference's weights before the first step, by tensor.
            reference: whose weights every step begins with; None where this is the reference.
            level: entries whose gradient is zero but for rounding, as `TrainingSide.level` takes them.
        """
        side, batches = self.side.level(level, start), numbered(self.steps)
        self.progress(f"training {len(self.steps)} steps, freely")
        free = self._measured(freely(side), batches, self.dtypes)
        told = free if reference is None else reference.free
        self.progress("every step from equal weights")
        given = {**batches, **starting_at(start, told[self.dtypes[0]].base["weights"])}
        return Trained(free, self._measured(from_equal_weights(side), given, ("float64",))["float64"])

    def divergence(self, word: str) -> "Divergence | None":
        """Where the loss diverges, if it does.

        It does where it is NaN or infinite, or so large, up to there or to the end, that units saturate and
        gradients are what rounding leaves of them.

        Args:
            word: what the side is called in the sentence on it.
        """
        with np.errstate(all="ignore"):
            values = freely(self.side)(self.weights, numbered(self.steps), "float64")
        loss, rates = values["loss"]["loss"], values.get("rates", {})
        if (found := _diverges(np.abs(loss))) is None:
            return None
        first, at, limit = found
        before = f", after {loss[at - 1]:.4g} in the step before" if at else ""
        rate = next((f", at a rate of {rows[at]:.4g}" for rows in rates.values()), "")
        grown = f", and over {limit:.4g} from step {first} on" if first < at else ""
        return Divergence(first + 1, f"{word}'s loss is {loss[at]:.4g} at step {at}{before}{rate}{grown}")

    def _measured(self, run: Runnable, inputs: Arrays, dtypes: tuple[str, ...]) -> SideByDtype:
        with np.errstate(over="ignore", invalid="ignore"):  # what diverges is judged as such
            return measure({"": Subject(run, self.weights)}, inputs, dtypes, self.progress)[""]


def steps_before(count: int, *ends: "Divergence | None") -> int:
    """How many steps are compared.

    Args:
        count: of all steps.
        *ends: where training diverges, of each side.
    """
    return min([count, *(end.steps for end in ends if end is not None)])


class Divergence(NamedTuple):
    """A loss that diverges.

    Attributes:
        steps: how many are compared, the one in which it has diverged with them.
        words: what is to be said of it.
    """

    steps: int
    words: str


def compared(reference: Trained, candidate: Trained, start: Arrays) -> Compared:
    """Judge two sides that were trained for as many steps.

    Args:
        reference: its values.
        candidate: its values.
        start: the reference's weights before the first step, by tensor.
    """
    scale = {name: float(np.max(np.abs(weight), initial=0.0)) for name, weight in start.items()}
    rules = {
        "loss": Criterion("curve", over_time=True),
        "weights": Criterion("curve", over_time=True, scale=scale),
        "averages": Criterion("curve", over_time=True, scale=scale),
    }
    free = judge_quantities(reference.free, candidate.free, rules)
    sides = (reference.equal, candidate.equal)
    own, other = ({"float64": side} for side in sides)
    after = next(iter(reference.free.values())).base["weights"]
    return Compared(free, judge_quantities(own, other, rules_for(sides, scale)), sides, after)


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
