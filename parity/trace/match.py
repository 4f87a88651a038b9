"""Which values of two traces are the same numbers, whatever their layout.

Two values match when their sizes agree, their sorted entries agree within what is honest at that place, and
one is a rearrangement of axes of the other. The same entries in an order that no permutation of axes
explains are "the same numbers, arranged differently", which is a finding of its own.
"""

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.arrays import EPS
from parity.noise import ordinary
from parity.result import LIMIT
from parity.trace.graph import Trace

TRACE_ULPS = 64.0
"""Floor of a match in units of float64's eps: an operation inside may round more often than a whole output
is allowed to, and a structural difference is larger by many orders of magnitude."""

SAMPLE = 512
"""Entries looked at before a whole rearrangement is compared."""


class Summary(NamedTuple):
    """What a value is compared by, cheap parts first.

    Attributes:
        size: number of entries.
        total, absolute: sums of the entries and of their magnitudes; equal for equal multisets.
        ordered: the sorted entries.
        honest: how far an entry may honestly lie from the other side's.
        empty: whether it says nothing (all zero).
    """

    size: int
    total: float
    absolute: float
    ordered: Float[np.ndarray, " entries"]
    honest: Float[np.ndarray, " entries"]
    empty: bool


def summary(array: Shaped[np.ndarray, "..."], move: float) -> Summary:
    """The summary of a value that noise moves by up to `move`."""
    flat = _flat(array)
    ordered = np.sort(flat)
    usual = ordinary(ordered)
    scale = float(np.max(np.abs(ordered[usual]), initial=0.0))
    floor = TRACE_ULPS * EPS["float64"]
    honest = LIMIT * (move + floor * np.maximum(scale, np.where(usual, 0.0, np.abs(ordered))))
    return Summary(
        flat.size, float(flat.sum()), float(np.abs(flat).sum()), ordered, honest, not ordered.any()
    )


def _flat(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, " entries"]:
    values = np.asarray(array, np.float64).reshape(-1)
    return np.clip(np.nan_to_num(values, nan=3e30, posinf=1e30, neginf=-1e30), -1e30, 3e30)


def same_numbers(a: Summary, b: Summary) -> bool:
    """Whether two values hold the same entries, in any order."""
    if a.size != b.size or a.empty != b.empty:
        return False
    allowed = float(np.maximum(a.honest, b.honest).sum())
    if not (abs(a.absolute - b.absolute) <= allowed and abs(a.total - b.total) <= allowed):
        return False
    return bool(np.all(np.abs(a.ordered - b.ordered) <= np.maximum(a.honest, b.honest)))


def arrangement(
    t: Shaped[np.ndarray, "..."], j: Shaped[np.ndarray, "..."], honest: float
) -> tuple[int, ...] | None:
    """The permutation of axes that turns one value into the other; None if there is none.

    Axes of length one are ignored; of different ranks, the one with more axes is permuted and reshaped.
    """
    a, b = np.squeeze(t).astype(np.float64), np.squeeze(j).astype(np.float64)
    if a.ndim < b.ndim:
        a, b = b, a
    a, b = (
        np.asarray(np.clip(np.nan_to_num(v, nan=3e30, posinf=1e30, neginf=-1e30), -1e30, 3e30))
        for v in (a, b)
    )
    allowed = honest + 1e-9 * np.where(ordinary(b), 0.0, np.abs(b))
    for axes in itertools.permutations(range(a.ndim)):
        moved = a.transpose(axes)
        if a.ndim == b.ndim and moved.shape != b.shape:
            continue
        flat, target, limit = moved.reshape(-1), b.reshape(-1), allowed.reshape(-1)
        head = slice(0, SAMPLE)
        if np.all(np.abs(flat[head] - target[head]) <= limit[head]) and np.all(
            np.abs(flat - target) <= limit
        ):
            return axes
    return None


class Matcher:
    """Matches values with the nodes of the PyTorch trace."""

    def __init__(self, trace: Trace, moves: list[float]) -> None:
        """Summarise every node of `trace`, of which noise moves node i by up to `moves[i]`."""
        self.trace = trace
        self.summaries = [summary(node.array, move) for node, move in zip(trace.nodes, moves, strict=True)]
        self.by_size: dict[int, list[int]] = {}
        for index, held in enumerate(self.summaries):
            self.by_size.setdefault(held.size, []).append(index)
        self.sums = {
            size: (
                np.array([self.summaries[i].absolute for i in indices]),
                np.array([float(self.summaries[i].honest.sum()) for i in indices]),
            )
            for size, indices in self.by_size.items()
        }

    def same_numbers(self, held: Summary) -> list[int]:
        """Nodes that hold the same entries in any order."""
        indices = self.by_size.get(held.size)
        if indices is None:
            return []
        absolute, honest = self.sums[held.size]
        near = np.abs(absolute - held.absolute) <= np.maximum(honest, held.honest.sum())
        return [indices[i] for i in np.flatnonzero(near) if same_numbers(self.summaries[indices[i]], held)]

    def matches(self, array: Shaped[np.ndarray, "..."], held: Summary) -> list[int]:
        """Nodes that hold the same entries arranged alike."""
        found = []
        for index in self.same_numbers(held):
            honest = float(max(held.honest.max(initial=0.0), self.summaries[index].honest.max(initial=0.0)))
            usual = max(_usual(held), _usual(self.summaries[index]))
            if arrangement(self.trace.nodes[index].array, array, min(honest, usual)) is not None:
                found.append(index)
        return found


def _usual(held: Summary) -> float:
    usual: Bool[np.ndarray, " entries"] = ordinary(held.ordered)
    return float(held.honest[usual].max(initial=0.0))
