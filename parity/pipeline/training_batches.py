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
        arrays: named arrays of each step, inputs and targets together.
        inputs: which of them the models take.
    """

    arrays: list[dict[str, np.ndarray]]
    inputs: tuple[str, ...]


def read_batches(batches: Iterable[Any], steps: int | None) -> Batches:
    """Draw the batches, once.

    Args:
        batches: (inputs, targets) of each step; inputs an array, a list, or a dict by argument name.
        steps: how many to draw; None for all, at most 200.

    Raises:
        TypeError: if they are no iterable of pairs.
        ValueError: if there is none, or too few, or the names change.
    """
    if steps is not None and steps < 1:
        raise ValueError(f"`steps` is {steps}; it must be at least 1")
    if not isinstance(batches, Iterable) or hasattr(batches, "shape") or isinstance(batches, Mapping):
        raise TypeError(
            f"`batches` is of type {type(batches).__name__}; it must be an iterable of (inputs, targets), "
            "one for each step"
        )
    arrays: list[dict[str, np.ndarray]] = []
    names: tuple[str, ...] = ()
    for number, batch in enumerate(itertools.islice(batches, steps or MOST_STEPS)):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise TypeError(
                f"batch {number} is of type {type(batch).__name__}; each must be a pair (inputs, targets)"
            )
        inputs, targets = batch
        named, taken = name_inputs([inputs] if hasattr(inputs, "shape") else inputs, targets)
        if arrays and set(named) != set(arrays[0]):
            raise ValueError(
                f"batch {number} has the arrays {', '.join(named)}, batch 0 {', '.join(arrays[0])}: all "
                "must have the same names"
            )
        arrays.append(dict(named))
        names = taken
    if not arrays:
        raise ValueError("`batches` is empty; give at least one (inputs, targets)")
    if steps is not None and len(arrays) < steps:
        raise ValueError(
            f"`steps` is {steps} and `batches` has {len(arrays)}: give more batches (itertools.cycle repeats "
            "them), or fewer steps"
        )
    return Batches(arrays, names)
