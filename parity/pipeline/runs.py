"""The runs of one comparison: every set of inputs, and once more with the weights moved."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays
from parity.numerics.moved_weights import jittered
from parity.numerics.noise import REPEATS, Runnable, Values
from parity.weights import Plan

MOVED = "moved weights"
"""Title of the run whose weights are moved off the values they start from."""

FIRST = ""
"""Title of the run with the first inputs and the weights as they are."""


class Run(NamedTuple):
    """One run of both sides.

    Attributes:
        title: by which it is told apart.
        inputs: named inputs.
        weights: the reference's, by name.
        dtypes: the dtypes judged in it.
        repeats: its noise runs.
    """

    title: str
    inputs: Arrays
    weights: Arrays
    dtypes: tuple[str, ...]
    repeats: int

    @property
    def label(self) -> str:
        """What quantities of the candidate in this run are labelled with."""
        return ", ".join(part for part in ("candidate", self.title) if part)


def runs_of(
    inputs: Sequence[Arrays],
    weights: Arrays,
    dtypes: tuple[str, ...],
    *,
    moved: bool,
    tables: Collection[str] = (),
) -> Iterator[Run]:
    """Every set of inputs in every dtype; with `moved` the first once more with moved weights, in float64.

    The last shows structure only, so half the noise runs do.

    Args:
        inputs: the sets.
        weights: the reference's.
        dtypes: to be judged.
        moved: whether to run with moved weights, too.
        tables: weights that the candidate may hold as constants: they stay where they are.
    """
    for number, arrays in enumerate(inputs, 1):
        title = FIRST if number == 1 else f"inputs {number}"
        yield Run(title, arrays, weights, dtypes, REPEATS)
    if moved and "float64" in dtypes:
        elsewhere = jittered(weights) | {name: weights[name] for name in tables}
        yield Run(MOVED, inputs[0], elsewhere, ("float64",), REPEATS // 2)


def moved_alike(
    plan: Plan, weights: Arrays, own: Arrays, moved: Arrays
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The candidate's weights, moved as the reference's are, on top of what it holds.

    Args:
        plan: the weight plan.
        weights: the reference's.
        own: the candidate's, which may differ from what the plan makes of `weights`.
        moved: the reference's after the move.
    """
    before, after = (plan.to_candidate(w, exact=True) for w in (weights, moved))
    shifted = {}
    for name, array in after.items():
        if np.array_equal(before[name], own[name]):
            shifted[name] = array
        else:
            step = np.subtract(array, before[name], where=np.isfinite(array), out=np.zeros_like(array))
            shifted[name] = own[name] + step
    return {**own, **shifted}


def in_tensors(program: Runnable, plan: Plan, tensors: frozenset[str], *, leaves: bool) -> Runnable:
    """A program whose gradients come back under the names of the plan's tensors, where both sides meet.

    Args:
        program: of one side.
        plan: the weight plan.
        tensors: the tensors whose gradients are compared.
        leaves: whether this side holds the plan's leaves; the other has the tensors' names already.
    """
    if not leaves:
        return program

    def run(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        values = program(weights, inputs, dtype)
        grads = values["gradients"]
        back = plan.adjoint(grads) if grads else {}
        return {**values, "gradients": {name: back[name] for name in back if name in tensors}}

    return run


def compared_tensors(plan: Plan, trainable: Collection[str]) -> frozenset[str]:
    """The plan's tensors whose gradients are compared, given the names that the reference trains.

    Args:
        plan: from the reference's weights to the candidate's.
        trainable: names of the weights that the reference trains.
    """
    chosen = set(trainable)
    if not plan.reversed:
        return frozenset(t.tensor_name for t in plan.transfers if t.tensor_name in chosen)
    return frozenset(t.tensor_name for t in plan.transfers if t.leaf_path in chosen)


def leaves_of(plan: Plan, tensors: Collection[str]) -> list[str]:
    """The leaves that some tensors feed.

    Args:
        plan: from the reference's weights to the candidate's.
        tensors: names of tensors of the plan.
    """
    return list(dict.fromkeys(t.leaf_path for t in plan.transfers if t.tensor_name in tensors))


def program_weights(run: Run, plan: Plan, weights: Arrays, own: Arrays) -> Mapping[str, Arrays]:
    """What both sides run with in one run: role -> weights.

    Args:
        run: the run.
        plan: from the reference's weights to the candidate's.
        weights: the reference's, before they are moved.
        own: the candidate's, before they are moved.
    """
    if run.title != MOVED:
        return {"reference": run.weights, "candidate": own}
    return {"reference": run.weights, "candidate": moved_alike(plan, weights, own, run.weights)}
