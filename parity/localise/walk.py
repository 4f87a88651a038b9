"""Where two programs part: one walk back from the outputs that failed, tried by putting values in place.

Both traces are walked backwards from a failed output through values that the other side does not have. Where
the walk stops, all that goes in agrees. The value there is then replaced by PyTorch's and the rest of the
JAX program computed again: when what follows falls into place, this was a fault, and the walk goes on to
the next one.
"""

import functools
import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.noise import ordinary
from parity.report.results import Place
from parity.trace.graph import Kind, Node, Trace
from parity.trace.match import Matcher, Summary, same_numbers, same_value
from parity.trace.vocabulary import REARRANGING, REPEATING

MOST = 40
"""Faults looked for in one run; each is replaced before the next is looked for."""

CANDIDATES = 24
"""Values per side, nearest to the frontier, that are tried as the place of a fault."""

AHEAD = 48
"""Evaluations downstream of a replaced value by which it is scored."""

OPERANDS = 3
"""Lines that operands come from, listed after the lines of a fault itself."""

SECONDS = 40.0
"""Time for one search; what is known by then is reported."""


class Region(NamedTuple):
    """A fault: what goes in agrees, and with `t` in place of `j` what follows agrees, too.

    Attributes:
        t, j: node of PyTorch's value and of the JAX value it belongs in place of.
        reference_nodes, candidate_nodes: the operations between what agrees and these, in order of
            computation.
        value: PyTorch's value in the layout of `j`.
        settled: whether what follows fell into place.
        order: whether both hold the same numbers, arranged differently.
        error, honest: relative difference of the two values, and how much of it is honest.
    """

    t: int
    j: int
    reference_nodes: tuple[int, ...]
    candidate_nodes: tuple[int, ...]
    value: Shaped[np.ndarray, "..."]
    settled: bool
    order: bool
    error: float
    honest: float


class Comparison:
    """Two traces with what is matched in them; values that were put in place count as matched."""

    def __init__(
        self, torch: Trace, jax: Trace, reference_moves: list[float], candidate_moves: list[float]
    ) -> None:
        """Match every JAX value with PyTorch's; the moves say how far one-ulp noise moves each node."""
        self.reference, self.candidate = torch, jax
        self.candidate_moves = candidate_moves
        self.matcher = Matcher(torch, reference_moves)
        self.replaced: dict[int, Any] = {}
        self.values: dict[int, Any] = {}
        self.reference_matched: set[int] = set()
        self.partners: dict[int, list[int]] = {}
        self.summaries: dict[int, Summary] = {}
        for index in range(len(jax.nodes)):
            self._match(index)
        self.reference_matched = {t for found in self.partners.values() for t in found}
        self._repeat_matches()

    def array(self, index: int) -> Shaped[np.ndarray, "..."]:
        """JAX's value of a node, with the replacements made so far."""
        return np.asarray(self.values[index]) if index in self.values else self.candidate.nodes[index].array

    def _match(self, index: int) -> None:
        array = self.array(index)
        held = Summary(array, self.candidate_moves[index])
        self.summaries[index] = held
        self.partners[index] = self.matcher.matches(array, held)

    def _repeat_matches(self) -> None:
        """A value that only repeats a matched one is matched, on both sides."""
        for index, node in enumerate(self.reference.nodes):
            if node.operation in REPEATING and node.inputs and node.inputs[0] in self.reference_matched:
                self.reference_matched.add(index)

    def candidate_agrees(self, index: int) -> bool:
        """Whether a JAX value needs no explanation: it has a partner, or only rearranges weights."""
        node = self.candidate.nodes[index]
        if node.kind is not Kind.OPERATION or node.fixed or self.partners[index]:
            return True
        if node.operation not in REPEATING or not self.candidate_agrees(node.inputs[0]):
            return False
        # A cast repeats its operand unless it rounds it.
        repeated = self.summaries[node.inputs[0]]
        return self.summaries[index].size != repeated.size or same_numbers(self.summaries[index], repeated)

    def reference_agrees(self, index: int) -> bool:
        """The same of a PyTorch value."""
        node = self.reference.nodes[index]
        return node.kind is not Kind.OPERATION or node.fixed or index in self.reference_matched

    def walk(self, trace: Trace, starts: Collection[int], agrees: Any) -> tuple[list[int], list[int]]:
        """(all unmatched nodes behind some outputs, those of them whose inputs all agree), in order."""
        seen: set[int] = set()
        waiting = [i for i in starts if not agrees(i)]
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            waiting += [i for i in trace.nodes[index].inputs if not agrees(i)]
        frontier = [i for i in seen if all(agrees(k) for k in trace.nodes[i].inputs)]
        return sorted(seen), sorted(frontier)

    def put(self, index: int, value: Any) -> None:
        """Replace a JAX value for good and match what follows again."""
        self.replaced[index] = value
        changed = self.candidate.replay(self.replaced)
        self.values = {k: np.asarray(v) for k, v in changed.items()}
        for changed_index in self.values:
            self._match(changed_index)
        self.reference_matched = {t for found in self.partners.values() for t in found}
        self._repeat_matches()


def failing(comparison: Comparison, group: str) -> list[tuple[int, int]]:
    """(PyTorch node, JAX node) of every leaf of a group that the two sides do not have in common."""
    pairs = []
    for leaf, j in comparison.candidate.outputs.get(group, {}).items():
        t = comparison.reference.outputs.get(group, {}).get(leaf)
        if (t is not None and t not in comparison.partners[j] and not comparison.summaries[j].empty) or (
            t is not None and comparison.summaries[j].empty != comparison.matcher.summaries[t].empty
        ):
            pairs.append((t, j))
    return pairs


def find_regions(comparison: Comparison, group: str) -> Iterator[Region]:
    """The faults behind the failed leaves of a group, one after the other; each is mended in `comparison`."""
    deadline = time.monotonic() + SECONDS
    for number in range(MOST):
        failed = failing(comparison, group)
        if not failed or (number and time.monotonic() > deadline):
            return
        region = _search(comparison, failed, deadline)
        if region is None:
            return
        if not region.settled or _matters(comparison, failed, region):
            yield region
        if not region.settled:
            return
        before = len(failed)
        comparison.put(region.j, region.value)
        if region.j in {j for _, j in failed} and len(failing(comparison, group)) >= before:
            return


def _matters(comparison: Comparison, failed: list[tuple[int, int]], region: Region) -> bool:
    """Whether a failed leaf changes with PyTorch's value in place; that of what a mask hides does not."""
    changed = comparison.candidate.replay({**comparison.replaced, region.j: region.value})
    for _, out in failed:
        if out in changed:
            with np.errstate(invalid="ignore", over="ignore"):
                gap = np.abs(np.subtract(changed[out], comparison.array(out), dtype=np.float64))
            if not np.max(gap, initial=0.0) <= comparison.summaries[out].usual:  # NaN counts
                return True
    return False


def _search(comparison: Comparison, failed: list[tuple[int, int]], deadline: float) -> Region | None:
    torch, jax = comparison.reference, comparison.candidate
    t_open, t_frontier = comparison.walk(torch, [t for t, _ in failed], comparison.reference_agrees)
    j_open, j_frontier = comparison.walk(jax, [j for _, j in failed], comparison.candidate_agrees)
    best: tuple[float, int, int, Any] | None = None
    for t, j in _candidates(comparison, t_open, t_frontier, j_open, j_frontier):
        if time.monotonic() > deadline:
            break
        for value in _in_place(torch.nodes[t], comparison.array(j)):
            score = _score(comparison, failed, j, value)
            if score <= 0.0 or (best is not None and score < best[0]):
                continue
            if _mends(comparison, failed, j, value):
                return _region(comparison, t, j, value, t_open, j_open, settled=True)
            if best is None or score > best[0]:
                best = score, t, j, value
    if best is not None:
        return _region(comparison, *best[1:], t_open, j_open, settled=True)
    t, j = failed[0]
    found = list(_in_place(torch.nodes[t], comparison.array(j)))[:1]
    settled = bool(found) and len(failed) > 1
    value = found[0] if found else comparison.array(j)
    region = _region(comparison, t, j, value, t_open, j_open, settled=settled)
    return region._replace(reference_nodes=tuple(t_frontier or [t]), candidate_nodes=tuple(j_frontier or [j]))


def _mends(
    comparison: Comparison, failed: list[tuple[int, int]], j: int, value: Shaped[np.ndarray, "..."]
) -> bool:
    """Whether with this value in place every failed output agrees."""
    changed = comparison.candidate.replay({**comparison.replaced, j: value})
    for t, out in failed:
        array = np.asarray(changed[out]) if out in changed else comparison.array(out)
        if t not in comparison.matcher.matches(array, Summary(array, comparison.candidate_moves[out])):
            return False
    return True


def _candidates(
    comparison: Comparison,
    t_open: Sequence[int],
    t_frontier: Sequence[int],
    j_open: Sequence[int],
    j_frontier: Sequence[int],
) -> Iterator[tuple[int, int]]:
    """Pairs to be tried, from the frontier on: both unmatched, or one side lacking an operation."""
    torch, jax = comparison.reference, comparison.candidate
    t_near = _near(torch, t_open)[:CANDIDATES]
    j_near = _near(jax, j_open)[:CANDIDATES]
    t_before = sorted({i for f in t_frontier for i in torch.nodes[f].inputs if not torch.nodes[i].fixed})
    j_before = sorted({i for f in j_frontier for i in jax.nodes[f].inputs if not jax.nodes[i].fixed})
    pairs = [(t, j) for j in j_near for t in t_near]
    pairs += [(t, j) for j in j_before for t in t_near[:6]]  # an operation that JAX lacks
    pairs += [(t, j) for j in j_near[:6] for t in t_before]  # one that only JAX has
    pairs += [(t, j) for j in j_before for t in t_before if _otherwise_arranged(comparison, t, j)]
    ranks = {index: rank for rank, index in enumerate(j_near)}
    others = {index: rank for rank, index in enumerate(t_near)}
    ordered = sorted(pairs, key=lambda p: ranks.get(p[1], 0.5) + others.get(p[0], 0.5))
    for t, j in dict.fromkeys(ordered):
        a, b = torch.nodes[t], jax.nodes[j]
        lone_filler = np.size(a.array) == 1 and a.floating and not np.isfinite(a.array).all()
        if np.size(a.array) == np.size(b.array) and a.floating == b.floating and not lone_filler:
            yield t, j


def _otherwise_arranged(comparison: Comparison, t: int, j: int) -> bool:
    """Whether two operands hold the same numbers, but not entry by entry."""
    if not same_numbers(comparison.matcher.summaries[t], comparison.summaries[j]):
        return False
    a, b = comparison.reference.nodes[t].array, comparison.array(j)
    honest = comparison.summaries[j].largest
    return a.shape == b.shape and bool(
        np.max(np.abs(np.subtract(a, b, dtype=np.float64)), initial=0.0) > honest
    )


def _near(trace: Trace, nodes: Sequence[int]) -> list[int]:
    """Unmatched nodes in the order of their distance from what agrees."""
    inside = set(nodes)
    depth: dict[int, int] = {}
    for index in nodes:  # sorted: producers first
        depth[index] = 1 + max((depth.get(i, 0) for i in trace.nodes[index].inputs if i in inside), default=0)
    return sorted(nodes, key=lambda i: (depth[i], i))


def _in_place(node: Node, like: Shaped[np.ndarray, "..."]) -> Iterator[Shaped[np.ndarray, "..."]]:
    """PyTorch's value in every layout in which it can stand in place of a JAX value, the likeliest first."""
    import itertools

    value = node.array
    target = like.shape
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
        if (
            moved.shape == wanted and (value.shape != target or axes != tuple(range(squeezed.ndim)))
        ) or squeezed.ndim != len(wanted):
            yield moved.reshape(target)
            given += 1
        if given >= 4:
            return


def _score(
    comparison: Comparison, failed: list[tuple[int, int]], j: int, value: Shaped[np.ndarray, "..."]
) -> float:
    """How many of the next values fall into place with this one, less those that fall out of it."""
    jax = comparison.candidate
    outputs = {j_out: t_out for t_out, j_out in failed}
    changed = jax.replay({**comparison.replaced, j: value}, until=_ahead(comparison, j))
    agreed = 0.25 if j in outputs else 0.0  # PyTorch's output in place of JAX's always helps
    for index, new in changed.items():
        node = jax.nodes[index]
        if index <= j or node.operation in REPEATING or node.operation in REARRANGING:
            continue
        array = np.asarray(new)
        partners = comparison.matcher.matches(array, Summary(array, comparison.candidate_moves[index]))
        if comparison.partners[index]:
            agreed -= not partners and not comparison.summaries[index].empty
        else:
            agreed += bool(outputs[index] in partners if index in outputs else partners)
    return agreed


def _ahead(comparison: Comparison, j: int) -> int | None:
    """The node up to which a replacement is followed."""
    changed = {j}
    count = 0
    for evaluation in comparison.candidate.evaluations:
        if any(i in changed for i in evaluation.inputs):
            changed.update(evaluation.outputs)
            count += 1
            if count >= AHEAD:
                return max(evaluation.outputs)
    return None


def _region(
    comparison: Comparison,
    t: int,
    j: int,
    value: Shaped[np.ndarray, "..."],
    t_open: Sequence[int],
    j_open: Sequence[int],
    *,
    settled: bool,
) -> Region:
    reference_nodes = sorted(comparison.reference.ancestors([t], comparison_stop(t_open, t)) & {*t_open, t})
    candidate_nodes = sorted(comparison.candidate.ancestors([j], comparison_stop(j_open, j)) & {*j_open, j})
    actual = comparison.array(j)
    held = comparison.summaries[j]
    usual = ordinary(value)
    scale = float(np.max(np.abs(value), where=usual, initial=0.0))
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(np.asarray(actual, np.float64) - np.asarray(value, np.float64))
    difference = float(np.max(np.nan_to_num(gap, nan=np.inf), where=usual, initial=0.0))
    if not difference:  # then it is the huge entries that differ
        difference = float(np.max(np.nan_to_num(gap, nan=np.inf), initial=0.0))
    error = 0.0 if difference == 0 else difference / scale if scale else math.inf
    order = same_numbers(comparison.matcher.summaries[t], held) and difference > 0
    honest = held.usual / scale if scale else 0.0
    return Region(t, j, tuple(reference_nodes), tuple(candidate_nodes), value, settled, order, error, honest)


def comparison_stop(open_nodes: Sequence[int], start: int) -> "_Outside":
    """Where a walk inside a region ends: at every node that is not open."""
    return _Outside({*open_nodes, start})


class _Outside:
    def __init__(self, inside: set[int]) -> None:
        self.inside = inside

    def __contains__(self, index: object) -> bool:
        return index not in self.inside


def places(trace: Trace, nodes: Sequence[int], layout: Collection[str]) -> tuple[Place, ...]:
    """The places of some operations, each line once: first those where numbers are computed, in order.

    What is made of constants alone (a range of indices) only feeds them, and comes after.
    """
    computing = [i for i in nodes if trace.nodes[i].operation not in layout] or list(nodes)
    of_data: set[int] = set()
    for index, node in enumerate(trace.nodes):
        if node.kind in (Kind.INPUT, Kind.WEIGHT) or not of_data.isdisjoint(node.inputs):
            of_data.add(index)
    computing.sort(key=lambda index: index not in of_data)
    found: dict[tuple[str, str, int, str], Place] = {}
    for index in [*computing, *nodes]:
        spot = trace.nodes[index].spot
        found.setdefault((spot.module, spot.file, spot.line, spot.step), trace.nodes[index].place)
    return tuple(found.values())


def reference_places(trace: Trace, region: Region) -> tuple[Place, ...]:
    """The operations of the PyTorch side of a fault."""
    return places(trace, region.reference_nodes, () if region.order else REARRANGING)


def candidate_places(comparison: Comparison, region: Region) -> tuple[Place, ...]:
    """The operations of the JAX side of a fault, then the lines that their operands come from.

    Where JAX lacks an operation, its value agrees with the one before it: then the fault lies between that
    value and what reads it, and the readers come first.
    """
    trace = comparison.candidate
    if comparison.partners[region.j] and not region.order:
        readers = [i for i, node in enumerate(trace.nodes) if region.j in node.inputs and not node.backward]
        return places(trace, readers or [region.j], ()) + places(trace, [region.j], ())
    found = places(trace, region.candidate_nodes, () if region.order else REARRANGING)
    inside = set(region.candidate_nodes)
    operands = [
        i
        for index in region.candidate_nodes
        for i in trace.nodes[index].inputs
        if i not in inside and trace.nodes[i].kind is Kind.OPERATION and not trace.nodes[i].fixed
    ]
    lines = {(place.file, place.line) for place in found}
    others = [p for p in places(trace, operands, ()) if (p.file, p.line) not in lines] if operands else []
    return found + tuple(others[:OPERANDS])


def agreement(torch: Trace) -> Callable[[Trace], float]:
    """How much of a JAX computation PyTorch's has, too: a function of its trace, from 0 to 1.

    1 says that all outputs agree. Counted are values that say something, each once.
    """

    @functools.cache
    def matcher() -> Matcher:  # dear, and not needed where the outputs agree
        return Matcher(torch, [_some(node) for node in torch.nodes])

    def summary(node: Node) -> Summary:
        return Summary(node.array, _some(node))

    def agree(t: Node, j: Node) -> bool:
        return same_value(t.array, summary(t), j.array, summary(j))

    def of(jax: Trace) -> float:
        outputs = jax.outputs.get("outputs", {})
        theirs = torch.outputs["outputs"]
        pairs = [(theirs.get(name), jax.nodes[index]) for name, index in outputs.items()]
        if pairs and all(t is not None and agree(torch.nodes[t], j) for t, j in pairs):
            return 1.0
        judged = found = 0
        for node in jax.nodes:
            if node.kind is Kind.OPERATION and not node.fixed and node.floating and node.value.size > 1:
                judged += 1
                found += bool(matcher().same_numbers(summary(node)))
        return 0.99 * found / max(1, judged)

    return of


def _some(node: Node) -> float:
    """A move that covers honest rounding, where none was measured."""
    array = node.array
    return 1e-11 * float(np.nanmax(np.abs(array[np.isfinite(array)]), initial=0.0)) if node.floating else 0.0
