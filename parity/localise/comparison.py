"""Two traces with what is matched in them, and what a fault between them is."""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Shaped

from parity.localise.gathering import Gathered, Gathering, Side
from parity.numerics.unread import Unread
from parity.trace.graph import NodeKind, Trace
from parity.trace.kept_values import is_absent
from parity.trace.match import Matcher, Summary, same_numbers
from parity.trace.vocabulary import REPEATING

if TYPE_CHECKING:
    import jax

Value: TypeAlias = "Shaped[np.ndarray, '...'] | jax.Array"
"""A value that replaces another: NumPy's from a trace, JAX's where an operation of JAX computed it again."""

Function = Callable[[Sequence[Value]], Sequence[Value]]
"""From the values that an operation reads to those that it computes."""


class Region(NamedTuple):
    """A fault: what goes in agrees, and with `t` in place of `j` what follows agrees, too.

    Attributes:
        t: node of the reference's value.
        j: node of the candidate's value that it belongs in place of.
        reference_nodes: the reference's operations between what agrees and `t`, in order of computation.
        candidate_nodes: the candidate's operations between what agrees and `j`, likewise.
        value: the reference's value in the layout of `j`.
        settled: whether what follows fell into place.
        order: whether both hold the same numbers, arranged differently.
        error: relative difference of the two values.
        honest: how much of it rounding explains.
        ts, js: `t` and `j` with the same of the other runs of a loop, where one side computes in parts.
        beside: the reference's values in place of the candidate's other parts.
        again: whether `j` agrees with another value of the reference, and the candidate computes it twice:
            once where this one belongs.
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
    ts: tuple[int, ...] = ()
    js: tuple[int, ...] = ()
    beside: Mapping[int, Shaped[np.ndarray, "..."]] = MappingProxyType({})
    again: bool = False

    @property
    def placed(self) -> dict[int, Shaped[np.ndarray, "..."]]:
        """Node of the candidate -> the reference's value in its place."""
        return {self.j: self.value, **self.beside}


class Comparison:
    """Two traces with what is matched in them; values that were put in place count as matched."""

    def __init__(
        self,
        reference: Trace,
        candidate: Trace,
        reference_moves: list[float],
        candidate_moves: list[float],
    ) -> None:
        """Match every value of the candidate with the reference's.

        Args:
            reference: the reference's trace.
            candidate: the candidate's; it must hold its evaluations.
            reference_moves: how far one-ulp noise moves each node of the reference.
            candidate_moves: the same for the candidate.
        """
        self.reference, self.candidate = reference, candidate
        self.reference_moves, self.candidate_moves = reference_moves, candidate_moves
        self.matcher = Matcher(reference, reference_moves)
        self.replaced: dict[int, Value] = {}
        self.values: dict[int, Shaped[np.ndarray, ...]] = {}
        self.reference_matched: set[int] = set()
        self.partners: dict[int, list[int]] = {}
        self.summaries: dict[int, Summary] = {}
        self.gathered: dict[int, Gathered] = {}
        for index in range(len(candidate.nodes)):
            self._match(index)
        there = Side(
            reference,
            lambda i: reference.nodes[i].array,
            self.matcher.summaries.__getitem__,
            self.reference_agrees,
        )
        here = Side(candidate, self.array, self.summaries.__getitem__, self.candidate_agrees)
        self.candidate_runs, self.reference_runs = Gathering(here, there), Gathering(there, here)
        self._note_matches()

    def array(self, index: int) -> Shaped[np.ndarray, "..."]:
        """The candidate's value of a node, with the replacements made so far."""
        return np.asarray(self.values[index]) if index in self.values else self.candidate.nodes[index].array

    def matches(self, index: int, array: Shaped[np.ndarray, "..."]) -> list[int]:
        """The reference's nodes that hold the same as an array that stands in a node of the candidate.

        Args:
            index: node of the candidate.
            array: a value for it.

        Returns:
            Nodes of the reference with the same entries, arranged alike.
        """
        return self.matcher.matches(array, Summary(array, self.candidate_moves[index]))

    def _match(self, index: int) -> None:
        array, value = self.array(index), self.candidate.nodes[index].value
        summary = Summary(array, self.candidate_moves[index], value if isinstance(value, Unread) else None)
        self.summaries[index] = summary
        self.partners[index] = [] if is_absent(value) else self.matcher.matches(array, summary)

    def _note_matches(self) -> None:
        """Which of the reference's values are matched: also those that only repeat a matched one."""
        self.reference_matched = {t for found in self.partners.values() for t in found}
        for index, node in enumerate(self.reference.nodes):
            if node.operation in REPEATING and node.inputs and node.inputs[0] in self.reference_matched:
                self.reference_matched.add(index)
        self.gathered = {}
        of_candidate, of_reference = list(self.candidate_runs.found()), list(self.reference_runs.found())
        for found in of_candidate:
            self.gathered.update(dict.fromkeys(found.parts, found))
            self.reference_matched.add(found.whole)
        for found in of_reference:
            self.reference_matched.update(found.parts)
            self.gathered[found.whole] = found

    def matched(self, index: int) -> bool:
        """Whether the reference holds a value of the candidate, by itself or in parts, or as a part."""
        return bool(self.partners[index]) or index in self.gathered

    def candidate_agrees(self, index: int) -> bool:
        """Whether a value of the candidate needs no explanation: matched, or weights that are rearranged."""
        node = self.candidate.nodes[index]
        if node.kind is not NodeKind.OPERATION or node.fixed or self.matched(index):
            return True
        if node.operation not in REPEATING or not self.candidate_agrees(node.inputs[0]):
            return False
        # A cast repeats its operand unless it rounds it.
        repeated = self.summaries[node.inputs[0]]
        return self.summaries[index].size != repeated.size or same_numbers(self.summaries[index], repeated)

    def reference_agrees(self, index: int) -> bool:
        """The same for a value of the reference."""
        node = self.reference.nodes[index]
        return node.kind is not NodeKind.OPERATION or node.fixed or index in self.reference_matched

    def put(self, values: Mapping[int, Value]) -> None:
        """Replace values of the candidate for good, and match what follows again.

        Args:
            values: node of the candidate -> its value from now on, of the same shape.
        """
        self.replaced.update(values)
        changed = self.replay({})
        self.values = {k: np.asarray(v) for k, v in changed.items()}
        for changed_index in self.values:
            self._match(changed_index)
        self._note_matches()

    def replay(
        self,
        values: Mapping[int, Value],
        functions: Mapping[int, Function] = MappingProxyType({}),
        *,
        until: int | None = None,
    ) -> dict[int, Value]:
        """What changes in the candidate with some values and operations besides those put in place so far.

        Args:
            values: node -> its value instead.
            functions: index of an evaluation -> what to compute it by instead.
            until: stop after this node.

        Returns:
            Node -> its value, of those that differ from the trace as it was recorded.
        """
        return self.candidate.replay({**self.replaced, **values}, changes=functions, until=until)

    def candidate_tells(self, index: int) -> bool:
        """Whether a computed value of the candidate agrees, and that is no accident of a single number."""
        summary = self.summaries[index]
        return self.matched(index) and not summary.empty and summary.size > 1

    def reference_tells(self, index: int) -> bool:
        """The same for a value of the reference."""
        summary = self.matcher.summaries[index]
        return index in self.reference_matched and not summary.empty and summary.size > 1


def failing(comparison: Comparison, group: str) -> list[tuple[int, int]]:
    """The leaves of a group of outputs that the two sides do not have in common.

    Args:
        comparison: both traces.
        group: "outputs" or "gradients".

    Returns:
        (node of the reference, node of the candidate) of each leaf.
    """
    pairs = []
    for leaf, j in comparison.candidate.outputs.get(group, {}).items():
        t = comparison.reference.outputs.get(group, {}).get(leaf)
        if t is None:
            continue
        empty = comparison.summaries[j].empty
        if (t not in comparison.partners[j] and not empty) or empty != comparison.matcher.summaries[t].empty:
            pairs.append((t, j))
    return pairs


def unmatched(
    trace: Trace, starts: Collection[int], agrees: Callable[[int], bool]
) -> tuple[list[int], list[int]]:
    """Walk back from outputs through values that the other side does not have.

    Args:
        trace: of one side.
        starts: nodes of the outputs.
        agrees: whether a node needs no explanation; there the walk stops.

    Returns:
        All nodes that it went through, and those of them whose inputs all agree, in order of computation.
    """
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
