"""Axes split or joined by a reshape in another order: heads behind their entries, a transpose left out.

What splits the heads is called for queries, keys and values, or written three times: one of them put right
mends nothing. So the change is made in every run of the line, then in all such reshapes of its function.
"""

import functools
import itertools
import math
import operator
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind
from parity.trace.executions import executions

MOST_AXES = 6
"""Axes of which every order is tried."""

MOST_LINES = 12
"""Reshapes of different lines that are tried, those nearest to the fault first."""

MOST_BACK = 4
"""Reshapes behind one that may undo it, those nearest to it first."""

SECONDS = 2.0
"""CPU time for all of them, in seconds."""

Order = tuple[int, ...]
"""An order of axes."""


class Reshape(NamedTuple):
    """A reshape wherever its code runs.

    Attributes:
        number: one of its evaluations, of which it is told.
        runs: all of them.
    """

    number: int
    runs: tuple[int, ...]


def reshaped_otherwise(fault: Fault) -> Iterator[Change]:
    """Every reshape near the fault, wherever its code runs, with its axes in another order.

    Those that there are several of come first: one of them alone would be put right and leave the others.
    """
    if not fault.depth and not fault.gradient:
        reshapes = sorted(_groups(fault), key=lambda reshape: len(reshape.runs) == 1)
        yield from _timely(_change(fault, [(one, axes)]) for one in reshapes for axes in _orders(fault, one))


def reshaped_there_and_back(fault: Fault) -> Iterator[Change]:
    """Two reshapes with their axes in another order, one that splits an axis and one that joins two again."""
    if fault.depth or fault.gradient:
        return
    groups = list(_groups(fault))
    splits, joins = ([one for one in groups if _splits(fault, one.number) == so] for so in (True, False))
    pairs = (
        (split, join)
        for split in splits
        for join in sorted((j for j in joins if j.number > split.number), key=_number)[:MOST_BACK]
    )
    yield from _timely(
        _change(fault, [(split, first), (join, second)])
        for split, join in pairs
        for first, second in itertools.product(_orders(fault, split), _orders(fault, join))
    )


def _number(reshape: Reshape) -> int:
    return reshape.number


def _timely(changes: Iterator[Change]) -> Iterator[Change]:
    deadline = time.process_time() + SECONDS
    return itertools.takewhile(lambda _: time.process_time() < deadline, changes)


def _change(fault: Fault, reordered: Sequence[tuple[Reshape, Order]]) -> Change:
    functions: dict[int, Function] = {}
    texts = []
    for one, axes in reordered:
        alike = [n for n in one.runs if axes in _orders_of(*_shapes(fault, n))]
        functions |= {n: _ordered(_shapes(fault, n)[1], axes, splits=_splits(fault, n)) for n in alike}
        lines = sorted({fault.line(n)[1] for n in alike})
        where = f" ({'line' if len(lines) == 1 else 'lines'} {', '.join(map(str, lines))})"
        texts.append(_in_words(fault, one.number, axes) + where)
    first = fault.candidate.evaluations[min(functions)].outputs[0]
    return Change(
        CauseKind.ORDER,
        "; ".join(texts),
        functions=functions,
        everywhere=True,
        candidate_places=place_of(fault, first),
    )


def _groups(fault: Fault) -> Iterator[Reshape]:
    """The reshapes of each line, the last before the fault first; then those that are alike in a function."""
    last: dict[tuple[str, int], int] = {}
    for number in _reshapes(fault):
        if _orders_of(*_shapes(fault, number)):
            last.setdefault(fault.line(number), number)
    functions: dict[tuple[object, ...], list[int]] = {}
    for number in [*last.values()][:MOST_LINES]:
        yield Reshape(number, tuple(executions(fault.candidate, number)))
        spot = fault.node(fault.candidate.evaluations[number].outputs[0]).spot
        functions.setdefault((spot.file, spot.function, *map(len, _shapes(fault, number))), []).append(number)
    for numbers in functions.values():
        if len(numbers) > 1:
            yield Reshape(numbers[-1], tuple(k for n in numbers for k in executions(fault.candidate, n)))


def _reshapes(fault: Fault) -> Iterator[int]:
    """The reshapes of what is computed: those before the fault, the nearest first, then all others."""
    before = fault.ancestors(fault.region.j)
    made = [(n, e.outputs[0]) for n, e in enumerate(fault.candidate.evaluations) if e.operation == "reshape"]
    for number, index in sorted(made, key=lambda pair: (pair[1] not in before, -pair[1])):
        node = fault.node(index)
        if index not in fault.relevant - fault.pure or not node.spot.file or node.fixed:
            continue
        if not _repeats(fault.value(node.inputs[0])):  # that is told in its own words
            yield number


def _repeats(value: Array) -> bool:
    """Whether a value is the same all along an axis."""
    return any(
        length > 1 and bool((value == value.take([0], axis)).all()) for axis, length in enumerate(value.shape)
    )


def _shapes(fault: Fault, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    evaluation = fault.candidate.evaluations[number]
    return fault.value(evaluation.inputs[0]).shape, fault.value(evaluation.outputs[0]).shape


def _splits(fault: Fault, number: int) -> bool:
    before, after = _shapes(fault, number)
    return len(after) > len(before)


def _orders(fault: Fault, reshape: Reshape) -> tuple[Order, ...]:
    return _orders_of(*_shapes(fault, reshape.number))


@functools.lru_cache(maxsize=256)
def _orders_of(before: tuple[int, ...], after: tuple[int, ...]) -> tuple[Order, ...]:
    """Orders of the axes of the longer shape in which neighbours still make up the axes of the shorter one.

    The axes of length one stay: an order that moves them alone changes nothing.

    >>> _orders_of((2, 12), (2, 3, 4)), _orders_of((2, 3, 5), (6, 5))
    (((0, 2, 1),), ((1, 0, 2),))
    """
    longer, shorter = (after, before) if len(after) > len(before) else (before, after)
    if not len(shorter) < len(longer) <= MOST_AXES:
        return ()
    found = []
    for axes in itertools.permutations(range(len(longer))):
        long = [axis for axis in axes if longer[axis] > 1]
        if long != sorted(long) and _makes_up([longer[axis] for axis in axes], shorter):
            found.append(axes)
    return tuple(sorted(found, key=lambda axes: sum(a != i for i, a in enumerate(axes))))


def _makes_up(parts: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether neighbouring axes make up others.

    >>> _makes_up([2, 5, 3, 4], [2, 5, 12]), _makes_up([2, 3, 5, 4], [2, 5, 12])
    (True, False)
    """
    ends, wanted = (set(itertools.accumulate(one, operator.mul)) for one in (parts, whole))
    return math.prod(parts) == math.prod(whole) and ends.issuperset(wanted)


def _ordered(shape: Sequence[int], axes: Order, *, splits: bool) -> Function:
    """A reshape to a shape, before or after a transpose."""

    def compute(given: Sequence[Value]) -> Sequence[Array]:
        value = np.asarray(given[0])
        if not splits:
            return [value.transpose(axes).reshape(shape)]
        return [value.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))]

    return compute


def _in_words(fault: Fault, number: int, axes: Order) -> str:
    before, after = _shapes(fault, number)
    if _splits(fault, number):
        first, then = tuple(after[axis] for axis in axes), tuple(int(i) for i in np.argsort(axes))
        order = f"reshape to {first}, transpose to {then}"
    else:
        order = f"transpose to {axes}, reshape to {after}"
    return f"<reference>'s order is {order}, <candidate>'s that of a reshape of {before} to {after}"
