"""One fault laid out for trials: what the candidate computes there, and what it should have come to.

A trial changes the candidate's computation at the fault and repeats it, as far as the *targets*: values that
everything behind the fault goes through, known because the reference's value was put in place. A
change after which a target agrees is a full explanation, wherever in between it was made.
"""

import functools
import math
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.arrangements import arranged
from parity.diagnose.downstream import BEHIND, targets_behind
from parity.diagnose.origins import Before, made_of, pure, static
from parity.diagnose.targets import Array, difference, same, target_of
from parity.diagnose.trials import Change, recompute
from parity.localise.comparison import Comparison, Function, Region, Value, failing
from parity.localise.placing import in_place
from parity.trace.executions import executions, steps
from parity.trace.graph import Frame, Node, NodeKind
from parity.trace.vocabulary import REARRANGING, TILING

DEPTHS = (0, 1, 3)
"""How many operations before the fault are looked at, too: first none, then what it reads, then some."""

MOST_ACTIVE = 300
"""Evaluations that a trial computes again; in a longer stretch only those that disagree."""

Code = tuple[str, int, bool, tuple[Frame, ...]]
"""File, line, whether it is the gradient of that, and the lines that it is called from."""


class Fault:
    """A fault with everything that hypotheses need to know about it."""

    def __init__(self, comparison: Comparison, region: Region, depth: int, seconds: float) -> None:
        """Lay out the fault.

        Args:
            comparison: both traces.
            region: the fault.
            depth: how many matched operations before the fault belong to it, too.
            seconds: time for all trials.
        """
        self.comparison, self.region, self.depth = comparison, region, depth
        self.reference, self.candidate = comparison.reference, comparison.candidate
        self.deadline = time.process_time() + seconds
        self.group = next((g for g in ("outputs", "loss") if failing(comparison, g)), "gradients")
        self.gradient = self.group == "gradients"
        self.pure = pure(self.candidate.nodes)
        self.consumers = self.candidate.consumers()
        failed = self.candidate.outputs.get(self.group, {})
        self.relevant = self.candidate.ancestors([*failed.values(), region.j])
        self.targets = targets_behind(comparison, region, self.relevant, self.consumers)
        self.target = self.targets[0]
        self.differs = not same(self.target.wanted, self.target.actual, self.target.allowed)
        self.scope = self._scope(depth)
        self.active = self._active()
        self.inputs = self._inputs(pure=False)
        self.constants = self._inputs(pure=True)
        self.twins: dict[int, list[int]] = {}
        for index, partners in comparison.partners.items():
            for t in partners:
                self.twins.setdefault(t, []).append(index)
        self.reference_scope, self.reference_inputs = self._reference_scope(depth)
        data = self._data()  # targets are constants of PyTorch's trace: what is made of them is no constant
        self.reference_static = static(self.reference.nodes) - data
        self.reference_pure = pure(self.reference.nodes) - data
        self._ancestors: dict[int, set[int]] = {}
        self._disagreeing: dict[int, list[int]] = {}
        self._steps: dict[int, list[int]] = {}
        # What a family found that says less than other families may; None before it has looked.
        self.for_later: list[Change] | None = None

    def _data(self) -> set[int]:
        """The reference's values that are made of what the candidate is given as an input."""
        nodes = self.reference.nodes
        given = [t for i in self.candidate.inputs.values() for t in self.comparison.partners.get(i, ())]
        constants = (t for t in given if nodes[t].kind is NodeKind.CONSTANT and nodes[t].value.shape)
        return made_of(nodes, constants)

    @functools.cached_property
    def read_here(self) -> frozenset[int]:
        """What the faulty operations read themselves, and none behind them."""
        faulty = [i for i in self.scope if i <= self.region.j] or [self.region.j]
        return frozenset(i for n in faulty for i in self.node(n).inputs)

    def node(self, index: int) -> Node:
        """A node of the candidate's trace."""
        return self.candidate.nodes[index]

    def value(self, index: int) -> Array:
        """The candidate's value of a node, with the replacements made so far."""
        return self.comparison.array(index)

    def _scope(self, depth: int) -> tuple[int, ...]:
        nodes = set(self.region.candidate_nodes) | {self.region.j}
        edge = set(nodes)
        for _ in range(depth):
            edge = {i for n in edge for i in self.node(n).inputs if self._computes(i)} - nodes
            nodes |= edge
        if len(self.targets) > 1:
            behind = self.candidate.ancestors([self.targets[-1].node], Before(self.region.j))
            nodes |= {i for i in behind if i > self.region.j}
        return tuple(sorted(i for i in nodes if self._computes(i)))

    def _computes(self, index: int) -> bool:
        """Whether a node is computed again; rearranged weights and constants are operands."""
        node = self.node(index)
        if node.kind is not NodeKind.OPERATION or node.step < 0:
            return False
        if node.fixed or index in self.pure:
            return self.region.j in self.pure and index in (*self.region.candidate_nodes, self.region.j)
        return True

    def _active(self) -> list[int]:
        """Evaluations between the fault's first operation and the last target."""
        if not self.scope:
            return []
        first, last = self.scope[0], max(t.node for t in self.targets)
        between = self.candidate.ancestors([t.node for t in self.targets], Before(first - 1))
        steps = {self.node(i).step for i in between if first <= i <= last and self._computes(i)}
        if len(steps) > MOST_ACTIVE:
            steps = {self.node(i).step for i in self.scope}
        return sorted(steps)

    def _inputs(self, *, pure: bool) -> tuple[int, ...]:
        inside = {o for number in self.active for o in self.candidate.evaluations[number].outputs}
        read = {i for number in self.active for i in self.candidate.evaluations[number].inputs} - inside
        return tuple(sorted(i for i in read if (i in self.pure) == pure))

    def computed(self) -> Iterator[int]:
        """The nodes that a trial computes, in order."""
        for number in self.active:
            yield from self.candidate.evaluations[number].outputs

    def rearranged_from(self, index: int) -> list[int]:
        """The values that a value only rearranges or repeats, itself first."""
        found = [index]
        while self.node(index).operation in REARRANGING | TILING and len(self.node(index).inputs) == 1:
            index = self.node(index).inputs[0]
            found.append(index)
        return found

    def read_before(self, index: int) -> list[int]:
        """What goes in or is computed before a node, and what that rearranges; the nearest input first."""
        near = [i for i in (*reversed(self.inputs), *self.computed()) if i < index]
        return list(dict.fromkeys(k for i in near for k in self.rearranged_from(i)))

    def ancestors(self, index: int) -> set[int]:
        """All nodes that a value was computed from."""
        if index not in self._ancestors:
            self._ancestors[index] = self.candidate.ancestors([index])
        return self._ancestors[index]

    def disagreeing(self, number: int) -> list[int]:
        """An evaluation, and the others of the same code whose results are not the reference's."""
        if number not in self._disagreeing:
            evaluations, matched = self.candidate.evaluations, self.comparison.matched
            self._disagreeing[number] = [
                n
                for n in executions(self.candidate, number)
                if n == number or not any(map(matched, evaluations[n].outputs))
            ]
        return self._disagreeing[number]

    def steps(self, number: int) -> list[int]:
        """An evaluation and the same in every other step of its loop; itself alone outside of one."""
        if number not in self._steps:
            self._steps[number] = steps(self.candidate, self.alike(number), number)
        return self._steps[number]

    def _code(self, number: int) -> Code:
        """What an evaluation is the same code by."""
        node = self.node(self.candidate.evaluations[number].outputs[0])
        return *node.spot.at, node.backward, node.spot.callers

    @functools.cached_property
    def _of_code(self) -> dict[Code, list[int]]:
        found: dict[Code, list[int]] = {}
        for number in (n for n, e in enumerate(self.candidate.evaluations) if e.outputs):
            found.setdefault(self._code(number), []).append(number)
        return found

    def on_line(self, number: int) -> list[int]:
        """The evaluations of the line of one of them, called from the same lines."""
        return self._of_code[self._code(number)]

    def alike(self, number: int) -> list[int]:
        """The same of its operation alone."""
        return [n for n in self.on_line(number) if self.operation(n) == self.operation(number)]

    def in_all_steps(self, index: int) -> list[int]:
        """A value in every step of the loop that computes it, in order; itself alone outside of one."""
        number = self.node(index).step
        return self.same_result(index, self.steps(number)) if number >= 0 else [index]

    def same_result(self, index: int, numbers: Iterable[int]) -> list[int]:
        """What other evaluations of the code that has made a node have in its place.

        Args:
            index: node of the candidate.
            numbers: evaluations of the same code.
        """
        evaluations = self.candidate.evaluations
        place = evaluations[self.node(index).step].outputs.index(index)
        return [evaluations[n].outputs[place] for n in numbers]

    def readers(self, index: int) -> list[int]:
        """Evaluations among the active ones that read a node."""
        return [n for n in self.active if index in self.candidate.evaluations[n].inputs]

    def reaches(self, index: int, operations: Collection[str], steps: int) -> bool:
        """Whether a value goes into an operation of one of these names within so many steps.

        Args:
            index: node of the candidate.
            operations: names of operations.
            steps: how many operations lie between at most.
        """
        edge = {index}
        for _ in range(steps):
            edge = {k for i in edge for k in self.consumers[i]}
            if any(self.node(i).operation in operations for i in edge):
                return True
        return False

    def operation(self, number: int) -> str:
        """The name of the operation of an evaluation."""
        return self.candidate.evaluations[number].operation

    @functools.cached_property
    def dividing_lines(self) -> frozenset[tuple[str, int]]:
        """File and line of what takes a remainder of whole numbers, as `//` and `%` do."""
        evaluations = self.candidate.evaluations
        return frozenset(
            self.line(n)
            for n, evaluation in enumerate(evaluations)
            if evaluation.operation == "rem" and not self.node(evaluation.outputs[0]).floating
        )

    def line(self, number: int) -> tuple[str, int]:
        """The file and the line of an evaluation."""
        return self.node(self.candidate.evaluations[number].outputs[0]).spot.at

    def _reference_scope(self, depth: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The reference's operations at the fault and behind it up to the last target; and what they read."""
        nodes = set(self.region.reference_nodes) | {self.region.t}
        edge = set(nodes)
        for _ in range(depth):
            edge = {i for n in edge for i in self.reference.nodes[n].inputs} - nodes
            nodes |= {i for i in edge if self.reference.nodes[i].kind is NodeKind.OPERATION}
        inside = {self.region.t}
        for index in range(self.region.t + 1, min(len(self.reference.nodes), self.region.t + BEHIND)):
            if any(i in inside for i in self.reference.nodes[index].inputs):
                inside.add(index)
                if len(inside) > 2 * len(self.targets) + 4:
                    break
        nodes |= inside
        read = {i for n in nodes for i in self.reference.nodes[n].inputs} - nodes
        return tuple(sorted(nodes)), tuple(sorted(read))

    def from_reference(self, index: int, shape: tuple[int, ...]) -> Iterator[Array]:
        """A value of the reference in a candidate's shape: its twin's, else any layout that fits.

        Args:
            index: node of the reference.
            shape: the shape that is wanted.
        """
        given = 0
        for twin in self.twins.get(index, ()):  # or what it was before it was laid out, as heads are
            array = next((a for k in self.rearranged_from(twin) if (a := self.value(k)).shape == shape), None)
            if array is not None and array.size == self.value(twin).size:
                yield array
                given += 1
        if given:
            return
        array, js = self.reference.nodes[index].array, self.region.js
        if len(js) > 1 and array.size == len(js) * math.prod(shape):  # a part at a time
            yield from (parts[js.index(self.region.j)] for parts in arranged(array, (len(js), *shape)))
        else:
            yield from arranged(array, shape)

    def compute(
        self, values: Mapping[int, Value], functions: Mapping[int, Function] | None = None
    ) -> dict[int, Value]:
        """The values of all nodes that change under a trial.

        Args:
            values: node -> its value instead.
            functions: index of an evaluation -> what to compute it by instead.

        Returns:
            Node -> its new value, the given ones included; where operands stop to fit, nothing behind.
        """
        functions = functions or {}
        if not set(self.active).issuperset(functions):  # what is made of constants is not computed again here
            return self.comparison.replay(values, functions, until=max(t.node for t in self.targets))
        new: dict[int, Value] = dict(values)
        for number in self.active:
            evaluation = self.candidate.evaluations[number]
            if number not in functions and not any(i in new for i in evaluation.inputs):
                continue
            if all(i in values for i in evaluation.outputs):
                continue
            results = recompute(self.comparison, number, new, functions)
            if results is None:
                break
            new.update({i: v for i, v in results.items() if i not in values})
        return new

    def residual(self, change: Change) -> float | None:
        """The relative difference that a change leaves at the first target that it makes agree, or None.

        Args:
            change: the change; it may give nodes and evaluations.

        Returns:
            The largest difference relative to the largest entry; None if no target agrees.
        """
        if change.everywhere:
            return self._left_at_outputs(change)
        new = self.compute(change.values, change.functions)
        for number, target in enumerate(self.targets):
            if target.node in new:
                left = difference(np.asarray(new[target.node]), target)
                if left is not None:
                    written = all(i in self.pure for i in change.values)
                    return left if not written or self._stays(new, number + 1) else None
        return None

    def _left_at_outputs(self, change: Change) -> float | None:
        """The relative difference that a change leaves at the outputs that failed; None if one still does."""
        new = self.comparison.replay(change.values, change.functions)
        left = []
        for t, j in failing(self.comparison, self.group):
            actual, move = self.value(j), self.comparison.candidate_moves[j]
            wanted = next(in_place(self.comparison, (t,), (j,)), {}).get(j)
            if wanted is None or j not in new:
                return None
            left.append(difference(np.asarray(new[j]), target_of(j, wanted, actual, move)))
        return max((n for n in left if n is not None), default=None) if None not in left else None

    def _stays(self, new: Mapping[int, Value], first: int) -> bool:
        """Whether the targets behind one that agrees do so, too: what changed may go around it.

        Asked of numbers and operations that are exchanged: they stand for themselves, wherever they are read.
        Where it mends the next fault as well, they are the reference's with both mended.
        """
        for target in self.targets[first:]:
            if target.node in new:
                value = np.asarray(new[target.node])
                if difference(value, target) is None and not self.comparison.matches(target.node, value):
                    return False
        return True

    def reading(self, index: int, value: Value) -> tuple[Mapping[int, Value], Mapping[int, Function]]:
        """A trial in which the faulty operations read another value; other readers keep the old one.

        Args:
            index: node of the candidate.
            value: what is read in its place.

        Returns:
            The values and the functions of a change.
        """
        inside = {self.node(i).step for i in (*self.region.candidate_nodes, self.region.j)}
        readers = {self.node(k).step for k in self.consumers[index] if k in self.relevant}
        faulty = sorted(inside & readers) or [n for n in self.active if n in readers]
        if not faulty or readers.issubset(faulty):
            return {index: value}, {}
        return {}, {n: self.with_operands(n, {index: value}) for n in faulty}

    def reading_all(self, values: Mapping[int, Value]) -> tuple[Mapping[int, Value], Mapping[int, Function]]:
        """The same of several values at once.

        Args:
            values: node of the candidate -> what is read in its place.
        """
        everywhere: dict[int, Value] = {}
        inside: dict[int, dict[int, Value]] = {}
        for index, value in values.items():
            kept, functions = self.reading(index, value)
            everywhere.update(kept)
            for number in functions:
                inside.setdefault(number, {})[index] = value
        return everywhere, {n: self.with_operands(n, read) for n, read in inside.items()}

    def with_operands(self, number: int, values: Mapping[int, Value]) -> Function:
        """An evaluation with other values for some of its operands.

        Args:
            number: index of the evaluation.
            values: node of the candidate -> what is read in its place.
        """
        evaluation = self.candidate.evaluations[number]

        def compute(given: Sequence[Value]) -> Sequence[Value]:
            read = [values.get(i, v) for i, v in zip(evaluation.inputs, given, strict=True)]
            return evaluation.function(read)

        return compute

    @property
    def late(self) -> bool:
        """Whether the time is up; not wall time, because how busy a machine is must not decide."""
        return time.process_time() > self.deadline

    def agreeing(self, changes: Iterable[Change]) -> Iterator[tuple[Change, float]]:
        """The changes that make a target agree, each with the relative difference it leaves.

        Args:
            changes: what is tried, in order, until the time is up.

        Yields:
            A change and its residual.
        """
        for change in changes:
            if self.late:
                return
            left = self.residual(change)
            if left is not None:
                yield change, left
