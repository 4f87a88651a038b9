"""The batches of users' own step functions: of any form, drawn once, read by both sides."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from parity.frameworks.nests import named_arrays
from parity.pipeline.training_batches import MOST_STEPS


def read_own_batches(
    batches: Iterable[Any], steps: int | None
) -> tuple[list[Any], list[dict[str, np.ndarray]]]:
    """Draw the batches, once.

    Args:
        batches: each an array, or a nest of dicts, lists and tuples of arrays.
        steps: how many; None for all, at most 200.

    Returns:
        The batches for their form, and the arrays of each by name.

    Raises:
        TypeError: if they are no iterable, or one of them holds something else than numbers.
        ValueError: if there is none, or too few.
    """
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise ValueError(f"`steps` is {steps!r}; it must be at least 1")
    if not isinstance(batches, Iterable) or hasattr(batches, "shape") or isinstance(batches, Mapping | str):
        raise TypeError(
            f"`batches` is of type {type(batches).__name__}; it must be an iterable with one batch for each "
            "step, which both step functions are given"
        )
    forms, arrays = [], []
    for number, batch in enumerate(itertools.islice(batches, steps or MOST_STEPS)):
        try:
            named = named_arrays(batch)
        except TypeError as error:
            raise TypeError(f"batch {number} cannot be given to both sides: {error}") from error
        forms.append(batch)
        arrays.append(named)
    if not arrays:
        raise ValueError("`batches` is empty; give one for each step")
    if steps is not None and len(arrays) < steps:
        raise ValueError(
            f"`steps` is {steps} and `batches` has {len(arrays)}: give more batches (itertools.cycle repeats "
            "them), or fewer steps"
        )
    return forms, arrays
