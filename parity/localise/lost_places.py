"""Where a run in a narrow dtype loses what float64 keeps, and the reference in the same dtype: walked back.

A value is lost where it is no number and the exact one is, or where it is further from it than one-ulp noise
on weights and inputs explains, or the reference's own error in the same value. The place is an operation
whose operands are good and whose result is lost, or one that loses even what exact operands would give.
"""

import functools
import heapq
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from parity.localise.rounding_errors import Error, RoundedRun, error_of
from parity.numerics.arrays import eps_of, to_numpy
from parity.report.results import LIMIT, Place
from parity.trace.graph import NodeKind
from parity.trace.match import Matcher, Summary

FLOOR = 4.0
"""Ulps of the largest entry that an operation may be off by, as in the yardstick."""

MOST_MENDED = 8
"""Lines that are tried out; of more the first are told."""

BROKEN = 1e6
"""What a value counts for that is no number, or is off by more than so many times what is allowed."""


class LostPlaces:
    """The search in one side's run, given the other side's."""

    def __init__(self, run: RoundedRun, reference: RoundedRun | None) -> None:
        """What the reference loses itself is no fault.

        Args:
            run: of the candidate.
            reference: None where only its recording is here.
        """
        self.run, self.reference = run, reference
        self._known: dict[int, bool] = {}

    @functools.cached_property
    def _matcher(self) -> Matcher | None:
        if self.reference is None:
            return None
        return Matcher(self.reference.exact_trace, self.reference.exact_moves)

    @functools.cached_property
    def _reference_nodes(self) -> dict[int, list[int]]:
        """The nodes of the reference's narrow run, by those of its exact one."""
        found: dict[int, list[int]] = {}
        for own, exact in self.reference.pairs.items() if self.reference is not None else ():
            found.setdefault(exact, []).append(own)
        return found

    def matches(self, exact: int) -> list[int]:
        """The reference's exact values that are the same as one of the candidate's.

        Args:
            exact: node of the candidate's run in float64.
        """
        if self._matcher is None or self.reference is None:
            return []
        node = self.run.exact_trace.nodes[exact]
        if not node.floating:
            return []
        held = Summary(node.array, self.run.exact_moves[exact])
        there = self._matcher.summaries
        return [t for t in self._matcher.matches(node.array, held) if _both_ways(held, there[t])]

    def allowed(self, index: int) -> float:
        """How far a value may be off: by noise, by the rounding of the result, by the reference's error."""
        exact, error = self.run.pairs.get(index), self.run.error(index)
        if exact is None or error is None:
            return np.inf
        own = 2.0 * self.run.moves[exact] + FLOOR * eps_of(self.run.dtype) * error.scale
        there = [other.largest for other in self._errors_there(exact)]
        return LIMIT * (own + max(there, default=0.0))

    def _errors_there(self, exact: int) -> list[Error]:
        """The reference's errors in a value, wherever it computes it."""
        if self.reference is None:
            return []
        nodes = [own for same in self.matches(exact) for own in self._reference_nodes.get(same, ())]
        return [error for error in map(self.reference.error, nodes) if error is not None]

    def lost(self, index: int) -> bool:
        """Whether a value of the narrow run is lost, and the reference's is not."""
        if index not in self._known:
            error = self.run.error(index)
            self._known[index] = (
                self.run.trace.nodes[index].kind is NodeKind.OPERATION
                and error is not None
                and self._is_lost(index, error)
            )
        return self._known[index]

    def _is_lost(self, index: int, error: Error) -> bool:
        if index not in self.run.pairs:
            return False
        if error.broken.any():
            there = self._errors_there(self.run.pairs[index])
            return not any(other.broken.any() for other in there)
        return error.largest > 0 and error.largest > self.allowed(index)

    def found(self, starts: Collection[int]) -> list[int]:
        """The operations in which what some values are computed from is lost, one for each line of code.

        Args:
            starts: nodes of the narrow run; those that are not lost are passed over.
        """
        starts = [index for index in starts if self.lost(index)]
        waiting, seen, places = list(starts), set(starts), set()
        while waiting:
            index = waiting.pop()
            before = set(self._lost_inputs(index))
            if not before or self._loses_by_itself(index):
                places.add(index)
            waiting += before - seen
            seen |= before
        lines: dict[tuple[str, int], list[int]] = {}
        for index in sorted(places):
            spot = self.run.trace.nodes[index].spot
            lines.setdefault((spot.file, spot.line), []).append(index)
        groups = list(lines.values())[:MOST_MENDED]
        return [group[0] for group in self._telling(groups, starts)]

    def reference_places(self, index: int) -> tuple[Place, ...]:
        """Where the reference computes the same, or the next value of the way to the end that it has, too.

        Args:
            index: node of the narrow run.
        """
        if self.reference is None or index not in self.run.pairs:
            return ()
        nodes, readers = self.run.exact_trace.nodes, self.run.exact_trace.consumers()
        waiting = [self.run.pairs[index]]
        seen = set(waiting)
        while waiting:
            one = heapq.heappop(waiting)
            if nodes[one].kind is NodeKind.OPERATION and (there := self._computed(one)):
                return (self.reference.exact_trace.nodes[there[0]].place,)
            for reader in set(readers[one]) - seen:
                seen.add(reader)
                heapq.heappush(waiting, reader)
        return ()

    def _computed(self, exact: int) -> list[int]:
        """The reference's operations, in its author's code, whose exact results are that of the candidate."""
        if self.reference is None:
            return []
        nodes = self.reference.exact_trace.nodes
        computed = (t for t in self.matches(exact) if nodes[t].kind is NodeKind.OPERATION)
        return [t for t in computed if nodes[t].spot.file or nodes[t].spot.module]

    def _lost_inputs(self, index: int) -> Iterator[int]:
        """The lost values that an operation reads, through what has no exact counterpart."""
        nodes, seen = self.run.trace.nodes, {index}
        waiting = list(nodes[index].inputs)
        while waiting:
            one = waiting.pop()
            if one in seen or nodes[one].kind is not NodeKind.OPERATION:
                continue
            seen.add(one)
            if nodes[one].floating and self.run.exact(one) is None:
                waiting += nodes[one].inputs
            elif self.lost(one):
                yield one

    def _loses_by_itself(self, index: int) -> bool:
        """Whether an operation loses its result even of exact operands, which the narrow dtype can hold."""
        trace, exact = self.run.trace, self.run.exact(index)
        step = trace.nodes[index].step
        if exact is None or not 0 <= step < len(trace.evaluations):
            return False
        evaluation = trace.evaluations[step]
        if not all(map(self.run.holds, evaluation.inputs)):
            return False
        try:
            results = evaluation.function([self.run.rounded(i) for i in evaluation.inputs])
        except Exception:  # an operation that takes nothing but what it was recorded with
            return False
        result = results[evaluation.outputs.index(index)]
        return self._is_lost(index, error_of(to_numpy(result), exact))

    def _telling(self, groups: Sequence[Sequence[int]], starts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Of several lines those that matter: with exact values there, less is lost at the end.

        What the narrow dtype cannot hold cannot be tried out, and stays.
        """
        if len(groups) < 2 or not self.run.trace.evaluations:
            return groups
        whole = self._left(groups, starts)
        telling = [
            group
            for group in groups
            if not all(map(self.run.holds, group))
            or self._left([group], starts) < 0.5 * self._left([], starts)
            or self._left([one for one in groups if one is not group], starts) > 2.0 * whole + 1.0
        ]
        return telling or groups

    def _left(self, groups: Sequence[Sequence[int]], starts: Sequence[int]) -> float:
        """What is lost at the end with some values made exact, in units of what is allowed."""
        put: dict[int, Any] = {index: self.run.rounded(index) for group in groups for index in group}
        changed = self.run.trace.replay(put) if put else {}
        total = 0.0
        for start in starts:
            value = to_numpy(changed[start]) if start in changed else self.run.value(start)
            exact = self.run.exact(start)
            if exact is None:
                continue
            error = error_of(value, exact)
            allowed = self.allowed(start)
            total += BROKEN * float(error.broken.mean()) if error.broken.any() else 0.0
            total += min(error.largest / allowed, BROKEN) if error.largest and allowed else 0.0
        return total


def _both_ways(one: Summary, other: Summary) -> bool:
    """Whether values match by the noise of each: one that overflows has room for any other."""
    gap = np.abs(one.ordered - other.ordered)
    return bool(np.all(gap <= np.minimum(one.honest, other.honest)))
