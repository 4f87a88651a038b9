"""Values that one side holds rounded to a narrow dtype and the other does not, in a run in that dtype."""

from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

from parity.trace.graph import NodeKind, Trace
from parity.trace.sketches import Sketched, recomputed, same_values
from parity.trace.vocabulary import ROUNDED_ONCE

LOOPED = 32
"""Roundings of one line of a loop from which on a kernel that rounds once computes something else."""


class Apart(NamedTuple):
    """A value that the two sides hold in different precisions.

    Attributes:
        t: node of the reference's value.
        j: node of the candidate's.
        by_candidate: whether the candidate is the one that rounds.
        inside: how many values are rounded on the way to this one, if that is what differs; the first of them
            is the node of the side that rounds.
    """

    t: int
    j: int
    by_candidate: bool
    inside: int = 0


def held_apart(reference: Sketched, candidate: Sketched, *, backward: bool = False) -> list[Apart]:
    """Where the precisions of two programs part, in the order of the candidate's computation.

    An operation of a framework that is one kernel shows only its result. Where it computes in a wide dtype
    because the author asked for that, nothing may be rounded inside the other side's way to the same result.

    Args:
        reference: one side's values, each with its precision.
        candidate: the other's.
        backward: whether to compare the backward pass, else the forward pass.
    """
    here, there = reference.trace.held, candidate.trace.held
    same = list(same_values(reference, candidate, backward=backward))
    matched = {t for t, _ in same}, {j for _, j in same}
    if backward:  # a forward value that is computed once more is no gradient
        again = recomputed(reference), recomputed(candidate)
        same = [(t, j) for t, j in same if t not in again[0] and j not in again[1]]
        matched = matched[0] | again[0], matched[1] | again[1]
    pairs = [(t, j) for t, j in same if t in here and j in there]
    lost: dict[int, Apart] = {}
    agreeing: dict[int, set[int]] = {}
    for t, j in pairs:
        own, other = there[j].rounded, here[t].rounded
        if own == other:
            agreeing.setdefault(t, set()).add(j)
        elif own and other and not candidate.exact(j):
            lost.setdefault(j, Apart(t, j, by_candidate=_rounds_more(own, other)))
    settled = set().union(*agreeing.values())
    found = {
        j: apart
        for j, apart in lost.items()
        if j not in settled and not (backward and _becomes(candidate.trace, j, agreeing.get(apart.t, ())))
    }
    ways = _Ways(reference, matched[0], backward), _Ways(candidate, matched[1], backward)
    for t, j in pairs:
        if j in found:
            continue
        if ways[0].is_wide(t) and ways[1].roundings(j) and not ways[0].roundings(t):
            found[j] = Apart(t, ways[1].first(j), by_candidate=True, inside=ways[1].roundings(j))
        elif ways[1].is_wide(j) and ways[0].roundings(t) and not ways[1].roundings(j):
            found[j] = Apart(ways[0].first(t), j, by_candidate=False, inside=ways[0].roundings(t))
        elif ways[0].is_kernel(t) and ways[1].looped(j) >= LOOPED:
            found[j] = Apart(t, ways[1].first(j), by_candidate=True, inside=ways[1].looped(j))
        elif ways[1].is_kernel(j) and ways[0].looped(t) >= LOOPED:
            found[j] = Apart(ways[0].first(t), j, by_candidate=False, inside=ways[0].looped(t))
    for j, apart in found.items():
        if apart.inside == 0 and not backward:  # derivatives lie between values as a framework forms them
            found[j] = apart._replace(inside=_more_inside(apart, *ways))
    return [found[j] for j in sorted(found)]


def _rounds_more(own: Collection[bool], other: Collection[bool]) -> bool:
    """Whether one side rounds a value in uses in which the other does not."""
    return (True in own and True not in other) or (False not in own and False in other)


def _more_inside(apart: Apart, reference: "_Ways", candidate: "_Ways") -> int:
    """How many values are rounded with one that the other side computes in a wide dtype."""
    rounds, keeps = (candidate, reference) if apart.by_candidate else (reference, candidate)
    rounded, kept = (apart.j, apart.t) if apart.by_candidate else (apart.t, apart.j)
    more = rounds.roundings(rounded) if keeps.is_wide(kept) and not keeps.roundings(kept) else 0
    return 1 + more if more else 0


def _becomes(trace: Trace, node: int, others: Collection[int]) -> bool:
    """Whether other values of the same numbers come from one: a derivative adds terms that are zero."""
    after = [other for other in others if other > node]
    return any(node in trace.ancestors([other], stop=range(node + 1)) for other in after)


class _Ways:
    """The ways of one side from values that the other has, too, to the next such value."""

    def __init__(self, side: Sketched, matched: Collection[int], backward: bool) -> None:
        self.side, self.matched, self.backward = side, matched, backward
        self.known: dict[int, list[int]] = {}

    def is_wide(self, node: int) -> bool:
        """Whether the operation itself gives a value in a wide dtype, because its author asked for that."""
        return self.side.trace.held[node].wide

    def is_kernel(self, node: int) -> bool:
        """Whether a value is that of a kernel which computes in a wide dtype and rounds once."""
        return self.side.trace.nodes[node].operation in ROUNDED_ONCE

    def roundings(self, node: int) -> int:
        """How many values are rounded on the way to one, partial sums of an operation among them."""
        held = self.side.trace.held
        return sum(held[i].terms for i in self.narrow(node)) + held[node].terms - 1

    def looped(self, node: int) -> int:
        """How often one line rounds on the way to a value, at most."""
        nodes = [self.side.trace.nodes[i] for i in self.narrow(node)]
        lines = Counter((one.operation, one.spot.file, one.spot.line) for one in nodes)
        return max(lines.values(), default=0)

    def first(self, node: int) -> int:
        """The first value that is rounded on the way to one; itself, where that is a sum alone."""
        return min(self.narrow(node), default=node)

    def narrow(self, start: int) -> list[int]:
        """Values between what both sides have and one value that are rounded before they are used."""
        if start not in self.known:
            held = self.side.trace.held
            inside = (i for i in self._inside(start) if i in held and held[i].rounded == {True})
            self.known[start] = [i for i in inside if not self.side.exact(i)]
        return self.known[start]

    def _inside(self, start: int) -> Iterator[int]:
        nodes = self.side.trace.nodes
        seen: set[int] = set()
        waiting = list(nodes[start].inputs)
        while waiting:
            index = waiting.pop()
            node = nodes[index]
            known = index in seen or index in self.matched or node.backward is not self.backward
            if known or node.kind is not NodeKind.OPERATION or node.fixed:
                continue
            seen.add(index)
            waiting += node.inputs
            yield index
