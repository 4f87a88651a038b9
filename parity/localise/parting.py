"""Where two computations part, and the weights nearest to that place: those that a plan may have wrong."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from parity.localise.agreement import assumed_move
from parity.trace.graph import Node, NodeKind, Trace
from parity.trace.match import Matcher, Summary
from parity.trace.vocabulary import CONVOLUTIONS, MOVING, PRODUCTS

FARTHEST = 12
"""How many operations may lie between the place and a weight."""

FOLLOWING = 3
"""How many steps behind the place values are looked at, too."""

MOST_NODES = 64
"""How many values at the place are looked at, the first ones."""


MOST_PARTS = 16
"""Into how many parts a value is taken apart that the other side may hold one by one."""

Array = Shaped[np.ndarray, "..."]


class Parting:
    """The place where a candidate's computation leaves the reference's.

    Attributes:
        frontier: nodes of the candidate whose numbers the reference does not have, made from what it has.
        near: names of the candidate's weights, those that are read nearest to the frontier first; where it
            reads none itself, those that are read soon behind it come first, behind any other product
            last. Without a frontier, those that are read nearest to the outputs.
    """

    def __init__(self, matcher: Matcher, candidate: Trace) -> None:
        """The place where `candidate` leaves the trace of `matcher`."""
        self._matcher, self._candidate = matcher, candidate
        agrees: list[bool] = []
        for node in candidate.nodes:
            # What is cut out of values that agree, or put together, need not be a value of the other side.
            part = node.operation in MOVING and all(agrees[k] for k in node.inputs)
            agrees.append(part or self._agrees(node))
        ends = candidate.outputs.get("outputs", {}).values()
        seen: set[int] = set()
        waiting = [index for index in ends if not agrees[index]]
        while waiting:
            index = waiting.pop()
            if index not in seen:
                seen.add(index)
                waiting += [i for i in candidate.nodes[index].inputs if not agrees[i]]
        self.frontier = [i for i in sorted(seen) if all(agrees[k] for k in candidate.nodes[i].inputs)]
        self.frontier = self.frontier[:MOST_NODES]
        self._parted = sorted(seen)
        self._watched = self._following()
        self.near = self._nearby() if self.frontier else self._nearest(list(ends))

    def mended(self, values: Mapping[str, Array], *, anywhere: bool = False) -> int:
        """How many values at the place the reference has, once some weights have other values.

        Args:
            values: weights by the candidate's names.
            anywhere: whether to look at all that follows: one side may compute in one operation, as a fused
                recurrent layer, what the other does in many.

        Returns:
            The number of values.
        """
        trace = self._candidate
        watched = self._parted if anywhere else self._watched
        if not watched:
            return 0
        given = {
            trace.weights[name]: np.asarray(value, trace.nodes[trace.weights[name]].array.dtype)
            for name, value in values.items()
            if name in trace.weights
        }
        new = trace.replay(given, until=watched[-1])
        found = 0
        for index in watched:
            if index in new:
                found += self._has(np.asarray(new[index]), assumed_move(trace.nodes[index]))
        return found

    def _has(self, array: Array, move: float) -> bool:
        """Whether the reference has a value's numbers: at once, or one after the other along an axis."""
        if array.size < 2 or not array.any():
            return False
        if self._matcher.same_numbers(Summary(array, move)):
            return True
        counts = [axis for axis, n in enumerate(array.shape) if 1 < n <= MOST_PARTS and array.size > n]
        return any(self._has_each(np.moveaxis(array, axis, 0), move) for axis in counts)

    def _has_each(self, parts: Array, move: float) -> bool:
        """Whether the reference has the numbers of every part, as of every expert or head by itself."""
        return all(part.any() and bool(self._matcher.same_numbers(Summary(part, move))) for part in parts)

    def _following(self) -> list[int]:
        """The frontier and what follows closely: one side may do in one step what the other does in two."""
        level = dict.fromkeys(self.frontier, 0)
        for index in self._parted:
            before = [level[i] for i in self._candidate.nodes[index].inputs if i in level]
            if before and index not in level and min(before) < FOLLOWING:
                level[index] = min(before) + 1
        return sorted(level)

    def _nearby(self) -> list[str]:
        """The weights to vary; behind a product those of the next steps, too: it may sum in another order.

        These come first, as the kernels that meet it, if a convolution without weights cuts something out.
        """
        near = self._nearest(self.frontier)
        operations = {self._candidate.nodes[i].operation for i in self.frontier}
        if operations.isdisjoint(CONVOLUTIONS | PRODUCTS):
            return near
        behind = [i for i in self._watched if self._reads_a_weight(i)]
        soon = self._nearest(behind)[: len(behind)]
        if operations & CONVOLUTIONS and not any(map(self._reads_a_weight, self.frontier)):
            return list(dict.fromkeys([*soon, *near]))
        return list(dict.fromkeys([*near, *soon]))

    def _reads_a_weight(self, index: int) -> bool:
        nodes, weights = self._candidate.nodes, set(self._candidate.weights.values())
        read = [i for i in nodes[index].inputs if nodes[i].fixed]
        return not weights.isdisjoint(self._candidate.ancestors(read))

    def _agrees(self, node: Node) -> bool:
        if node.kind is not NodeKind.OPERATION or node.fixed or not node.floating or node.array.size < 2:
            return True
        return not node.array.any() or self._has(node.array, assumed_move(node))

    def _nearest(self, starts: Sequence[int]) -> list[str]:
        """The weights upstream of some nodes, by the number of operations in between."""
        trace = self._candidate
        names = {index: name for name, index in trace.weights.items()}
        far: dict[int, int] = dict.fromkeys(starts, 0)
        waiting = list(starts)
        found: dict[str, None] = {}
        for index in waiting:  # grows: breadth first
            if index in names:
                found[names[index]] = None
            if far[index] >= FARTHEST:
                continue
            for before in trace.nodes[index].inputs:
                if before not in far:
                    far[before] = far[index] + 1
                    waiting.append(before)
        return list(found)
