"""Two loops of users' own, run freely and from equal weights: metrics, slots and updates of every step."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.frameworks.kept_steps import KeptStep
from parity.frameworks.stepping import Held, Stepped, SteppedSide, UntraceableError
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Runnable, Values
from parity.pipeline.step_rows import START, Entries, StepRows, steps_of

State = Mapping[str, Held]
"""All values of a state by name."""

SLOTS = "slots"
"""In the place of the number of a batch: what the optimisers keep when a step begins."""

FIRST = 5
"""Steps whose states are kept: by what they hold, slots and counts are paired."""


class Viewed(NamedTuple):
    """A side, its state seen by the names of the plan's tensors.

    Attributes:
        side: what runs.
        metrics: its name of each metric, by the common one.
        tensors: the state -> weights and statistics, by tensor.
        own: those by tensor -> by the side's own names.
        slots: the state -> what its optimisers keep of tensors: "tensor.kind" -> array.
        own_slots: slots by those names -> by the side's own names; None where each side keeps its own.
        numbers: the state -> counts and numbers, by a common name.
        kept: what the step function may change besides its state.
    """

    side: SteppedSide
    metrics: Mapping[str, str]
    tensors: Callable[[State], Arrays]
    own: Callable[[Arrays], Arrays]
    slots: Callable[[State], Arrays]
    own_slots: Callable[[Arrays], Arrays] | None
    numbers: Callable[[State], Arrays]
    kept: KeptStep


class Tried(NamedTuple):
    """One run of a side.

    Attributes:
        metrics: of every step.
        states: behind each of the first steps.
        ends: how many steps it made.
        diverged: whether it ended since a weight was not finite.
    """

    metrics: list[Arrays]
    states: list[State]
    ends: int
    diverged: bool


def tried(side: SteppedSide, batches: Sequence[Arrays], kept: KeptStep, dtype: str = "float64") -> Tried:
    """Run a side from its state as it is, as long as its weights are finite.

    Args:
        side: the side.
        batches: of all steps.
        kept: what the step function may change besides its state.
        dtype: to run in.
    """
    try:
        return _tried(side, batches, kept, dtype)
    except UntraceableError:  # what it has counted by then is put back
        return _tried(side, batches, kept, dtype)


def _tried(side: SteppedSide, batches: Sequence[Arrays], kept: KeptStep, dtype: str) -> Tried:
    metrics: list[Arrays] = []
    states: list[State] = []
    with kept.restored(), np.errstate(all="ignore"):
        run = side.begin(dtype)
        for batch in batches:
            metrics.append(run.step(batch))
            state = run.read()
            if len(states) < FIRST:
                states.append(state)
            broken = any(
                h.value.dtype.kind in "fc" and not np.isfinite(h.value).all() for h in state.values()
            )
            if broken:
                return Tried(metrics, states, len(metrics), len(metrics) < len(batches))
    return Tried(metrics, states, len(metrics), False)


def freely(viewed: Viewed, hidden: Entries) -> Runnable:
    """A loop from its own weights: "metrics" of every step, and behind it "weights" and "slots".

    Args:
        viewed: the side.
        hidden: entries that are kept as zero, by tensor and slot.
    """

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        rows = StepRows(hidden)
        with viewed.kept.restored():
            loop = viewed.side.begin(dtype)
            loop.place(weights)
            for groups in steps_of(inputs):
                rows.keep("metrics", _metrics(viewed, loop, groups["0"]))
                state = loop.read()
                rows.keep("weights", viewed.tensors(state))
                rows.keep("slots", viewed.slots(state))
        return rows.values()

    return run


def from_equal_weights(viewed: Viewed, statistics: frozenset[str], hidden: Entries) -> Runnable:
    """Every step from given weights: "metrics", "slots", "update" of weights, "statistics" and "numbers".

    Args:
        viewed: the side.
        statistics: the tensors that are no parameters.
        hidden: entries that are kept as zero, by tensor and slot.
    """

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        rows = StepRows(hidden)
        with viewed.kept.restored():
            loop = viewed.side.begin(dtype)
            loop.place(weights)
            for groups in steps_of(inputs):
                place_start(viewed, loop, groups)
                before = viewed.tensors(loop.read())
                rows.keep("metrics", _metrics(viewed, loop, groups["0"]))
                state = loop.read()
                after = viewed.tensors(state)
                moved = {name: after[name] - before[name] for name in after}
                rows.keep("update", {n: m for n, m in moved.items() if n not in statistics})
                rows.keep("statistics", {n: m for n, m in moved.items() if n in statistics})
                rows.keep("slots", viewed.slots(state))
                rows.keep("numbers", viewed.numbers(state))
        return rows.values()

    return run


def place_start(viewed: Viewed, loop: Stepped, groups: Mapping[str, Arrays]) -> None:
    """Put the weights, and the slots where they are known, that a step begins with in a loop.

    Args:
        viewed: the side.
        loop: its run.
        groups: of the step, as `steps_of` gives them.
    """
    loop.place(viewed.own(groups[START]))
    if viewed.own_slots is not None and SLOTS in groups:
        loop.place(viewed.own_slots(groups[SLOTS]))


def _metrics(viewed: Viewed, loop: Stepped, batch: Arrays) -> dict[str, np.ndarray]:
    found = loop.step(batch)
    return {name: found[own] for name, own in viewed.metrics.items() if own in found}
