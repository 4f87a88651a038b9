"""Numbers that stand in the code: another epsilon, slope, factor, count or offset."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.counts import stays_a_mean
from parity.diagnose.fault import Fault
from parity.diagnose.numbers import (
    PICKING,
    Literal,
    NumberUse,
    literals,
    reference_numbers,
)
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array
from parity.diagnose.tolerances import SAME_DECIMALS
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind

WHAT = {
    CauseKind.EPSILON: "eps",
    CauseKind.VARIANCE_CORRECTION: "the divisor",
    CauseKind.REDUCTION: "the divisor",
    CauseKind.SELECTION: "the index",
    CauseKind.SCALE: "the scale",
    CauseKind.SHIFT: "the offset",
}
"""What a number is called, by the cause that it would be."""

FILL = -1000.0
"""Numbers below this fill masked scores."""

LARGEST_EPSILON = 0.05
"""Magnitude below which a number that is added before a root or a division is an epsilon."""

MOST_PAIRED = 10
"""Numbers of the reference of which two are tried at once."""

NEUTRAL = (0.0, 1.0, -1.0)
"""Numbers that stand in every program, so that they say little."""

BOUNDING = frozenset({"max", "min", "clamp"})
BOUNDS = {"max": np.maximum, "min": np.minimum}
"""Operations that bound a value by another one."""

NEAR = 0.02
"""Relative difference up to which two constants are taken for the same one, written with fewer digits."""


def derived(value: float) -> Iterator[float]:
    """A number, and what it becomes when it is used the other way round.

    Args:
        value: any number.

    Yields:
        The number, its negative and inverse, its root and square, and its distance to one.
    """
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
    """Numbers of the candidate exchanged for numbers of the reference that a programmer chooses."""
    here, there = literals(fault), reference_numbers(fault)
    for literal, new in itertools.product(here, there):
        if not _merely_fits(fault, (literal,), new, there):
            yield from _exchanged(fault, (literal,), new)
    by_value = _by_value(here)
    yield from _rounded(fault, here, [value for value in there if math.isfinite(value)])
    for same, new in itertools.product([s for s in by_value.values() if len(s) > 1], there):
        if not _merely_fits(fault, same, new, there):
            yield from _exchanged(fault, tuple(same), new)
    yield from _swapped(fault, by_value)
    yield from _worked_out(fault, here, there, likely=True)


def other_numbers(fault: Fault) -> Iterator[Change]:
    """The same for what merely fits, and for what a number of the reference becomes the other way round.

    Some such number fits by coincidence where another function, flag or operand is the cause: they come late.
    """
    here, there = literals(fault), reference_numbers(fault)
    for literal, new in itertools.product(here, there):
        if _merely_fits(fault, (literal,), new, there):
            yield from _exchanged(fault, (literal,), new)
    for same, new in itertools.product([s for s in _by_value(here).values() if len(s) > 1], there):
        if _merely_fits(fault, same, new, there):
            yield from _exchanged(fault, tuple(same), new)
    yield from _worked_out(fault, here, there, likely=False)


def _worked_out(fault: Fault, here: list[Literal], there: list[float], *, likely: bool) -> Iterator[Change]:
    """Factors and counts, which are often written as the inverse or the root of another one; or the rest."""
    known = dict.fromkeys(d for value in there if math.isfinite(value) for d in derived(value))
    for literal, new in itertools.product(here, known):
        if _is_next(literal, new, there):
            continue
        if likely == (_is_factor(literal) and not _says_little(fault, literal, new, there)):
            yield from _exchanged(fault, (literal,), new)


def _is_factor(literal: Literal) -> bool:
    """Whether a number scales or counts."""
    return literal.use.whole or bool(literal.use.operations & {"mul", "div"})


def _merely_fits(fault: Fault, which: Sequence[Literal], new: float, there: Sequence[float]) -> bool:
    """Whether a number says little: zero or one, but for an index, and for a factor that is left out.

    So does the next integer in a comparison, where the reference has this one, too: it may compare otherwise.
    """
    use = which[0].use
    if _is_next(which[0], new, there) or _says_little(fault, which[0], new, there):
        return True
    left_out = new == 1 and bool(use.operations & {"mul", "div"})
    return new in NEUTRAL and not (use.whole or use.corrects or left_out)


def _says_little(fault: Fault, literal: Literal, new: float, there: Sequence[float]) -> bool:
    """Whether a number imitates another operation: a factor that negates, a bound that binds nothing."""
    if literal.use.operations & {"mul", "div"}:
        negates = any(fault.operation(number) == "neg" for number in fault.active)
        return new == -literal.value and (negates or new not in there)
    readers = fault.readers(literal.node)
    return bool(readers) and all(_binds_nothing(fault, number, literal.node, new) for number in readers)


def _binds_nothing(fault: Fault, number: int, literal: int, new: float) -> bool:
    """Whether an evaluation bounds a value by a literal that would, as another number, leave it as it is."""
    evaluation = fault.candidate.evaluations[number]
    others = [i for i in evaluation.inputs if i != literal]
    if evaluation.operation not in BOUNDS or len(others) != 1:
        return False
    value = fault.value(others[0])
    return np.array_equal(BOUNDS[evaluation.operation](value, new), value)


def _is_next(literal: Literal, new: float, there: Sequence[float]) -> bool:
    """Whether a number is the next integer in a comparison with one that the reference has, too."""
    use, old = literal.use, literal.value
    return use.compared and not use.indexes and abs(new - old) == 1 and old in there


def _by_value(here: list[Literal]) -> dict[float, list[Literal]]:
    found: dict[float, list[Literal]] = {}
    for literal in here:
        found.setdefault(literal.value, []).append(literal)
    return found


def pairs_of_constants(fault: Fault) -> Iterator[Change]:
    """Two numbers of the candidate, wherever they stand, exchanged for two of the reference's."""
    by_value = _by_value(literals(fault))
    there = reference_numbers(fault)[:MOST_PAIRED]
    for a, b in itertools.combinations(list(by_value)[:6], 2):
        for x, y in itertools.permutations(there, 2):
            first, second = ([*_exchanged(fault, tuple(by_value[o]), n)] for o, n in ((a, x), (b, y)))
            if first and second:
                text = f"{first[0].text}; {second[0].text}"
                yield Change(first[0].cause, text, {**first[0].values, **second[0].values})


def _exchanged(fault: Fault, which: tuple[Literal, ...], new: float) -> Iterator[Change]:
    """Literals of one value, all with another value."""
    old, use = which[0].value, which[0].use
    if new == old or (new == 0 and use.divides):
        return
    values = {}
    for literal in which:
        like = fault.value(literal.node)
        if like.dtype.kind in "iu" and not float(new).is_integer():
            return
        values[literal.node] = np.full(like.shape, new, like.dtype)
    if any(stays_a_mean(fault, literal, new) for literal in which):
        return
    if new == 0 and use.operations & {"mul", "div"} and any(_says_nothing(fault, i) for i in which):
        return
    cause = _cause(use, old, new)
    if cause is CauseKind.REDUCTION and new == use.summed and use.divides:
        text = f"<candidate> divides the sum of {number(new)} entries by {number(old)}, "
        text += f"<reference> by their number: use {number(new)}"
        yield Change(cause, text, values)
        return
    what = "what is subtracted from the count" if use.corrects else WHAT.get(cause, "the number")
    text = f"{what} is {number(old)} in <candidate> and {number(new)} in <reference>: use {number(new)}"
    yield Change(cause, text, values)


def _says_nothing(fault: Fault, literal: Literal) -> bool:
    """Whether a factor of 0 is one number's accident, or the code agrees with it in another of its runs."""
    if fault.target.wanted.size == 1:
        return True
    alike = (n for number in fault.readers(literal.node) for n in fault.alike(number))
    return any(fault.comparison.partners[i] for n in alike for i in fault.candidate.evaluations[n].outputs)


def _rounded(fault: Fault, here: list[Literal], there: list[float]) -> Iterator[Change]:
    """All literals at once that are almost, but not quite, a number of the reference or a ratio of two."""
    ratios = [a / b for a, b in itertools.permutations([t for t in there if t], 2)]
    values, pairs = {}, []
    for literal in here:
        for new in (*there, *ratios):
            if literal.value and 0 < abs(new / literal.value - 1) < NEAR:
                like = fault.value(literal.node)
                if like.dtype.kind == "f":
                    values[literal.node] = np.full(like.shape, new, like.dtype)
                    pairs.append(f"{number(literal.value)} for {number(new)}")
                break
    if len(values) > 1:
        text = f"rounded constants in <candidate>: {', '.join(dict.fromkeys(pairs))}"
        yield Change(CauseKind.CONSTANT, text, values)


def _swapped(fault: Fault, by_value: dict[float, list[Literal]]) -> Iterator[Change]:
    """Two numbers exchanged with each other, everywhere."""
    for a, b in itertools.combinations(by_value, 2):
        values = {}
        exchanged = (*by_value[a], *by_value[b]) if math.isfinite(a + b) else ()
        if any(literal.use.indexes and literal.use.operations & BOUNDING for literal in exchanged):
            continue  # an offset and a bound of an index: not of one kind
        for old, new in ((a, b), (b, a)):
            for literal in by_value[old] if math.isfinite(new) else ():
                like = fault.value(literal.node)
                values[literal.node] = np.full(like.shape, new, like.dtype)
        text = (
            f"{number(a)} and {number(b)} are exchanged in <candidate>: each belongs where the other stands"
        )
        yield Change(CauseKind.OPERANDS, text, values)


def _cause(use: NumberUse, old: float, new: float) -> CauseKind:
    """What is wrong when a number is another one, from how it is used."""
    if use.operations & {"add", "max", "sub"} and max(abs(old), abs(new)) < LARGEST_EPSILON and use.rooted:
        return CauseKind.EPSILON
    if use.corrects:
        return CauseKind.VARIANCE_CORRECTION
    if use.whole and use.indexes and use.operations & {"add", "sub"}:
        return CauseKind.SHIFT
    if use.compared or (use.softmax and min(old, new) < FILL):
        return CauseKind.MASK
    if use.whole:
        if use.operations & PICKING:
            return CauseKind.SELECTION
        return CauseKind.SHIFT if use.operations & {"add", "sub"} else CauseKind.CONSTANT
    if use.operations & {"div", "mul"}:
        plain = {round(x if x >= 1 else 1 / x, SAME_DECIMALS) for x in (old, new) if x > 0}
        if use.squared and plain <= {float(use.summed), float(use.summed - 1)}:
            return CauseKind.VARIANCE_CORRECTION
        if use.summed and (use.summed in plain or len(plain) < 2):
            return CauseKind.REDUCTION
        if use.softmax:
            return CauseKind.SCALE
    return CauseKind.CONSTANT


def divisors(fault: Fault, count: float | int, new: int | Array) -> dict[int, Array]:
    """Constants that are the count of a sum, or one over it, set to another count.

    Args:
        fault: the fault.
        count: the count, as the candidate has it.
        new: the count instead, a number or one per sum.

    Returns:
        Node -> its value instead; empty if the candidate divides by no such constant.
    """
    values = {}
    for index in fault.constants:
        array = fault.value(index)
        if array.size == 1 and array.dtype.kind in "fi":
            if array.item() == count:
                values[index] = np.asarray(new, array.dtype)
            elif array.item() == 1 / count:
                values[index] = 1.0 / np.asarray(new)
    return values
