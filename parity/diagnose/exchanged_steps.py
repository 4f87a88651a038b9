"""The order of steps: one side scales, caps, normalises or turns before a step, the other behind it.

A step is a stretch of operations from one value to another of the same shape that nothing else reads from.
It is taken out where the candidate has it, and put in where another value is read, of its shape or, if it is
a function of single entries, of any: a square before a mean or behind it.
"""

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.extra import GLUE
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.phrases import operations
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.localise.comparison import Value
from parity.report.kinds import CauseKind
from parity.trace.executions import executions
from parity.trace.graph import Node
from parity.trace.vocabulary import CHOOSING, ENTRYWISE, MASKING

SETTLED = GLUE | MASKING | CHOOSING
"""Operations that compute nothing: what only selects fits in many places."""

LONGEST = 30
"""Operations of one step at most."""

MOST_STEPS = 60
"""Steps that are tried elsewhere, the shortest first."""

MOST_ALIKE = 8
"""Steps of the same number of operations."""

SECONDS = 2.5
"""CPU time for all of them, in seconds."""

SECONDS_OF_WEIGHTS = 0.5
"""The same for those that read a weight."""


class Step(NamedTuple):
    """A stretch of operations.

    Attributes:
        start: the node that goes in.
        end: the node that comes out.
        nodes: what is computed, the end included.
        numbers: the evaluations that compute it, in order.
    """

    start: int
    end: int
    nodes: frozenset[int]
    numbers: tuple[int, ...]


class Move(NamedTuple):
    """A step taken out and put in elsewhere.

    Attributes:
        step: the step.
        at: the node that is read through it instead.
        readers: the evaluations that read it so; None for all.
    """

    step: Step
    at: int
    readers: frozenset[int] | None


def exchanged_weights(fault: Fault) -> Iterator[Change]:
    """The same of single operations that read a weight: a bias or a scale before a function or behind it."""
    if not fault.depth:  # quick, and tried early for that
        yield from _exchanged(fault, weights=True)


def exchanged_calls(fault: Fault) -> Iterator[Change]:
    """The same of all that a call of a layer or function computes, where one call hands on to another."""
    if not fault.depth:
        yield from _exchanged(fault, calls=True)


def exchanged_steps(fault: Fault) -> Iterator[Change]:
    """Every step at the fault, taken out and put in where another value of its shape is read."""
    yield from _exchanged(fault)


def _exchanged(fault: Fault, *, weights: bool = False, calls: bool = False) -> Iterator[Change]:
    deadline = time.process_time() + (SECONDS_OF_WEIGHTS if weights else SECONDS)
    computed = [i for i in fault.computed() if _is_array(fault.value(i))]
    inputs = [i for i in fault.inputs if _is_array(fault.value(i)) and not fault.node(i).fixed]
    found = _steps(fault, inputs, computed)
    steps = _shortest(found)
    nodes = {*inputs, *computed}
    if weights:
        steps = [step for step in steps if len(step.numbers) == 1 and _reads_a_weight(fault, step)]
    if calls:
        sizes = Counter(_call(fault, i) for i in fault.computed())
        steps = [step for step in found if _is_a_call(fault, step, sizes)]
        before = [k for i in inputs for k in fault.rearranged_from(i)[1:] if _is_array(fault.value(k))]
        nodes = {i for i in (*nodes, *before) if _is_between_calls(fault, i)}
    of_its_shape, of_another = (_places(fault, steps, nodes, alike=alike) for alike in (True, False))
    for step, at in itertools.chain(of_its_shape, of_another):
        if calls and _passes_its_own(fault, step, at):
            continue
        for readers in _choices(fault, at, step):
            move = Move(step, at, readers)
            # The same code may run once more beside this: on the keys what was done to the queries.
            for moves in ([move], _with_twins(fault, move)):
                if time.process_time() > deadline:
                    return
                values = _Rewritten(fault, moves).targets() if moves else {}
                if values:
                    yield _change(fault, move, values)


def _places(
    fault: Fault, steps: Sequence[Step], nodes: set[int], *, alike: bool
) -> Iterator[tuple[Step, int]]:
    """Where each step could be put in, the nearest first: values of its shape, or of another."""
    for step in steps:
        shape = fault.value(step.start).shape
        if alike or _is_entrywise(fault, step):
            near = sorted(nodes - step.nodes - {step.start}, key=lambda i: abs(i - step.start))
            yield from ((step, at) for at in near if (fault.value(at).shape == shape) == alike)


def _call(fault: Fault, index: int) -> tuple[object, ...]:
    """What a call of a layer or of one of the author's functions is told by."""
    spot = fault.node(index).spot
    return spot.module, spot.function, spot.callers


def _passes_its_own(fault: Fault, step: Step, at: int) -> bool:
    """Whether a call would change places with one of its own function: then their weights are exchanged."""
    first, last = (at, step.start) if at < step.start else (step.end, at)
    between = (i for i in (last, *fault.ancestors(last)) if i == first or first in fault.ancestors(i))
    own = fault.node(step.end).spot
    passed = (fault.node(i).spot for i in between if i not in step.nodes)
    return any((spot.module, spot.function) == (own.module, own.function) for spot in passed)


def _is_between_calls(fault: Fault, index: int) -> bool:
    """Whether a value is handed from one call of the author's to another."""
    own = _call(fault, index)
    return any(fault.node(k).spot.file and _call(fault, k) != own for k in fault.consumers[index])


def _is_entrywise(fault: Fault, step: Step) -> bool:
    """Whether a step is a function of single entries, as a square is: it fits a value of any shape."""
    read = (
        {i for n in step.numbers for i in fault.candidate.evaluations[n].inputs} - step.nodes - {step.start}
    )
    return all(fault.node(i).operation in ENTRYWISE for i in step.nodes) and all(
        fault.value(i).ndim == 0 for i in read
    )


def _change(fault: Fault, move: Move, values: Mapping[int, Value]) -> Change:
    step, at = move.step, move.at
    what = _in_words([fault.node(i) for i in sorted(step.nodes)])
    text = (
        f"the order of steps: <candidate> computes {what} on {described(fault, step.start)}, <reference> on "
        f"{described(fault, at)}"
    )
    joined = (step.end, *sorted(step.nodes), *_anchors(fault, step.start, step.end), *_anchors(fault, at, at))
    return Change(CauseKind.ORDER, text, values, joined=joined)


def _anchors(fault: Fault, index: int, read: int) -> list[int]:
    """Where a step begins or would begin: a value at the fault, else what reads from there."""
    inside = set(fault.computed())
    return [index] if index in inside else [k for k in fault.consumers[read] if k in inside]


def _in_words(nodes: Sequence[Node]) -> str:
    """What a step computes: a normalisation by name, anything else by its operations."""
    named = {node.operation for node in nodes}
    summed, rooted = named & {"reduce_sum", "mean"}, named & {"sqrt", "rsqrt"}
    return "a normalisation" if summed and rooted else operations(nodes)


def _is_array(array: Array) -> bool:
    return array.dtype.kind == "f" and array.size > 1


def _steps(fault: Fault, inputs: Sequence[int], computed: Sequence[int]) -> list[Step]:
    """Stretches from one value to another of its shape that nothing outside reads from."""
    inside, found = set(fault.computed()), []
    for start in (*inputs, *computed):
        reached = {start}
        for index in sorted(i for i in inside if i > start):
            if reached.intersection(fault.node(index).inputs):
                reached.add(index)
        for end in computed:
            if end not in reached or end == start or fault.value(end).shape != fault.value(start).shape:
                continue
            nodes = _leading_to(fault, end, reached - {start})
            if len(nodes) <= LONGEST and _closed(fault, nodes, end):
                numbers = tuple(sorted({fault.node(i).step for i in nodes}))
                found.append(Step(start, end, frozenset(nodes), numbers))
    found.sort(key=lambda step: not _reads_a_weight(fault, step))  # a bias or a scale is put in its place
    return found


def _shortest(steps: Sequence[Step]) -> list[Step]:
    """The shortest steps first, not too many of them."""
    by_length: dict[int, list[Step]] = {}
    for step in steps:
        by_length.setdefault(len(step.nodes), []).append(step)
    return [step for length in sorted(by_length) for step in by_length[length][:MOST_ALIKE]][:MOST_STEPS]


def _is_a_call(fault: Fault, step: Step, sizes: Mapping[tuple[object, ...], int]) -> bool:
    """Whether a step is all that a call of a layer or a function computes, and more than one operation.

    Several calls from one line count as one: they run the same code. The caller hands on what comes back, so
    that a line of the caller's own body is no call.
    """
    calls, count = {_call(fault, i) for i in step.nodes}, len(step.nodes)
    if len(calls) != 1 or count == 1 or sizes[calls.pop()] % count:
        return False
    callers = {frame.function for frame in fault.node(step.end).spot.callers}
    readers = (fault.node(k).spot for k in fault.consumers[step.end])
    return any(spot.file and spot.function in callers for spot in readers)


def _reads_a_weight(fault: Fault, step: Step) -> bool:
    """Whether a step computes with a weight."""
    return any(
        fault.node(i).fixed and i not in fault.pure
        for number in step.numbers
        for i in fault.candidate.evaluations[number].inputs
    )


def _leading_to(fault: Fault, end: int, reached: set[int]) -> set[int]:
    nodes, waiting = set(), [end]
    while waiting:
        index = waiting.pop()
        if index in reached and index not in nodes:
            nodes.add(index)
            waiting += fault.node(index).inputs
    return nodes


def _closed(fault: Fault, nodes: set[int], end: int) -> bool:
    """Whether nothing outside reads what is computed on the way, and something is computed."""
    if all(fault.node(i).operation in SETTLED for i in nodes):
        return False
    return all(k in nodes for i in nodes - {end} for k in fault.consumers[i] if k in fault.relevant)


def _choices(fault: Fault, at: int, step: Step) -> list[frozenset[int] | None]:
    """Which readers of a value read it through the step: all of them (None), or one alone."""
    readers = [n for n in fault.readers(at) if n not in step.numbers]
    single = [frozenset({n}) for n in readers] if len(readers) > 1 else []
    return [None, *single]


def _with_twins(fault: Fault, move: Move) -> list[Move]:
    """The same move wherever this code runs beside the fault; empty where it runs once."""
    runs = _Runs(fault)
    first = move.step.numbers[0]
    moves = [move]
    for turn in range(runs.count(first)):
        twin = None if turn == runs.turn(first) else runs.twin(move, turn)
        moves += [] if twin is None else [twin]
    return moves if len(moves) > 1 else []


def _rearranging(fault: Fault, index: int) -> list[int]:
    """The evaluations that rearrange a value into what goes into the fault, the first to read it first."""
    chains = (fault.rearranged_from(i) for i in fault.inputs)
    before = (reversed(chain[: chain.index(index)]) for chain in chains if index in chain)
    return list(dict.fromkeys(fault.node(i).step for chain in before for i in chain))


class _Runs:
    """Evaluations of the same code, run after run."""

    def __init__(self, fault: Fault) -> None:
        self._fault, self._active = fault, set(fault.active)
        self._known: dict[int, list[int]] = {}

    def _all(self, number: int) -> list[int]:
        if number not in self._known:
            found = executions(self._fault.candidate, number)
            is_active = number in self._active
            self._known[number] = [n for n in found if n in self._active or not is_active]
        return self._known[number]

    def count(self, number: int) -> int:
        """How often an evaluation's code runs at the fault."""
        return len(self._all(number))

    def turn(self, number: int) -> int:
        """Which of its runs an evaluation is."""
        return self._all(number).index(number)

    def twin(self, move: Move, turn: int) -> Move | None:
        """A move in another run; None if it does not run alike there."""
        step = move.step
        outside = [n for n in self._fault.readers(move.at) if n not in step.numbers]
        outside = outside or _rearranging(self._fault, move.at)
        numbers = [*step.numbers, *outside, *(move.readers or ())]
        if any(self.count(n) <= turn or self.turn(n) != self.turn(step.numbers[0]) for n in numbers):
            return None
        nodes: dict[int, int] = {}
        for number in numbers:
            here, there = (self._fault.candidate.evaluations[n] for n in (number, self._all(number)[turn]))
            nodes.update(zip((*here.inputs, *here.outputs), (*there.inputs, *there.outputs), strict=True))
        if not {step.start, step.end, move.at} <= nodes.keys():
            return None
        moved = Step(
            nodes[step.start],
            nodes[step.end],
            frozenset(nodes[i] for i in step.nodes),
            tuple(self._all(n)[turn] for n in step.numbers),
        )
        readers = None if move.readers is None else frozenset(self._all(n)[turn] for n in move.readers)
        return Move(moved, nodes[move.at], readers)


class _Rewritten:
    """The candidate's operations with steps in other places."""

    def __init__(self, fault: Fault, moves: Sequence[Move]) -> None:
        self.fault = fault
        self.removed = {move.step.end: move.step.start for move in moves}
        self.put = {move.at: move for move in moves}
        self.made = {o: n for n in fault.active for o in fault.candidate.evaluations[n].outputs}
        for move in moves:
            for number in _rearranging(fault, move.at):
                self.made |= dict.fromkeys(fault.candidate.evaluations[number].outputs, number)
        self.known: dict[int, Value] = {}

    def targets(self) -> Mapping[int, Value]:
        """The values of the targets; nothing where operands do not fit."""
        try:
            with np.errstate(all="ignore"):
                return {t.node: np.asarray(self._read(t.node, -1)) for t in self.fault.targets}
        except Exception:  # operands that do not fit, or a step inside itself: no explanation
            return {}

    def _read(self, index: int, number: int) -> Value:
        """A node as an evaluation reads it."""
        value = self._value(self.removed.get(index, index))
        move = self.put.get(index)
        through = move is not None and (move.readers is None or number in move.readers)
        return self._stepped(move.step, value) if move is not None and through else value

    def _value(self, index: int) -> Value:
        number = self.made.get(index)
        if number is None:
            return self.fault.value(index)
        if index not in self.known:
            evaluation = self.fault.candidate.evaluations[number]
            given = [self._read(i, number) for i in evaluation.inputs]
            self.known.update(zip(evaluation.outputs, evaluation.function(given), strict=True))
        return self.known[index]

    def _stepped(self, step: Step, value: Value) -> Value:
        """A step on another value; what else it reads stays what it was."""
        made: dict[int, Value] = {step.start: value}
        for number in step.numbers:
            evaluation = self.fault.candidate.evaluations[number]
            given = [made[i] if i in made else self.fault.value(i) for i in evaluation.inputs]
            made.update(zip(evaluation.outputs, evaluation.function(given), strict=True))
        return made[step.end]
