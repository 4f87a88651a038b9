"""Values that one side holds rounded to a narrow dtype and the other does not, in a run in that dtype."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.localise.comparison import Comparison
from parity.numerics.arrays import numpy_dtype
from parity.trace.graph import NodeKind, Trace


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


def held_apart(comparison: Comparison, dtype: str) -> list[Apart]:
    """Where the precisions of two programs part, in the order of the candidate's computation.

    An operation of a framework that is one kernel shows only its result. Where it computes in a wide dtype
    because the author asked for that, nothing may be rounded inside the other side's way to the same result.

    Args:
        comparison: both traces, each with the precision of its values.
        dtype: the narrow dtype to which values are rounded.
    """
    here, there = comparison.reference, comparison.candidate
    pairs = [(t, j) for j in there.held for t in comparison.partners[j] if t in here.held]
    lost: dict[int, Apart] = {}
    agreeing: set[int] = set()
    matched = {t for t, _ in pairs}, {j for _, j in pairs}
    for t, j in pairs:
        own, other = there.held[j].rounded, here.held[t].rounded
        if own == other:
            agreeing.add(j)
        elif own and other and not _exact(comparison.array(j), dtype):
            lost.setdefault(j, Apart(t, j, by_candidate=_rounds_more(own, other)))
    found = {j: apart for j, apart in lost.items() if j not in agreeing}
    for t, j in pairs:
        if j in found:
            continue
        inside = _narrow_inside(here, t, matched[0], dtype), _narrow_inside(there, j, matched[1], dtype)
        if here.held[t].wide and inside[1] and not inside[0]:
            found[j] = Apart(t, inside[1][-1], by_candidate=True, inside=len(inside[1]))
        elif there.held[j].wide and inside[0] and not inside[1]:
            found[j] = Apart(inside[0][-1], j, by_candidate=False, inside=len(inside[0]))
    return [found[j] for j in sorted(found)]


def _rounds_more(own: Collection[bool], other: Collection[bool]) -> bool:
    """Whether one side rounds a value in uses in which the other does not."""
    return (True in own and True not in other) or (False not in own and False in other)


def _narrow_inside(trace: Trace, start: int, matched: Collection[int], dtype: str) -> list[int]:
    """Values between what is matched and one value that are rounded before they are used, the first last."""
    seen: dict[int, None] = {}
    waiting = list(trace.nodes[start].inputs)
    while waiting:
        index = waiting.pop()
        node = trace.nodes[index]
        if index in seen or index in matched or node.kind is not NodeKind.OPERATION or node.fixed:
            continue
        seen[index] = None
        waiting += node.inputs
    narrow = [i for i in seen if i in trace.held and trace.held[i].rounded == {True}]
    return sorted((i for i in narrow if not _exact(trace.nodes[i].array, dtype)), reverse=True)


def _exact(array: Shaped[np.ndarray, "..."], dtype: str) -> bool:
    """Whether a narrow dtype holds these numbers as they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array_equal(array.astype(numpy_dtype(dtype)).astype(array.dtype), array, equal_nan=True)
