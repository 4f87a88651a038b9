"""What every step of a loop reads: another value, one transposed, or one without a factor or a term.

In a single step a number says little: a sum times 0 looks like a sum that is left out, and the first state
like a constant. All steps together tell, so the operand is changed wherever the code runs, and the failed
outputs must agree.
"""

import functools
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.code_runs import keeping, repeats_of
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described, told_apart
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind

SHARE = 0.3
"""Share of the time for a fault that this may take: a loop has many steps, and a step many values."""

MOST_STEPS = 64
"""In a longer loop nothing is tried that is computed behind the operand."""

FURTHER = 4
"""Operations before the operands of a fault that are looked at."""

MOST_VALUES = 32
"""Values of a step that are tried, those nearest to the faulty one."""

Runs = Callable[[int], list[int]]
"""A value -> the same in every run of its code."""


class Operand(NamedTuple):
    """An operand of one operation in every step.

    Attributes:
        readers: the operation's evaluation in each step, in order.
        place: which operand it is.
        nodes: what is read there, per step.
    """

    readers: tuple[int, ...]
    place: int
    nodes: tuple[int, ...]


class Read(NamedTuple):
    """An operand at the fault, with what could be read instead.

    Attributes:
        made: the node that is computed from it.
        step: the step that this is of.
        operand: the operand, in every step.
        others: values that there are in every step as well.
    """

    made: int
    step: int
    operand: Operand
    others: list[tuple[int, ...]]


class Way(NamedTuple):
    """How the reference reads another value: what it does with it, in words, and what comes of it."""

    words: str
    met: Callable[[Array, Array], Array]


WAYS = (
    Way("multiplies {operand} by {other}", lambda value, other: value * other),
    Way("multiplies {operand} by 1 minus {other}", lambda value, other: value * (1 - other)),
    Way("adds {other} to {operand}", lambda value, other: value + other),
    Way("subtracts {other} from {operand}", lambda value, other: value - other),
)


def _other(value: Array, other: Array) -> Array:
    return other


INSTEAD = Way("", _other)
"""The other value is read in its place."""


def _transposed(value: Array, other: Array) -> Array:
    return value.swapaxes(-1, -2)


TRANSPOSED = Way("", _transposed)
"""The value itself is read the other way round: a matrix of transitions, of neighbours."""


def read_in_steps(fault: Fault) -> Iterator[Change]:
    """An operand of the fault that is another one in every step, or lacks a factor or a term of the step."""
    if fault.depth or fault.gradient:
        return  # the same at every depth
    until = time.process_time() + SHARE * (fault.deadline - time.process_time())
    runs = functools.cache(functools.partial(repeats_of, fault))
    nodes = {*fault.region.candidate_nodes, fault.region.j}
    # What they read may agree by chance in this step, as a product with a state of zeros does.
    before = {i for n in nodes for i in fault.node(n).inputs} - nodes
    # Or agree with another step's: made of a state before its update it is the reference's of a step ago.
    further = _further(fault, before, runs) - nodes - before
    order = [i for some in (nodes, before, further) for i in sorted(some, reverse=True)]
    read = list(_read(fault, order, runs))
    for (made, step, operand, others), states in ((one, states) for states in (True, False) for one in read):
        one_run = len(nodes.intersection(runs(made))) <= 1
        if made in further and not states:
            continue
        for way in (INSTEAD,) if states else (TRANSPOSED, INSTEAD, *WAYS):
            backwards = [operand.nodes[::-1]] if states and len(operand.nodes) > 2 else []
            for other in [operand.nodes] if way is TRANSPOSED else [*others, *backwards]:
                if time.process_time() > until:
                    return
                if states != (way is INSTEAD and _is_told_by_all(operand.nodes, other)):
                    continue
                in_parts = states and _is_backwards(operand.nodes, other)
                if not in_parts and not _fits(fault, operand.nodes[step], other[step], way):
                    continue
                if states or not one_run or _agrees_here(fault, operand, other, step, way):
                    yield _change(fault, operand, other, step, way)


def _read(fault: Fault, order: Sequence[int], runs: Runs) -> Iterator[Read]:
    """What some operations read in every step, each with the values that could be read instead."""
    tried: set[int] = set()
    for index in order:
        if not _is_computed(fault, index) or index in tried or len(own := runs(index)) == 1:
            continue
        if fault.pure.issuperset(own):  # a start of zeros is a constant in the first step alone
            continue
        tried.update(own)
        for operand in _operands(fault, own):
            # Another weight than the one that is read is for other hypotheses.
            is_fixed = all(fault.node(i).fixed for i in operand.nodes)
            step = own.index(index)
            yield Read(index, step, operand, [] if is_fixed else _values(fault, runs, own, step, operand))


def _further(fault: Fault, before: Collection[int], runs: Runs) -> set[int]:
    """What the operands of a fault are computed from in the same step, a few operations back."""
    found: set[int] = set()
    edge = {i for i in before if _is_computed(fault, i)}
    for _ in range(FURTHER):
        read = {i for n in edge for i in fault.node(n).inputs if _is_computed(fault, i)}
        edge = {i for i in read - found if len(runs(i)) > 1}
        found |= edge
    return found


def _is_computed(fault: Fault, index: int) -> bool:
    node = fault.node(index)
    return node.kind is NodeKind.OPERATION and node.step >= 0 and node.floating


def _operands(fault: Fault, own: Sequence[int]) -> Iterator[Operand]:
    """The floating operands of an operation that are computed or given, in all steps."""
    evaluations = fault.candidate.evaluations
    readers = tuple(fault.node(i).step for i in own)
    for place in range(min(len(evaluations[n].inputs) for n in readers)):
        nodes = tuple(evaluations[n].inputs[place] for n in readers)
        if all(fault.node(i).floating for i in nodes) and not all(i in fault.pure for i in nodes):
            yield Operand(readers, place, nodes)


def _values(
    fault: Fault, runs: Runs, own: Sequence[int], step: int, operand: Operand
) -> list[tuple[int, ...]]:
    """What else there is in every step, computed or read there: first what is there before the operand."""
    evaluations, width = fault.candidate.evaluations, own[1] - own[0]
    first = own[step - 1] if step else own[0] - width
    last = own[step + 1] if step + 1 < len(own) else own[-1] + own[-1] - own[-2]
    found: dict[tuple[int, ...], None] = {}
    behind = range(own[step] + 1, min(last, len(fault.candidate.nodes)) if len(own) <= MOST_STEPS else 0)
    for index in (*range(own[step] - 1, max(first, -1), -1), *behind):
        if fault.node(index).kind is not NodeKind.OPERATION or fault.node(index).step < 0:
            continue
        alike = runs(index)
        if len(alike) != len(own) or alike.index(index) != step:
            continue
        found[tuple(alike)] = None
        numbers = [fault.node(i).step for i in alike]
        for place in range(min(len(evaluations[n].inputs) for n in numbers)):
            found[tuple(evaluations[n].inputs[place] for n in numbers)] = None
    index = operand.nodes[step]
    fitting = (o for o in found if any(_fits(fault, index, o[step], way) for way in (INSTEAD, WAYS[0])))
    return list(itertools.islice((o for o in fitting if _is_ready(fault, o, operand)), MOST_VALUES))


def _is_ready(fault: Fault, other: Sequence[int], operand: Operand) -> bool:
    """Whether a value is floating, no constant of the code, and not made of what reads the operand."""
    outputs = [fault.candidate.evaluations[n].outputs[0] for n in operand.readers]
    return (
        tuple(other) != operand.nodes
        and all(fault.node(i).floating for i in other)
        and not all(i in fault.pure for i in other)
        and not any(i == out or out in fault.ancestors(i) for i, out in zip(other, outputs, strict=True))
    )


def _fits(fault: Fault, index: int, other: int, way: Way) -> bool:
    """Whether one value can be met by another; which part of one value is read is for other hypotheses."""
    value, met = fault.value(index), fault.value(other)
    if way is TRANSPOSED:
        is_square = value.ndim > 1 and value.shape[-1] == value.shape[-2]
        return is_square and not np.array_equal(value, value.swapaxes(-1, -2))
    if way is INSTEAD:
        ways = fault.rearranged_from(index), fault.rearranged_from(other)
        if ways[0][-1] == ways[1][-1] and min(map(len, ways)) > 1:
            return False
        return value.shape == met.shape and value.size > 0 and not np.array_equal(value, met)
    try:
        return value.size > 0 and np.broadcast_shapes(value.shape, _along(met, value).shape) == value.shape
    except ValueError:
        return False


def _along(other: Array, value: Array) -> Array:
    """A value for every row of another one, laid along these."""
    rows = other.ndim < value.ndim and other.shape == value.shape[: other.ndim] != value.shape[-other.ndim :]
    return other.reshape(*other.shape, *(1,) * (value.ndim - other.ndim)) if other.ndim and rows else other


def _is_told_by_all(nodes: Sequence[int], other: Sequence[int]) -> bool:
    """Whether no single step tells that another value is read: what each reads, another one has read."""
    return _is_backwards(nodes, other) or _is_a_step_apart(nodes, other)


def _is_backwards(nodes: Sequence[int], other: Sequence[int]) -> bool:
    """Whether the steps read the same values from the other end: the taps of a filter."""
    return len(nodes) > 1 and tuple(nodes) == tuple(other[::-1]) != tuple(other)


def _is_a_step_apart(nodes: Sequence[int], other: Sequence[int]) -> bool:
    """Whether two values of every step are one state, before and after its update.

    What is made of the one may be the reference's of another step, so that no single step tells which.
    """
    return tuple(nodes[1:]) == tuple(other[:-1]) or tuple(nodes[:-1]) == tuple(other[1:])


def _agrees_here(fault: Fault, operand: Operand, other: Sequence[int], step: int, way: Way) -> bool:
    """Whether the fault agrees with one step's operand changed; that alone proves nothing."""
    number = operand.readers[step]
    kept: dict[int, Value] = {other[step]: fault.value(other[step])}
    functions = {number: _reading(fault, operand, other, step, way, kept)}
    return fault.residual(Change(CauseKind.OPERANDS, "", functions=functions)) is not None


def _change(fault: Fault, operand: Operand, other: Sequence[int], step: int, way: Way) -> Change:
    """The operand changed in every step; what is met is kept when it is computed."""
    kept: dict[int, Value] = {}
    functions: dict[int, Function] = {}
    for index in other:
        number = fault.node(index).step
        if fault.node(index).kind is NodeKind.OPERATION and number >= 0:
            functions[number] = keeping(fault, number, kept)
        else:
            kept[index] = fault.value(index)
    for at, number in enumerate(operand.readers):
        reading = _reading(fault, operand, other, at, way, kept)
        if number in functions:  # it is met in a later step
            reading = keeping(fault, number, kept, reading)
        functions[number] = reading
    if any(
        i > fault.candidate.evaluations[n].outputs[0] for i, n in zip(other, operand.readers, strict=True)
    ):
        kept.update({index: fault.value(index) for index in other})
        for _ in other:  # what is computed later comes from the round before: one step more is right in each
            fault.comparison.replay({}, functions)
    told, reader = _told(fault, operand, other, step, way), operand.readers[step]
    index = fault.candidate.evaluations[reader].outputs[0]
    inside = index in (*fault.region.candidate_nodes, fault.region.j)
    places = () if inside else place_of(fault, index)
    return Change(*told, functions=functions, everywhere=True, candidate_places=places)


def _told(fault: Fault, operand: Operand, other: Sequence[int], step: int, way: Way) -> tuple[CauseKind, str]:
    """What kind of fault it is, and the sentence that tells it."""
    looped = fault.node(operand.nodes[step]).spot.step or fault.node(other[step]).spot.step
    when = "in every step" if looped else "each time"
    own, met = (_named(fault, nodes, step, operand) for nodes in (operand.nodes, other))
    if way is INSTEAD and _is_backwards(operand.nodes, other):
        them = f"the {len(other)} {'steps' if looped else 'runs'}"
        text = f"{them} read {own} in the opposite order in <reference>"
        return CauseKind.ORDER, text
    if way is TRANSPOSED:
        text = f"{when} <reference> reads {own} with its last two axes exchanged, <candidate> as it is"
        return CauseKind.ORDER, text
    before = f" of the {'step' if looped else 'run'} before"
    if own == met and _is_a_step_apart(operand.nodes, other):
        earlier = operand.nodes[1:] == tuple(other[:-1])
        own, met = (own + before, met) if earlier else (own, met + before)
    if own == met:
        own, met = (_made_of(fault, nodes[step]) for nodes in (operand.nodes, other))
    if own == met:
        own, met = told_apart(fault, operand.nodes[step], other[step])
    if way is INSTEAD:
        return CauseKind.OPERANDS, f"{when} <candidate> reads {own} where <reference> reads {met}"
    words = way.words.format(operand=own, other=met)
    return CauseKind.MISSING_TERM, f"<reference> {words} {when}, <candidate> does not"


def _reading(
    fault: Fault, operand: Operand, other: Sequence[int], at: int, way: Way, kept: dict[int, Value]
) -> Function:
    """An operation whose operand is met by another value of its step."""
    evaluation = fault.candidate.evaluations[operand.readers[at]]

    def compute(given: Sequence[Value]) -> Sequence[Value]:
        read = list(given)
        value = np.asarray(read[operand.place])
        met = way.met(value, _along(np.asarray(kept[other[at]]), value))
        read[operand.place] = np.asarray(met, value.dtype)
        return evaluation.function(read)

    return compute


def _made_of(fault: Fault, index: int) -> str:
    return f"a part of {described(fault, fault.rearranged_from(index)[-1])}"


def _named(fault: Fault, nodes: Sequence[int], step: int, operand: Operand) -> str:
    """What a value of every step is called; one that is carried on, with where it comes from."""
    own = fault.node(fault.candidate.evaluations[operand.readers[step]].outputs[0]).spot.step
    computed = [i for i in nodes if fault.node(i).kind is NodeKind.OPERATION]
    index = nodes[step] if nodes[step] in computed or not computed else computed[0]
    carried = len({fault.node(i).operation for i in nodes}) > 1 and computed
    if carried and not (own and fault.node(nodes[step]).spot.step == own):
        return f"{described(fault, computed[-1])} of the {'step' if own else 'run'} before"
    return described(fault, index)
