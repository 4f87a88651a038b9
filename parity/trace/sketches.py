"""What is kept of the values of a run to find those of another run that hold the same numbers.

A sketch is a few numbers, whatever the size of the value: its sums, and its entries of some ranks. It is all
that a recording needs to hold for that, and all that a large model's values cost in memory.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from parity.numerics.arrays import EPS, numpy_dtype
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import ordinary
from parity.report.results import LIMIT
from parity.trace.graph import Node, NodeKind, Trace
from parity.trace.kept_values import absent
from parity.trace.match import TRACE_ULPS, flat

RANKS = 64
"""Entries that are kept of a value, of evenly spaced ranks; of a smaller one all."""

FLOOR = TRACE_ULPS * EPS["float64"]
"""How far apart equal values may lie, relative to the largest of them, where noise moves nothing."""


class Sketch(NamedTuple):
    """A value summed up.

    Attributes:
        size: number of entries.
        total: their sum.
        absolute: the sum of their magnitudes.
        ranked: entries of evenly spaced ranks in increasing order, the least and the greatest among them.
        exact: whether the narrow dtype holds every entry as it is.
    """

    size: int
    total: float
    absolute: float
    ranked: Float[np.ndarray, " ranks"]
    exact: bool

    @classmethod
    def of(cls, array: Shaped[np.ndarray, "..."], narrow: str) -> "Sketch":
        """The sketch of a value.

        Args:
            array: floating or complex.
            narrow: the dtype in which it may be held exactly.
        """
        entries = flat(array)
        ranks = np.linspace(0, entries.size - 1, min(RANKS, entries.size)).round().astype(np.int64)
        ranked = np.partition(entries, ranks)[ranks] if entries.size else entries
        total, absolute = float(entries.sum()), float(np.abs(entries).sum())
        return cls(entries.size, total, absolute, ranked, _exact(real_parts(array), narrow))


def _exact(array: Shaped[np.ndarray, "..."], narrow: str) -> bool:
    """Whether a narrow dtype holds these numbers as they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array_equal(array.astype(numpy_dtype(narrow)).astype(array.dtype), array, equal_nan=True)


class Sketcher:
    """Sketches the values of a run as they are computed, and lets them go."""

    def __init__(self, narrow: str) -> None:
        """Nothing is sketched yet.

        Args:
            narrow: the dtype in which values may be held exactly.
        """
        self.narrow = narrow
        self.sketches: list[Sketch | None] = []

    def keep(self, node: Node) -> Any:
        """Sketch the next node of the trace if the program computes it: a `Keep`.

        Args:
            node: with its value.
        """
        computed = node.kind is NodeKind.OPERATION and not node.fixed and node.floating
        self.sketches.append(Sketch.of(node.array, self.narrow) if computed else None)
        return absent(node.value)


class Sketched(NamedTuple):
    """The trace of a run without its values.

    Attributes:
        trace: what computed them, and in what precision each is held.
        sketches: of each node; None of what is not computed.
        moves: how far one-ulp noise moves the entries of each node.
    """

    trace: Trace
    sketches: Sequence[Sketch | None]
    moves: Sequence[float]

    def exact(self, node: int) -> bool:
        """Whether the narrow dtype holds the numbers of a value as they are.

        Args:
            node: of the trace.
        """
        sketch = self.sketches[node]
        return sketch is not None and sketch.exact

    def honest(self, nodes: Sequence[int]) -> Float[np.ndarray, "nodes ranks"]:
        """How far each entry of a sketch may honestly lie from the other side's.

        Args:
            nodes: with sketches of values of one size.
        """
        ranked = np.stack([self.sketch(i).ranked for i in nodes])
        magnitude = np.abs(ranked)
        usual = np.array([ordinary(row) for row in magnitude])
        scale = np.max(magnitude, axis=1, initial=0.0, where=usual)[:, None]
        huge = np.where(usual, 0.0, magnitude)
        moves = np.array([self.moves[i] for i in nodes])[:, None]
        return np.asarray(LIMIT * (moves + FLOOR * np.maximum(scale, huge)))

    def sketch(self, node: int) -> Sketch:
        """The sketch of a value.

        Args:
            node: of the trace.

        Raises:
            ValueError: if it has none.
        """
        sketch = self.sketches[node]
        if sketch is None:
            raise ValueError(f"node {node} has no sketch")
        return sketch

    def by_size(self, *, backward: bool) -> dict[int, list[int]]:
        """The nodes of one pass that have sketches, by the size of their values.

        Args:
            backward: whether of the backward pass.
        """
        found: dict[int, list[int]] = {}
        for index, sketch in enumerate(self.sketches):
            if sketch is not None and self.trace.nodes[index].backward is backward:
                found.setdefault(sketch.size, []).append(index)
        return found


def moves_of(base: Sequence[Sketch | None], moved: Sequence[Sketch | None]) -> list[float]:
    """How far one noise run moves each value, by its sketches with and without noise.

    Args:
        base: of the nodes of a run.
        moved: of the same run with noise; zeros, where other operations run then.
    """
    if len(base) != len(moved):
        return [0.0] * len(base)
    return [_move(one, other) for one, other in zip(base, moved, strict=True)]


def _move(base: Sketch | None, moved: Sketch | None) -> float:
    if base is None or moved is None or base.size != moved.size:
        return 0.0
    gap = np.abs(moved.ranked - base.ranked)
    return 2.0 * float(np.max(gap, where=ordinary(base.ranked), initial=0.0))  # as for whole values


def same_values(reference: Sketched, candidate: Sketched, *, backward: bool) -> Iterator[tuple[int, int]]:
    """Every two values of one pass of both sides that hold the same numbers, in whatever order.

    Args:
        reference: of one side.
        candidate: of the other.
        backward: whether of the backward pass.

    Yields:
        Node of the reference, node of the candidate, in the order of the candidate's.
    """
    here, there = reference.by_size(backward=backward), candidate.by_size(backward=backward)
    found: list[tuple[int, int]] = []
    for size in here.keys() & there.keys():
        found += _same_of_a_size(reference, here[size], candidate, there[size])
    yield from sorted(found, key=lambda pair: pair[::-1])


def recomputed(side: Sketched) -> set[int]:
    """The values of the backward pass that are those of the forward pass, computed once more.

    Args:
        side: of one program.
    """
    forward, backward = side.by_size(backward=False), side.by_size(backward=True)
    sizes = forward.keys() & backward.keys()
    return {j for size in sizes for _, j in _same_of_a_size(side, forward[size], side, backward[size])}


def _same_of_a_size(
    reference: Sketched, here: Sequence[int], candidate: Sketched, there: Sequence[int]
) -> Iterator[tuple[int, int]]:
    honest, own_honest = reference.honest(here), candidate.honest(there)
    sketches = [reference.sketch(i) for i in here]
    ranked = np.stack([sketch.ranked for sketch in sketches])
    sums = np.array([(sketch.total, sketch.absolute) for sketch in sketches])
    for j, own in zip(there, own_honest, strict=True):
        sketch = candidate.sketch(j)
        allowed = np.maximum(honest, own)
        mean = allowed.mean(axis=1, keepdims=True) * sketch.size if allowed.size else np.zeros((len(here), 1))
        alike = np.all(np.abs(ranked - sketch.ranked) <= allowed, axis=1)
        alike &= np.all(np.abs(sums - (sketch.total, sketch.absolute)) <= mean, axis=1)
        alike &= (sums[:, 1] == 0.0) == (sketch.absolute == 0.0)
        yield from ((here[int(k)], j) for k in np.flatnonzero(alike))
