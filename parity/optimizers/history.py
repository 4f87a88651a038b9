"""A recorded run of PyTorch's optimiser, by which another is explained: in NumPy, without a framework."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from parity.numerics.arrays import Arrays

Options = Mapping[str, Any]
"""Hyperparameters by PyTorch's names, as plain numbers."""


class History(NamedTuple):
    """A run of the reference, from equal weights; all values in float64, the first axis is time.

    Attributes:
        kind: the name of its optimiser's class, as in `known.RULES`.
        options: hyperparameters of each tensor.
        weights: before each step, by tensor.
        raw: gradients before clipping.
        used: gradients that the optimiser was given.
        rates: the rate of each tensor, shape (steps,).
        limit: the norm to which it clips all gradients, where it does just that.
        accumulate: batches whose gradients are averaged for one update.
        follows_loss: whether its scheduler follows the loss.
        parts: gradients of each batch of a step before clipping, shape (steps, batches, ...); empty where a
            step has one.
        defaults: hyperparameters of every known optimiser of which nothing is said, by its name.
        clips: whether it clips gradients, to a norm or by a function of the user's.
        unreached: by tensor, 1 in the steps in which it had no gradient, so that the optimiser skipped it.
    """

    kind: str
    options: Mapping[str, Options]
    weights: Arrays
    raw: Arrays
    used: Arrays
    rates: Arrays
    limit: float | None = None
    accumulate: int = 1
    unreached: Arrays = MappingProxyType({})
    follows_loss: bool = False
    defaults: Mapping[str, Options] = MappingProxyType({})
    clips: bool = False
    parts: Arrays = MappingProxyType({})
