"""Pairs of values that may be the place of a fault: what the walks back went through, nearest first."""

from collections.abc import Iterator, Sequence

import numpy as np

from parity.localise.comparison import Comparison
from parity.localise.gathering import Gathering
from parity.numerics.complex_parts import real_parts
from parity.trace.graph import NodeKind, Trace
from parity.trace.match import Summary, same_numbers
from parity.trace.vocabulary import PARTS, REARRANGING, REPEATING

CANDIDATES = 24
"""Values per side, nearest to the frontier, that are tried as the place of a fault."""

FEW = 6
"""Values per side that are tried where the other side lacks an operation."""

Pair = tuple[tuple[int, ...], tuple[int, ...]]
"""Nodes of the reference and nodes of the candidate that a fault may lie between."""


class Walked:
    """The unmatched nodes of one side: all of them, and the frontier."""

    def __init__(
        self,
        trace: Trace,
        runs: Gathering,
        nodes: Sequence[int],
        frontier: Sequence[int],
        again: Sequence[int] = (),
    ) -> None:
        """Nodes and frontier in order of computation, and what is `computed_again` before them."""
        self.trace, self.runs, self.nodes, self.frontier, self.again = trace, runs, nodes, frontier, again
        self._apart: dict[tuple[int, ...], bool] = {}

    def behind(self, start: int) -> set[int]:
        """The unmatched nodes that a node was computed from, itself included.

        Args:
            start: the node.
        """
        inside = {*self.nodes, start}
        return self.trace.ancestors([start], _Outside(inside)) & inside

    def apart(self, runs: tuple[int, ...]) -> bool:
        """Whether nodes are a loop over parts: each reads a part, and none goes through what another came to.

        Args:
            runs: nodes of the same code; of a single one nothing is asked.
        """
        if runs not in self._apart:
            ways = [self.behind(index) for index in runs] if len(runs) > 1 else []
            apart = sum(map(len, ways)) == len(set().union(*ways))
            self._apart[runs] = apart and all(map(self._reads_a_part, ways))
        return self._apart[runs]

    def _reads_a_part(self, way: set[int]) -> bool:
        read = way.union(*(self.trace.nodes[i].inputs for i in way))
        return any(i in self.runs.parts or self.trace.nodes[i].operation in PARTS for i in read)

    def before(self) -> list[int]:
        """What the frontier reads, but for weights and constants."""
        read = {i for f in self.frontier for i in self.trace.nodes[f].inputs}
        return sorted(i for i in read if not self.trace.nodes[i].fixed)

    def near(self) -> list[int]:
        """The nodes by their distance from what agrees: the nearest few, and those where paths meet."""
        return list(dict.fromkeys([*self._by_distance()[:CANDIDATES], *self.meetings()]))

    def first_runs(self) -> list[int]:
        """The same of loops alone: of each operation the first run, however often it runs."""
        return [i for i in self._by_distance() if self.runs.is_first(i)][:CANDIDATES]

    def _by_distance(self) -> list[int]:
        inside = set(self.nodes)
        depth: dict[int, int] = {}
        for index in self.nodes:  # sorted: producers first
            inner = [depth.get(i, 0) for i in self.trace.nodes[index].inputs if i in inside]
            depth[index] = 1 + max(inner, default=0)
        return sorted(self.nodes, key=lambda i: (depth[i], i))

    def meetings(self) -> list[int]:
        """The first few nodes that all before them goes through, such as a concatenation of many parts."""
        last = dict.fromkeys(self.nodes, -1)
        for index in self.nodes:
            for producer in self.trace.nodes[index].inputs:
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


def computed_again(comparison: Comparison, frontier: Sequence[int]) -> list[int]:
    """What the candidate computes twice, and the reference has, before a frontier: where that begins.

    A module that is called again with what its first call got agrees with the first call: the walk back
    goes past it, to what reads the result.

    Args:
        comparison: both traces.
        frontier: nodes of the candidate.

    Returns:
        Nodes of the candidate in order of computation, both of two.
    """
    nodes = comparison.candidate.nodes
    alike: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    before = sorted(comparison.candidate.ancestors(frontier))
    for index in before:
        node, partners = nodes[index], tuple(comparison.partners[index])
        computes = node.kind is NodeKind.OPERATION and node.floating and not node.fixed
        if computes and partners and node.operation not in REARRANGING | REPEATING:
            alike.setdefault((node.operation, partners), []).append(index)
    twice = {index for found in alike.values() if len(found) > 1 for index in found}
    begun: set[int] = set()
    begins = []
    for index in before:
        if not begun.isdisjoint(nodes[index].inputs):
            begun.add(index)
        elif index in twice:
            begun.add(index)
            begins.append(index)
    return begins[:FEW]


def pairs_to_try(comparison: Comparison, there: Walked, here: Walked) -> Iterator[Pair]:
    """Pairs of nodes to be tried as a fault, from the frontier on.

    Args:
        comparison: both traces.
        there: what is unmatched in the reference.
        here: what is unmatched in the candidate.

    Yields:
        (nodes of the reference, nodes of the candidate): both unmatched, or one side lacking an operation.
        One node each, or those of all runs of a loop where one side computes in parts.
    """
    t_near, j_near = there.near(), here.near()
    t_before, j_before = there.before(), here.before()
    pairs = [(t, j) for j in j_near for t in t_near]
    pairs += [(t, j) for j in here.again for t in t_near]
    pairs += [(t, j) for j in j_before for t in t_near[:FEW]]  # an operation that the candidate lacks
    alone = [j for rank, j in enumerate(j_near) if rank < FEW or here.trace.nodes[j].backward]
    pairs += [
        (t, j) for j in alone for t in t_before
    ]  # what only the candidate has: a path of a gradient is long
    pairs += [(t, j) for j in j_before for t in t_before if _otherwise_arranged(comparison, t, j)]
    t_loops, j_loops = there.first_runs(), here.first_runs()
    in_loops = [
        *pairs,
        *((t, j) for j in j_loops for t in t_near),
        *((t, j) for j in j_near for t in t_loops),
    ]
    ranks = {index: rank for rank, index in enumerate(dict.fromkeys([*j_near, *j_loops]))}
    others = {index: rank for rank, index in enumerate(dict.fromkeys([*t_near, *t_loops]))}
    found: list[Pair] = [((t,), (j,)) for t, j in pairs if _size(there, t) == _size(here, j)]
    found += [pair for t, j in dict.fromkeys(in_loops) for pair in _in_parts(there, here, t, j)]
    ordered = sorted(found, key=lambda p: ranks.get(p[1][0], 0.5) + others.get(p[0][0], 0.5))
    for ts, js in dict.fromkeys(ordered):
        a, b = there.trace.nodes[ts[0]], here.trace.nodes[js[0]]
        lone_filler = np.size(a.array) == 1 and a.floating and not np.isfinite(a.array).all()
        if a.floating != b.floating or lone_filler or not there.apart(ts) or not here.apart(js):
            continue
        if not _right_elsewhere(comparison, ts, js):
            yield ts, js


def _size(side: Walked, index: int) -> int:
    return real_parts(side.trace.nodes[index].array).size


def _in_parts(there: Walked, here: Walked, t: int, j: int) -> Iterator[Pair]:
    """Two nodes, one of them with its other runs, where these have the other's size."""
    whole, part = _size(there, t), _size(here, j)
    if part and whole % part == 0:
        yield from (((t,), js) for js in here.runs.of(j, whole // part))
    if whole and part % whole == 0:
        yield from ((ts, (j,)) for ts in there.runs.of(t, part // whole))


def _right_elsewhere(comparison: Comparison, ts: tuple[int, ...], js: tuple[int, ...]) -> bool:
    """Whether a loop computes what it should of each part, but of another part at each step.

    Then what it reads is at fault, not the operation.
    """
    if len(ts) == len(js):
        return False
    there = np.stack([comparison.reference.nodes[t].array for t in ts])
    here = np.stack([comparison.array(j) for j in js])
    moves = max(comparison.reference_moves[t] for t in ts), max(comparison.candidate_moves[j] for j in js)
    return same_numbers(*map(Summary, (there, here), moves))


class _Outside:
    """Everything but some nodes: where a walk among these ends."""

    def __init__(self, inside: set[int]) -> None:
        self.inside = inside

    def __contains__(self, index: object) -> bool:
        return index not in self.inside


def _otherwise_arranged(comparison: Comparison, t: int, j: int) -> bool:
    """Whether two operands hold the same numbers, but not entry by entry."""
    if not same_numbers(comparison.matcher.summaries[t], comparison.summaries[j]):
        return False
    a, b = comparison.reference.nodes[t].array, comparison.array(j)
    honest = comparison.summaries[j].largest
    if a.shape != b.shape:
        return False
    with np.errstate(invalid="ignore"):  # infinities are equal to their like: a mask's
        apart = np.abs(np.subtract(a, b, dtype=np.result_type(a, b, np.float64)))
    return bool(np.max(apart, where=a != b, initial=0.0) > honest)
