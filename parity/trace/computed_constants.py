"""What a program computes from constants alone: tables of frequencies, masks, scales."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from parity.numerics.arrays import significant_bits_at_most
from parity.trace.graph import NodeKind, Trace
from parity.trace.rounded_constants import Key, Settled

LARGEST = 2**22
"""Entries of a table that is looked at, at most."""

ULPS = 8.0
"""How many roundings of float32 two tables may be apart that are computed alike: powers and exponentials
are right to a few."""

ULP = 2.0**-23
"""One rounding of float32, of a number of size 1."""


class Computed(NamedTuple):
    """A value that depends on constants alone.

    Attributes:
        wide: in float64.
        narrow: as the program gives it in float32.
    """

    wide: Float[np.ndarray, "..."]
    narrow: Float[np.ndarray, "..."]


class Constants(NamedTuple):
    """The constants of a lifted program.

    Attributes:
        own: float32 constants that it holds.
        computed: what it computes from constants.
    """

    own: "dict[Key, Shaped[np.ndarray, '...']]"
    computed: Sequence[Computed]


def telling(array: Shaped[np.ndarray, "..."]) -> bool:
    """Whether an array holds numbers by which it can be recognised: finite, and not all of few bits.

    Args:
        array: of any dtype.
    """
    if array.dtype.kind != "f" or not 0 < array.size <= LARGEST or not np.isfinite(array).all():
        return False
    return not significant_bits_at_most(np.asarray(array, np.float64), 8).all()


def computed_in(trace: Trace) -> list[Computed]:
    """The values of a trace that depend on constants alone, each once; float32 by rounding.

    Args:
        trace: in float64.
    """
    alone: list[bool] = []
    found: dict[bytes, Computed] = {}
    for node in trace.nodes:
        made = node.kind is NodeKind.OPERATION and all(alone[i] for i in node.inputs)
        alone.append(node.kind is NodeKind.CONSTANT or made)
        if not alone[-1] or node.backward or node.array.dtype.kind != "f":
            continue
        wide = np.asarray(node.array, np.float64)
        if telling(wide):
            found.setdefault(wide.tobytes(), Computed(wide, wide.astype(np.float32)))
    return list(found.values())


def settled_by(own: Shaped[np.ndarray, "..."], others: Sequence[Computed]) -> Settled | None:
    """What the other side says of a float32 constant: what it computes, to a few roundings of float32.

    Args:
        own: the constant.
        others: what the other side computes from constants.

    Returns:
        The other side's value in float64, in the constant's shape, the nearest one; None if it has none.
    """
    flat = np.asarray(own, np.float64).reshape(-1)
    if flat.size == 1:
        return _entry(own, others)
    best, nearest = np.inf, None
    for other in others:
        if other.wide.size != flat.size:
            continue
        narrow = np.asarray(other.narrow, np.float64).reshape(-1)
        gap = np.abs(narrow - flat)
        room = ULPS * ULP * np.abs(flat) + ULP * np.abs(flat).max(initial=0.0)
        apart = float(gap.max(initial=0.0))
        if (gap <= room).all() and apart < best:
            best, nearest = apart, other.wide.reshape(np.shape(own))
    return None if nearest is None else Settled(nearest, known=True)


def _entry(own: Shaped[np.ndarray, "..."], others: Sequence[Computed]) -> Settled | None:
    """A single number, which may be any entry of what the other side computes."""
    number = np.float32(own.reshape(()))
    for other in sorted(others, key=lambda other: other.wide.size):
        same = np.flatnonzero(other.wide.astype(np.float32).reshape(-1) == number)
        if same.size:
            return Settled(other.wide.reshape(-1)[same[0]].reshape(np.shape(own)), known=True)
    return None
