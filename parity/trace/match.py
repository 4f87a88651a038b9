"""Which values of two traces are the same numbers, whatever their layout.

Two values match when their sizes agree, their sorted entries agree within what is honest at that place, and
one is a rearrangement of axes of the other. A complex value is its real and imaginary parts along a further
axis: that is how it matches real ones, such as `torch.view_as_real` gives. The same entries in an order that
no permutation of axes explains are "the same numbers, arranged differently", which is a finding of its own.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Float, Shaped

from parity.numerics.arrays import EPS
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import ordinary
from parity.numerics.unread import Unread
from parity.report.results import LIMIT
from parity.trace.graph import Trace
from parity.trace.kept_values import is_absent

TRACE_ULPS = 64.0
"""Floor of a match in units of float64's eps: an operation inside may round more often than a whole output
is allowed to, and a structural difference is larger by many orders of magnitude."""

FLOOR = TRACE_ULPS * EPS["float64"]
"""The same, relative to the largest usual entry."""

SAMPLE = 512
"""Entries looked at before a whole rearrangement is compared."""


class Summary:
    """What a value is compared by, cheap parts first; the dear ones are made when they are first asked for.

    Attributes:
        size: number of entries.
        move: how far noise moves an entry.
        total, absolute: sums of the entries and of their magnitudes; equal for equal multisets.
        usual: how far an entry may honestly lie from the other side's; huge entries have more room.
        largest: the same for the hugest entry.
        allowed: the same for the sums.
        empty: whether it says nothing (all zero).
    """

    def __init__(self, array: Shaped[np.ndarray, "..."], move: float, unread: Unread | None = None) -> None:
        """The summary of a value that noise moves by up to `move`; of an unread one no entry is kept."""
        entries = flat(array)
        self._entries: Shaped[np.ndarray, ...] | Unread = entries if unread is None else unread
        self.size = entries.size
        magnitude = np.abs(entries)
        top = float(magnitude.max(initial=0.0))
        usual = ordinary(magnitude)
        self.move = move
        self.total, self.absolute = float(entries.sum()), float(magnitude.sum())
        self.empty = top == 0.0
        self._scale = top
        if usual.all():
            self.usual = self.largest = LIMIT * (move + FLOOR * top)
            self.allowed = self.usual * self.size
        else:
            self._scale = float(magnitude[usual].max(initial=0.0))
            self.usual = LIMIT * (move + FLOOR * self._scale)
            self.largest = LIMIT * (move + FLOOR * top)
            self.allowed = float(self._honest(np.where(usual, 0.0, magnitude)).sum())

    def _honest(self, huge: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """The honest difference of entries, given the magnitudes of the huge ones among them."""
        return np.asarray(LIMIT * (self.move + FLOOR * np.maximum(self._scale, huge)))

    @property
    def ordered(self) -> Float[np.ndarray, " entries"]:
        """The sorted entries."""
        if isinstance(self._entries, Unread):
            return np.sort(flat(self._entries.read()))
        return self._sorted

    @functools.cached_property
    def _sorted(self) -> Float[np.ndarray, " entries"]:
        return np.sort(np.asarray(self._entries))

    @property
    def honest(self) -> Float[np.ndarray, " entries"]:
        """How far each sorted entry may honestly lie from the other side's."""
        if self.largest == self.usual:
            return np.full(self.size, self.usual)
        return self._honest(np.where(ordinary(self.ordered), 0.0, np.abs(self.ordered)))

    def like(self, other: "Summary") -> bool:
        """Whether sizes and sums agree, as they do of values that hold the same entries."""
        allowed = max(self.allowed, other.allowed)
        return (
            (self.size, self.empty) == (other.size, other.empty)
            and abs(self.absolute - other.absolute) <= allowed
            and abs(self.total - other.total) <= allowed
        )


def flat(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, " entries"]:
    """The entries of a value as real numbers, what is infinite or none at all as huge ones.

    Args:
        array: of numbers of any dtype.
    """
    values = np.asarray(real_parts(array), np.float64).reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        largest = np.abs(values).max(initial=0.0)
    if largest < 1e30:  # of NaN this is false
        return values
    return np.clip(np.nan_to_num(values, nan=3e30, posinf=1e30, neginf=-1e30), -1e30, 3e30)


def same_numbers(a: Summary, b: Summary) -> bool:
    """Whether two values hold the same entries, in any order.

    Args:
        a: one value, summed up.
        b: the other.
    """
    if not a.like(b):
        return False
    allowed = max(a.usual, b.usual)
    if (a.largest, b.largest) != (a.usual, b.usual):
        return bool(np.all(np.abs(a.ordered - b.ordered) <= np.maximum(a.honest, b.honest)))
    return bool(np.max(np.abs(a.ordered - b.ordered), initial=0.0) <= allowed)


def arrangement(
    t: Shaped[np.ndarray, "..."], j: Shaped[np.ndarray, "..."], honest: float, *, alike: bool
) -> tuple[int, ...] | None:
    """The permutation of axes that turns one value into the other; None if there is none.

    Axes of length one are ignored; of different ranks, the one with more axes is permuted and reshaped.

    Args:
        t: one value.
        j: the other.
        honest: how far apart two entries may be.
        alike: whether neither holds huge entries beside others; these have more room.
    """
    a, b = _squeezed(t), _squeezed(j)
    if a.ndim < b.ndim:
        a, b = b, a
    target = b.reshape(-1)
    limit = np.asarray(honest)
    if not alike:
        limit = honest + np.where(ordinary(target), 0.0, 1e-9 * np.abs(target))
    first = limit[:SAMPLE] if limit.ndim else limit
    for axes in itertools.permutations(range(a.ndim)):
        if a.ndim == b.ndim and any(a.shape[i] != n for i, n in zip(axes, b.shape, strict=True)):
            continue
        moved = a.transpose(axes)
        if target.size > SAMPLE and not (np.abs(moved.flat[:SAMPLE] - target[:SAMPLE]) <= first).all():
            continue
        if (np.abs(moved.reshape(-1) - target) <= limit).all():
            return axes
    return None


def _squeezed(value: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """The entries of a value as `flat` gives them, along its axes of more than one."""
    parts = (2,) if value.dtype.kind == "c" else ()
    return flat(value).reshape([n for n in (*value.shape, *parts) if n != 1])


def same_value(
    a: Shaped[np.ndarray, "..."], a_held: Summary, b: Shaped[np.ndarray, "..."], b_held: Summary
) -> bool:
    """Whether two values hold the same entries, arranged alike.

    Args:
        a: one value.
        a_held: the same, summed up.
        b: the other.
        b_held: the same, summed up.
    """
    if not a_held.like(b_held):
        return False
    alike = (a_held.largest, b_held.largest) == (a_held.usual, b_held.usual)
    if arrangement(a, b, max(a_held.usual, b_held.usual), alike=alike) is None:
        return False
    # Entry by entry the usual ones agree; of huge ones the sorted entries say more.
    return alike or same_numbers(a_held, b_held)


class Matcher:
    """Matches values with the nodes of the reference's trace."""

    def __init__(self, trace: Trace, moves: list[float]) -> None:
        """Summarise every node of `trace`, of which noise moves node i by up to `moves[i]`."""
        self.trace = trace
        self.summaries = [
            Summary(node.array, move, node.value if isinstance(node.value, Unread) else None)
            for node, move in zip(trace.nodes, moves, strict=True)
        ]
        self.by_size: dict[int, list[int]] = {}
        for index, held in enumerate(self.summaries):
            if not is_absent(trace.nodes[index].value):
                self.by_size.setdefault(held.size, []).append(index)
        self.sums = {
            size: (
                np.array([self.summaries[i].absolute for i in indices]),
                np.array([self.summaries[i].allowed for i in indices]),
            )
            for size, indices in self.by_size.items()
        }

    def _like(self, held: Summary) -> list[int]:
        """Nodes whose sums agree."""
        indices = self.by_size.get(held.size)
        if indices is None:
            return []
        absolute, allowed = self.sums[held.size]
        near = np.abs(absolute - held.absolute) <= np.maximum(allowed, held.allowed)
        return [indices[i] for i in np.flatnonzero(near) if self.summaries[indices[i]].like(held)]

    def same_numbers(self, held: Summary) -> list[int]:
        """Nodes that hold the same entries in any order."""
        return [index for index in self._like(held) if same_numbers(self.summaries[index], held)]

    def matches(self, array: Shaped[np.ndarray, "..."], held: Summary) -> list[int]:
        """Nodes that hold the same entries arranged alike.

        Args:
            array: the value.
            held: the same, summed up.
        """
        trace = self.trace
        return [
            index
            for index in self._like(held)
            if same_value(trace.nodes[index].array, self.summaries[index], array, held)
        ]
