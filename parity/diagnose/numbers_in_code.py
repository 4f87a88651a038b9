"""Numbers that stand in the code: another epsilon, slope, factor, count or offset."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import Literal, Use, literals, reference_numbers
from parity.diagnose.phrases import number
from parity.diagnose.trials import Change

WHAT = {
    "epsilon": "eps",
    "variance correction": "the divisor",
    "reduction": "the divisor",
    "selection": "the index",
    "scale": "the scale",
    "shift": "the offset",
}
"""What a number is called, by cause."""

FILL = -1000.0
"""Numbers below this fill masked scores."""

NEAR = 0.02
"""Relative difference up to which two constants are taken for the same one, written with fewer digits."""


def derived(value: float) -> Iterator[float]:
    """A number, and what it becomes when it is used the other way round."""
    yield value
    yield -value
    if value:
        yield 1 / value
        yield -1 / value
    if value > 0:
        yield math.sqrt(value)
        yield 1 / math.sqrt(value)
    yield value * value
    yield 1 - value
    yield 1 + value


def constants(fault: Fault) -> Iterator[Change]:
    """Every number of the JAX side exchanged for every number of PyTorch's."""
    ours, theirs = literals(fault), reference_numbers(fault)
    finite = [value for value in theirs if math.isfinite(value)]
    known = dict.fromkeys(d for value in finite for d in derived(value))
    for literal, new in itertools.product(ours, theirs):
        yield from _exchanged(fault, (literal,), new)
    by_value: dict[float, list[Literal]] = {}
    for literal in ours:
        by_value.setdefault(literal.value, []).append(literal)
    yield from _near(fault, ours, finite)
    for same, new in itertools.product([s for s in by_value.values() if len(s) > 1], theirs):
        yield from _exchanged(fault, tuple(same), new)
    yield from _swapped(fault, by_value)
    for literal, new in itertools.product(ours, known):
        yield from _exchanged(fault, (literal,), new)


def pairs_of_constants(fault: Fault) -> Iterator[Change]:
    """Two numbers of the JAX side, wherever they stand, exchanged for two of PyTorch's."""
    by_value: dict[float, list[Literal]] = {}
    for literal in literals(fault):
        by_value.setdefault(literal.value, []).append(literal)
    theirs = reference_numbers(fault)[:10]
    for a, b in itertools.combinations(list(by_value)[:6], 2):
        for x, y in itertools.permutations(theirs, 2):
            first, second = ([*_exchanged(fault, tuple(by_value[o]), n)] for o, n in ((a, x), (b, y)))
            if first and second:
                text = f"{first[0].text}; {second[0].text}"
                yield Change(first[0].cause, text, {**first[0].values, **second[0].values})


def _exchanged(fault: Fault, which: tuple[Literal, ...], new: float) -> Iterator[Change]:
    old = which[0].value
    if new == old:
        return
    values = {}
    for literal in which:
        like = fault.value(literal.node)
        if like.dtype.kind in "iu" and not float(new).is_integer():
            return
        values[literal.node] = np.full(like.shape, new, like.dtype)
    name = _name(which[0].use, old, new)
    what = "what is subtracted from the count" if which[0].use.corrects else WHAT.get(name, "the number")
    text = f"{what} is {number(old)} in <candidate> and {number(new)} in <reference>: use {number(new)}"
    yield Change(name, text, values)


def _near(fault: Fault, ours: list[Literal], theirs: list[float]) -> Iterator[Change]:
    """All constants at once that are almost, but not quite, one of PyTorch's (or a ratio of two)."""
    ratios = [a / b for a, b in itertools.permutations([t for t in theirs if t], 2)]
    values, said = {}, []
    for literal in ours:
        for new in (*theirs, *ratios):
            if literal.value and 0 < abs(new / literal.value - 1) < NEAR:
                like = fault.value(literal.node)
                if like.dtype.kind == "f":
                    values[literal.node] = np.full(like.shape, new, like.dtype)
                    said.append(f"{number(literal.value)} for {number(new)}")
                break
    if len(values) > 1:
        yield Change(
            "constant", f"rounded constants in <candidate>: {', '.join(dict.fromkeys(said))}", values
        )


def _swapped(fault: Fault, by_value: dict[float, list[Literal]]) -> Iterator[Change]:
    """Two numbers exchanged with each other, everywhere."""
    for a, b in itertools.combinations(by_value, 2):
        values = {}
        for old, new in ((a, b), (b, a)):
            for literal in by_value[old] if math.isfinite(new) else ():
                like = fault.value(literal.node)
                values[literal.node] = np.full(like.shape, new, like.dtype)
        text = (
            f"{number(a)} and {number(b)} are exchanged in <candidate>: each belongs where the other stands"
        )
        yield Change("operands", text, values)


def _name(use: Use, old: float, new: float) -> str:
    """What a number is for, from how it is used."""
    if use.operations & {"add", "max", "sub"} and max(abs(old), abs(new)) < 0.05 and use.rooted:
        return "epsilon"
    if use.corrects:
        return "variance correction"
    if use.compared or (use.softmax and min(old, new) < FILL):
        return "mask"
    if use.whole:
        if use.operations & {"gather", "dynamic_slice", "scatter", "scatter-add"}:
            return "selection"
        return "shift" if use.operations & {"add", "sub"} else "constant"
    if use.operations & {"div", "mul"}:
        plain = {round(x if x >= 1 else 1 / x, 9) for x in (old, new) if x > 0}
        if use.summed and plain <= {float(use.summed), float(use.summed - 1)}:
            return "variance correction"
        if use.summed and (use.summed in plain or len(plain) < 2):
            return "reduction"
        if use.softmax:
            return "scale"
    return "constant"


def divisors(fault: Fault, count: float | int, new: Any) -> dict[int, Any]:
    """Constants that are the count of a sum (or one less), set to another count."""
    values = {}
    for index in fault.constants:
        array = fault.value(index)
        if array.size == 1 and array.dtype.kind in "fi":
            if float(array) == count:
                values[index] = np.asarray(new, array.dtype)
            elif float(array) == 1 / count:
                values[index] = 1.0 / np.asarray(new)
    return values
