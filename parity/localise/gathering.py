"""Values that one side computes at once and the other in parts: in a loop over chunks, tokens, heads.

A part has no twin on the other side. The parts of one operation, one from every run of its code, do when they
are stacked.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.complex_parts import real_parts
from parity.numerics.unread import Unread
from parity.trace.executions import repeated
from parity.trace.graph import Node, Trace
from parity.trace.match import Summary, same_value
from parity.trace.vocabulary import MOVING

MOST_PARTS = 1024
"""Runs of the same code that are looked at."""

MOST_ENTRIES = 2**26
"""Entries of a stack; a larger one is not made."""


class Gathered(NamedTuple):
    """Parts of one side that together are a value of the other.

    Attributes:
        parts: nodes of the side that computes in parts, in the order in which they are stacked.
        whole: node of the other side that holds the same entries, arranged alike.
    """

    parts: tuple[int, ...]
    whole: int


class Side(NamedTuple):
    """The values of one side.

    Attributes:
        trace: its nodes.
        array: the value of a node as it is now.
        summary: the same, summed up.
        agrees: whether a node needs no explanation by what it is itself.
    """

    trace: Trace
    array: Callable[[int], Shaped[np.ndarray, "..."]]
    summary: Callable[[int], Summary]
    agrees: Callable[[int], bool]


class Gathering:
    """The values of a side that may be parts of the other side's.

    Attributes:
        parts: those that were found to be, when it was last looked.
    """

    def __init__(self, own: Side, other: Side) -> None:
        """The runs of the same code in `own`, of numbers of one shape that are computed, not only moved."""
        self._own, self._other = own, other
        nodes = own.trace.nodes
        self._groups = [
            g for g in repeated(own.trace) if len(g) <= MOST_PARTS and _can_be_stacked([nodes[i] for i in g])
        ]
        self.parts: set[int] = set()
        self._of_node: dict[int, list[list[int]]] = {}
        for group in self._groups:
            for index in group:
                self._of_node.setdefault(index, []).append(group)
        self._by_size: dict[int, list[int]] = {}
        if self._groups:
            for index, node in enumerate(other.trace.nodes):
                if not isinstance(node.value, Unread) and "key<" not in str(node.value.dtype):
                    self._by_size.setdefault(other.summary(index).size, []).append(index)

    def of(self, first: int, count: int) -> Iterator[tuple[int, ...]]:
        """The runs of the same code that begin with a node: of an inner loop, or of an outer one.

        Args:
            first: the node.
            count: how many runs.
        """
        for group in self._of_node.get(first, []):
            if count < 2 or len(group) % count:
                continue
            place, stride = group.index(first), len(group) // count
            if place % count == 0:
                yield tuple(group[place : place + count])
            if stride > 1 and place < stride:
                yield tuple(group[place::stride])

    def is_first(self, index: int) -> bool:
        """Whether a node is the first run of its code."""
        return any(group[0] == index for group in self._of_node.get(index, []))

    def found(self) -> Iterator[Gathered]:
        """The parts whose stack the other side holds now, of runs that do not all agree by themselves."""
        self.parts.clear()
        for group in self._groups:
            if not all(map(self._own.agrees, group)):
                for gathered in self._of(group, self._own):
                    self.parts.update(gathered.parts)
                    yield gathered

    def found_with(
        self, values: Mapping[int, Shaped[np.ndarray, "..."]], moves: Sequence[float]
    ) -> Iterator[Gathered]:
        """The same with other values, of parts that all have one.

        Args:
            values: node -> its value instead.
            moves: how far noise moves each node.
        """
        summary = functools.cache(lambda i: Summary(values[i], moves[i]))
        own = self._own._replace(array=values.__getitem__, summary=summary)
        for group in self._groups:
            changed = [i for i in group if i in values]
            if len(changed) > 1 and not all(map(self._own.agrees, changed)):
                yield from self._of(changed, own)

    def _of(self, group: Sequence[int], own: Side) -> Iterator[Gathered]:
        """A group whole, else what an inner loop or an outer one ran of it."""
        size = real_parts(own.array(group[0])).size
        for number in range(1, len(group) // 2 + 1):
            length = len(group) // number
            if len(group) % number or length * size not in self._by_size or length * size > MOST_ENTRIES:
                continue
            runs = [group[i * length : (i + 1) * length] for i in range(number)]
            runs += [group[i::number] for i in range(number) if number > 1]
            found = [gathered for run in runs if (gathered := self._stacked(run, own)) is not None]
            yield from found
            if found:
                return

    def _stacked(self, parts: Sequence[int], own: Side) -> Gathered | None:
        """Parts in the order of their computation or the reverse, if the other side has their stack."""
        other = self._other
        held = [own.summary(i) for i in parts]
        absolute, total = (sum(getattr(part, name) for part in held) for name in ("absolute", "total"))
        allowed = sum(part.allowed for part in held)
        near = []
        for index in self._by_size[sum(part.size for part in held)]:
            whole = other.summary(index)
            limit = max(allowed, whole.allowed)
            if abs(whole.absolute - absolute) <= limit and abs(whole.total - total) <= limit:
                near.append(index)
        if not near:
            return None
        stack = np.stack([own.array(i) for i in parts])
        summary = Summary(stack, max(part.move for part in held))
        if not np.ptp(stack):  # of a constant nothing tells
            return None
        for order in (slice(None), slice(None, None, -1)):
            for index in near:
                if same_value(other.array(index), other.summary(index), stack[order], summary):
                    return Gathered(tuple(parts[order]), index)
        return None


def _can_be_stacked(nodes: Sequence[Node]) -> bool:
    """Whether values can be stacked: computed numbers of one shape, of parts that are not only moved."""
    return nodes[0].operation not in MOVING and not any(
        node.fixed
        or not node.floating
        or isinstance(node.value, Unread)
        or node.value.shape != nodes[0].value.shape
        for node in nodes
    )
