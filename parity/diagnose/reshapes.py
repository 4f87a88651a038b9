"""Axes split or joined by a reshape in another order: heads behind their entries, a transpose left out.

What splits the heads is called for queries, keys and values, or written three times: one of them put right
mends nothing. So the change is made in every run of the line, then in all such reshapes of its function.
"""

import itertools
import math
import operator
import time
from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind
from parity.trace.executions import executions

MOST_AXES = 5
"""Axes of which every order is tried."""

MOST_LINES = 12
"""Reshapes of different lines that are tried, those nearest to the fault first."""

SECONDS = 2.0
"""CPU time for all of them, in seconds."""

Order = tuple[int, ...]
"""An order of axes."""


def reshaped_alike(fault: Fault) -> Iterator[Change]:
    """Every reshape that there are several of, with its axes in another order."""
    yield from _reordered(fault, several=True)


def reshaped_otherwise(fault: Fault) -> Iterator[Change]:
    """The same of every reshape that runs once."""
    yield from _reordered(fault, several=False)


def _reordered(fault: Fault, *, several: bool) -> Iterator[Change]:
    if fault.depth or fault.gradient:
        return
    deadline = time.process_time() + SECONDS
    for number, runs in _groups(fault):
        if (len(runs) > 1) != several:
            continue
        splits = len(_shapes(fault, number)[1]) > len(_shapes(fault, number)[0])
        for axes in _orders(fault, number):
            if time.process_time() > deadline:
                return
            alike = [n for n in runs if axes in _orders(fault, n)]
            functions = {n: _ordered(_shapes(fault, n)[1], axes, splits=splits) for n in alike}
            first = fault.candidate.evaluations[min(alike, default=number)].outputs[0]
            text = _in_words(fault, number, axes, splits=splits)
            lines = sorted({fault.line(n)[1] for n in alike})
            text += f" ({'line' if len(lines) == 1 else 'lines'} {', '.join(map(str, lines))})"
            yield Change(
                CauseKind.ORDER,
                text,
                functions=functions,
                everywhere=True,
                candidate_places=place_of(fault, first),
            )


def _groups(fault: Fault) -> Iterator[tuple[int, Sequence[int]]]:
    """The reshapes that belong together, with the last of them before the fault: of a line, of a function."""
    found = [n for n in _reshapes(fault) if next(iter(_orders(fault, n)), None)]
    lines = list(dict.fromkeys(fault.line(n) for n in found))[:MOST_LINES]
    last = {line: next(n for n in found if fault.line(n) == line) for line in lines}
    yield from ((number, executions(fault.candidate, number)) for number in last.values())
    functions: dict[tuple[object, ...], list[int]] = {}
    for number in last.values():
        spot = fault.node(fault.candidate.evaluations[number].outputs[0]).spot
        ranks = map(len, _shapes(fault, number))
        functions.setdefault((spot.file, spot.function, *ranks), []).append(number)
    for numbers in functions.values():
        if len(numbers) > 1:
            yield numbers[-1], [k for n in numbers for k in executions(fault.candidate, n)]


def _reshapes(fault: Fault) -> Iterator[int]:
    """The reshapes of what is computed: those before the fault, the nearest first, then all others."""
    before = fault.ancestors(fault.region.j)
    made = [(n, e.outputs[0]) for n, e in enumerate(fault.candidate.evaluations) if e.operation == "reshape"]
    for number, index in sorted(made, key=lambda pair: (pair[1] not in before, -pair[1])):
        node = fault.node(index)
        if index in fault.relevant - fault.pure and node.spot.file and not node.fixed:
            yield number


def _shapes(fault: Fault, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    evaluation = fault.candidate.evaluations[number]
    return fault.value(evaluation.inputs[0]).shape, fault.value(evaluation.outputs[0]).shape


def _orders(fault: Fault, number: int) -> list[Order]:
    """Orders of the axes of the longer shape in which neighbours still make up the axes of the shorter one.

    The axes of length one stay: an order that moves them alone changes nothing.
    """
    before, after = _shapes(fault, number)
    longer, shorter = (after, before) if len(after) > len(before) else (before, after)
    if not len(shorter) < len(longer) <= MOST_AXES:
        return []
    found = []
    for axes in itertools.permutations(range(len(longer))):
        long = [axis for axis in axes if longer[axis] > 1]
        if long != sorted(long) and _makes_up([longer[axis] for axis in axes], shorter):
            found.append(axes)
    return sorted(found, key=lambda axes: sum(a != i for i, a in enumerate(axes)))


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


def _in_words(fault: Fault, number: int, axes: Order, *, splits: bool) -> str:
    before, after = _shapes(fault, number)
    if splits:
        first, then = tuple(after[axis] for axis in axes), tuple(int(i) for i in np.argsort(axes))
        order = f"<reference> reshapes to {first} and transposes by {then}"
    else:
        order = f"<reference> transposes by {axes} and reshapes to {after}"
    return f"{order}, where <candidate> reshapes {before} to {after} at once"
