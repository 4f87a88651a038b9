"""The batches of a training comparison: drawn once, read by both sides."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.pipeline.inputs import name_inputs

MOST_STEPS = 200
"""Steps where the user names no number."""


class Batches(NamedTuple):
    """Batches as both sides read them.

    Attributes:
        steps: the batches of each step: named arrays, inputs and targets together.
        inputs: which of them the models take.
    """

    steps: list[list[dict[str, np.ndarray]]]
    inputs: tuple[str, ...]


def read_batches(
    batches: Iterable[Any],
    steps: int | None,
    accumulate: int = 1,
    argument: str = "batches",
    *,
    may_end: bool = False,
) -> Batches:
    """Draw the batches, once.

    Args:
        batches: pairs (inputs, targets); inputs an array, a list, or a dict by argument name.
        steps: how many to make; None for all, at most 200.
        accumulate: batches of a step.
        argument: what they are called in messages.
        may_end: whether there may be fewer than `steps`.

    Raises:
        TypeError: if they are no iterable of pairs.
        ValueError: if there is none, or too few, or the names change.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"`steps` is {steps}; it must be at least 1")
    if isinstance(accumulate, bool) or not isinstance(accumulate, int) or accumulate < 1:
        raise ValueError(f"`accumulate` is {accumulate!r}; it must be the number of batches of a step")
    if not isinstance(batches, Iterable) or hasattr(batches, "shape") or isinstance(batches, Mapping):
        raise TypeError(
            f"`{argument}` is of type {type(batches).__name__}; it must be an iterable of (inputs, targets), "
            "one for each step"
        )
    arrays: list[dict[str, np.ndarray]] = []
    names: tuple[str, ...] = ()
    for number, batch in enumerate(itertools.islice(batches, (steps or MOST_STEPS) * accumulate)):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                f"batch {number} of `{argument}` is of type {type(batch).__name__}; each must be a pair "
                "(inputs, targets)"
            )
        inputs, targets = batch
        named, taken = name_inputs([inputs] if hasattr(inputs, "shape") else inputs, targets)
        if arrays and set(named) != set(arrays[0]):
            raise ValueError(
                f"batch {number} of `{argument}` has the arrays {', '.join(named)}, batch 0 "
                f"{', '.join(arrays[0])}: all must have the same names"
            )
        arrays.append(dict(named))
        names = taken
    if not arrays:
        raise ValueError(f"`{argument}` is empty; give at least one (inputs, targets)")
    whole = len(arrays) // accumulate
    if may_end:
        whole = -(-len(arrays) // accumulate)
    elif whole < (steps or 1):
        each = "" if accumulate == 1 else f", of which a step takes {accumulate}"
        raise ValueError(
            f"`steps` is {steps or 1} and `{argument}` has {len(arrays)}{each}: give more batches "
            "(itertools.cycle repeats them), or fewer steps"
        )
    return Batches([arrays[s * accumulate : (s + 1) * accumulate] for s in range(whole)], names)
