"""The reference's values tried in place of the candidate's: where, in which layout, with what success."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Shaped

from parity.localise.comparison import Comparison, Function, Value
from parity.numerics.complex_parts import of_parts, real_parts
from parity.trace.graph import Node, Trace
from parity.trace.match import same_numbers
from parity.trace.vocabulary import REARRANGING, REPEATING

CANDIDATES = 24
"""Values per side, nearest to the frontier, that are tried as the place of a fault."""

AHEAD = 48
"""Evaluations downstream of a replaced value by which it is scored."""

MOST_LAYOUTS = 4
"""Layouts in which one value is tried."""

FEW = 6
"""Values per side that are tried where the other side lacks an operation."""

AT_OUTPUT = 0.25
"""Score of an output that is replaced by the reference's: it always helps, but anything else that falls into
place says more."""


class Walked:
    """The unmatched nodes of one side: all of them, and the frontier."""

    def __init__(self, nodes: Sequence[int], frontier: Sequence[int]) -> None:
        """Both in order of computation."""
        self.nodes, self.frontier = nodes, frontier

    def before(self, trace: Trace) -> list[int]:
        """What the frontier reads, but for weights and constants."""
        read = {i for f in self.frontier for i in trace.nodes[f].inputs}
        return sorted(i for i in read if not trace.nodes[i].fixed)

    def near(self, trace: Trace) -> list[int]:
        """The nodes by their distance from what agrees: the nearest few, and those where paths meet."""
        inside = set(self.nodes)
        depth: dict[int, int] = {}
        for index in self.nodes:  # sorted: producers first
            inner = [depth.get(i, 0) for i in trace.nodes[index].inputs if i in inside]
            depth[index] = 1 + max(inner, default=0)
        nearest = sorted(self.nodes, key=lambda i: (depth[i], i))[:CANDIDATES]
        return list(dict.fromkeys([*nearest, *self.meetings(trace)]))

    def meetings(self, trace: Trace) -> list[int]:
        """The first few nodes that all before them goes through, such as a concatenation of many parts."""
        last = dict.fromkeys(self.nodes, -1)
        for index in self.nodes:
            for producer in trace.nodes[index].inputs:
                if producer in last:
                    last[producer] = max(last[producer], index)
        found, reach, open_ = [], -1, 0
        for index in self.nodes:
            if reach == index and open_ > 1:
                found.append(index)
                open_ = 0
            reach = max(reach, last[index])
            open_ += 1
        return found[:FEW]


def pairs_to_try(comparison: Comparison, there: Walked, here: Walked) -> Iterator[tuple[int, int]]:
    """Pairs of nodes to be tried as a fault, from the frontier on.

    Args:
        comparison: both traces.
        there: what is unmatched in the reference.
        here: what is unmatched in the candidate.

    Yields:
        (node of the reference, node of the candidate): both unmatched, or one side lacking an operation.
    """
    reference, candidate = comparison.reference, comparison.candidate
    t_near, j_near = there.near(reference), here.near(candidate)
    t_before, j_before = there.before(reference), here.before(candidate)
    pairs = [(t, j) for j in j_near for t in t_near]
    pairs += [(t, j) for j in j_before for t in t_near[:FEW]]  # an operation that the candidate lacks
    alone = [j for rank, j in enumerate(j_near) if rank < FEW or candidate.nodes[j].backward]
    pairs += [
        (t, j) for j in alone for t in t_before
    ]  # what only the candidate has: a path of a gradient is long
    pairs += [(t, j) for j in j_before for t in t_before if _otherwise_arranged(comparison, t, j)]
    ranks = {index: rank for rank, index in enumerate(j_near)}
    others = {index: rank for rank, index in enumerate(t_near)}
    ordered = sorted(pairs, key=lambda p: ranks.get(p[1], 0.5) + others.get(p[0], 0.5))
    for t, j in dict.fromkeys(ordered):
        a, b = reference.nodes[t], candidate.nodes[j]
        lone_filler = np.size(a.array) == 1 and a.floating and not np.isfinite(a.array).all()
        if (
            real_parts(a.array).size == real_parts(b.array).size
            and a.floating == b.floating
            and not lone_filler
        ):
            yield t, j


def _otherwise_arranged(comparison: Comparison, t: int, j: int) -> bool:
    """Whether two operands hold the same numbers, but not entry by entry."""
    if not same_numbers(comparison.matcher.summaries[t], comparison.summaries[j]):
        return False
    a, b = comparison.reference.nodes[t].array, comparison.array(j)
    honest = comparison.summaries[j].largest
    return a.shape == b.shape and bool(
        np.max(np.abs(np.subtract(a, b, dtype=np.result_type(a, b, np.float64))), initial=0.0) > honest
    )


def in_place(node: Node, like: Shaped[np.ndarray, "..."]) -> Iterator[Shaped[np.ndarray, "..."]]:
    """A value of the reference in every layout in which it can stand in place of the candidate's.

    Args:
        node: of the reference.
        like: the candidate's value.

    Yields:
        Arrays of the shape and dtype of `like`, the likeliest layout first; none where the sizes differ.
    """
    if like.dtype.kind == "c":
        for parts in _in_place(real_parts(node.array), real_parts(like)):
            yield of_parts(parts)
    else:
        yield from _in_place(real_parts(node.array), like)


def _in_place(
    value: Shaped[np.ndarray, "..."], like: Shaped[np.ndarray, "..."]
) -> Iterator[Shaped[np.ndarray, "..."]]:
    """The same for arrays that are not complex."""
    target = like.shape
    if value.size != like.size:
        return
    if value.dtype.kind != like.dtype.kind and "b" in (value.dtype.kind, like.dtype.kind):
        return
    value = value.astype(like.dtype)
    if value.shape == target:
        yield value
    squeezed = np.squeeze(value)
    wanted = tuple(n for n in target if n != 1)
    given = 0
    for axes in itertools.permutations(range(squeezed.ndim)):
        moved = squeezed.transpose(axes)
        another = value.shape != target or axes != tuple(range(squeezed.ndim))
        if (moved.shape == wanted and another) or squeezed.ndim != len(wanted):
            yield moved.reshape(target)
            given += 1
        if given >= MOST_LAYOUTS:
            return


def score(
    comparison: Comparison, failed: list[tuple[int, int]], j: int, value: Shaped[np.ndarray, "..."]
) -> float:
    """How many of the next values fall into place with this one, less those that fall out of it.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        j: node of the candidate.
        value: its value instead.
    """
    candidate = comparison.candidate
    outputs = {j_out: t_out for t_out, j_out in failed}
    changed = comparison.replay({j: value}, until=_ahead(candidate, j))
    agreed = AT_OUTPUT if j in outputs and outputs[j] in comparison.matches(j, np.asarray(value)) else 0.0
    for index, new in changed.items():
        operation = candidate.nodes[index].operation
        if index <= j or operation in REPEATING or operation in REARRANGING:
            continue
        partners = comparison.matches(index, np.asarray(new))
        if comparison.partners[index]:
            agreed -= not partners and not comparison.summaries[index].empty
        elif index in outputs:
            agreed += outputs[index] in partners
        else:
            agreed += bool(partners) and bool(np.any(new))  # zeros are found on every side
    return agreed


def _ahead(trace: Trace, j: int) -> int | None:
    """The node up to which a replacement is followed."""
    changed = {j}
    count = 0
    for evaluation in trace.evaluations:
        if any(i in changed for i in evaluation.inputs):
            changed.update(evaluation.outputs)
            count += 1
            if count >= AHEAD:
                return max(evaluation.outputs)
    return None


def mends(
    comparison: Comparison,
    failed: list[tuple[int, int]],
    values: Mapping[int, Value],
    functions: Mapping[int, Function] = MappingProxyType({}),
) -> bool:
    """Whether every failed output agrees with these values in place, and computed by these functions.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        values: node of the candidate -> its value instead.
        functions: index of an evaluation -> what to compute it by instead.
    """
    changed = comparison.replay(values, functions)
    for t, out in failed:
        array = np.asarray(changed[out]) if out in changed else comparison.array(out)
        if t not in comparison.matches(out, array):
            return False
    return True


def matters(
    comparison: Comparison, failed: list[tuple[int, int]], j: int, value: Shaped[np.ndarray, "..."]
) -> bool:
    """Whether a failed output changes with this value in place; what a mask hides changes none.

    Args:
        comparison: both traces.
        failed: the failed outputs, as `failing` gives them.
        j: node of the candidate.
        value: its value instead.
    """
    changed = comparison.replay({j: value})
    for _, out in failed:
        if out in changed:
            with np.errstate(invalid="ignore", over="ignore"):
                gap = np.abs(real_parts(np.asarray(changed[out])) - real_parts(comparison.array(out)) * 1.0)
            if not np.max(gap, initial=0.0) <= comparison.summaries[out].usual:  # NaN counts
                return True
    return False
