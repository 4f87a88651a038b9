"""Factors: the two sides differ by one number, everywhere or in one case of a choice."""

import fractions
import math
from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import REDUCTIONS, reference_numbers
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array, Target, same
from parity.diagnose.tolerances import LOOSEST, NO_FACTOR, SAME_NUMBER, TWO_VALUES, VARIES
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import Trace
from parity.trace.vocabulary import MASKING, REPEATING

NEAR = 8
"""Operations before a fault among which a sum is looked for that explains a factor."""

MOST_PARTS = 64
"""The largest numerator and denominator of a factor that is taken for one that was written."""

MOST_KNOWN = 32
"""How many of the reference's numbers are multiplied with each other."""

MOST_SAME = 64
"""Values of the backward pass with which one is tried exchanged."""


def one_number(fault: Fault, target: Target) -> Iterator[Change]:
    """The difference of both sides is one number, or their ratio.

    Args:
        fault: the fault.
        target: a value of finite numbers.
    """
    wanted, actual = target.wanted, target.actual
    gap = wanted - actual
    if np.ptp(wanted) > VARIES * target.allowed and np.ptp(gap) <= TWO_VALUES * target.allowed:
        step = float(np.median(gap))
        added = number(_near(step, reference_numbers(fault)))
        text = f"<reference>'s value is <candidate>'s plus {added} everywhere"
        yield Change(CauseKind.CONSTANT, text, {target.node: actual + step})
    at = np.unravel_index(np.argmax(np.abs(actual)), actual.shape)
    if actual[at] and np.ptp(actual) > 0:
        factor = float(wanted[at] / actual[at])
        if abs(factor) > NO_FACTOR and factor != 1:
            yield from times_a_number(fault, target, factor)


def in_one_case(fault: Fault, target: Target) -> Iterator[Change]:
    """A factor in one case of a choice: where the other case is taken, both sides agree.

    Args:
        fault: the fault.
        target: a value of finite numbers.
    """
    wanted, actual = target.wanted, target.actual
    differ = np.abs(wanted - actual) > TWO_VALUES * target.allowed
    if not any(fault.operation(n) in MASKING for n in fault.active) or differ.all() or differ.sum() < 3:
        return
    with np.errstate(all="ignore"):
        ratio = wanted[differ] / actual[differ]
    if not np.isfinite(ratio).all() or np.ptp(ratio) > SAME_NUMBER * np.abs(ratio).max() or not ratio[0]:
        return
    times = number(_near(float(ratio[0]), reference_numbers(fault)))
    text = (
        f"where the two sides differ, which is in one case of a choice, <reference>'s value is {times} times "
    )
    text += f"<candidate>'s: multiply that case by {times}"
    yield Change(CauseKind.SCALE, text, {target.node: np.where(differ, actual * ratio[0], actual)})


def one_written_number(fault: Fault, target: Target) -> Iterator[Change]:
    """A single number that is the candidate's times one that somebody may have written, or worked out of two.

    Any two numbers have a ratio; one of two small integers, or of numbers of the reference's, they have by
    chance no more than once in millions.

    Args:
        fault: the fault.
        target: a value of one finite number that is not zero.
    """
    factor = float(target.wanted.reshape(()) / target.actual.reshape(()))
    known = sorted({abs(n) for n in reference_numbers(fault) if n})[:MOST_KNOWN]
    products = {b for a in known for b in (a, 1 / a, *(a * c for c in known), *(a / c for c in known))}
    fraction = fractions.Fraction(factor).limit_denominator(MOST_PARTS)
    simple = 0 < abs(fraction.numerator) <= MOST_PARTS and math.isclose(fraction, factor, rel_tol=SAME_NUMBER)
    if simple or any(math.isclose(abs(factor), product, rel_tol=SAME_NUMBER) for product in products):
        yield from times_a_number(fault, target, factor)


def times_a_number(fault: Fault, target: Target, factor: float) -> Iterator[Change]:
    """The reference's value is the candidate's times a number.

    Args:
        fault: the fault.
        target: the value.
        factor: the number.
    """
    if factor == -1 and any(fault.operation(n) == "sub" for n in fault.active):
        return  # a difference the other way round
    factor = _plainer(factor, target)
    times = number(_near(factor, reference_numbers(fault)))
    text = f"<reference>'s value is {times} times <candidate>'s: multiply by {times}"
    cause = CauseKind.SCALE
    at_fault = set(_counts(fault, target.node, near=False))
    for n in _counts(fault, target.node, near=True):
        if _is_power(factor, n / (n - 1)):
            cause = CauseKind.VARIANCE_CORRECTION
            text = f"one side divides a sum of {n} entries by {n}, the other by {n - 1}: {text}"
            break
        if n in at_fault and _is_power(factor, n):  # the sums before agree
            cause = CauseKind.REDUCTION
            text = f"one side adds {n} entries up, the other takes their mean: {text}"
            break
    yield Change(cause, text, {target.node: target.actual * factor})


def _plainer(factor: float, target: Target) -> float:
    """A quotient of two small integers that does as well as a factor: a constant in float32 hides it."""
    plain = float(fractions.Fraction(factor).limit_denominator(MOST_PARTS))
    near = math.isclose(plain, factor, rel_tol=LOOSEST)
    return plain if near and same(target.actual * plain, target.wanted, target.allowed) else factor


def _is_power(factor: float, base: float | int) -> bool:
    """Whether a factor is a number, its root, or one over these."""
    return any(math.isclose(factor, base**power, rel_tol=SAME_NUMBER) for power in (1, -1, 0.5, -0.5))


def _counts(fault: Fault, end: int, *, near: bool) -> list[int]:
    """Over how many entries the sums go that a value is computed by, on either side or backwards.

    What goes into an index or a comparison passes no factor on, and the forward pass none to a gradient. Sums
    before what is computed at the fault are left out unless they are asked for: those near count, too.
    """
    backward = fault.node(end).backward
    computed = set(fault.computed())
    seen = edge = {end}
    for _ in range(NEAR):
        before = {i for n in edge for i in fault.node(n).inputs}
        edge = {i for i in before if fault.node(i).floating and fault.node(i).backward == backward} - seen
        seen = seen | edge
    inside = seen if near or backward else seen & computed
    found = [_counted(fault.candidate, i) for i in sorted(inside)]
    found += [_counted(fault.reference, i) for i in fault.reference_scope if i <= fault.region.t]
    return list(dict.fromkeys(n for n in found if n > 1))


def _counted(trace: Trace, index: int) -> int:
    """Over how many entries a sum or mean goes, or, backwards, one of its gradients; 0 of anything else."""
    node = trace.nodes[index]
    if not node.inputs:
        return 0
    sizes = trace.nodes[node.inputs[0]].array.size, node.array.size
    if node.operation.strip("_").startswith(REDUCTIONS) and sizes[1]:
        return sizes[0] // sizes[1]
    repeats = node.backward and node.operation in REPEATING and sizes[0]
    return sizes[1] // sizes[0] if repeats else 0


def _near(value: float, numbers: Sequence[float]) -> float:
    """The known number that a value is up to rounding, or its negative or inverse; else the value itself."""
    for known in numbers:
        for tried in (known, -known, 1 / known if known else known):
            if math.isclose(value, tried, rel_tol=SAME_NUMBER):
                return tried
    return value


def exchanged_factors(fault: Fault) -> Iterator[Change]:
    """Two terms of a loss with each other's factors: where they are equal, only their gradients tell."""
    if not fault.gradient:
        return
    for target in fault.targets[:1]:
        factor = _ratio(target)
        if factor is None:
            continue
        before = sorted(fault.ancestors(target.node) | {target.node}, reverse=True)
        backward = [i for i, node in enumerate(fault.candidate.nodes) if node.backward and node.floating]
        for index in [i for i in before if fault.node(i).backward and fault.node(i).floating][:MOST_SAME]:
            for other in backward:
                if _is_times(fault.value(other), fault.value(index), factor):
                    yield _exchange(fault, index, other, factor)


def _exchange(fault: Fault, index: int, other: int, factor: float) -> Change:
    lines = (fault.node(index).spot.line, fault.node(other).spot.line)
    text = (
        f"the factors of two terms are exchanged: <reference>'s gradient through line {lines[0]} is "
        f"{number(factor)} times <candidate>'s, and through line {lines[1]} {number(1 / factor)} times"
    )
    values = {index: fault.value(other), other: fault.value(index)}
    return Change(CauseKind.SCALE, text, values, everywhere=True)


def _is_times(value: Array, other: Array, factor: float) -> bool:
    """Whether one value is another one times a factor, and not zero."""
    if value.shape != other.shape or not other.any():
        return False
    return bool(np.abs(value - factor * other).max() <= SAME_NUMBER * np.abs(value).max())


def _ratio(target: Target) -> float | None:
    """The factor from the candidate's value to the reference's; None if it is no one number, or 1 or -1."""
    at = np.unravel_index(np.argmax(np.abs(target.actual)), target.actual.shape)
    if not target.actual[at] or not np.isfinite(target.actual[at]):
        return None
    factor = float(target.wanted[at] / target.actual[at])
    alike = abs(factor) > NO_FACTOR and abs(abs(factor) - 1) > SAME_NUMBER
    return factor if alike and _is_times(target.wanted, target.actual, factor) else None
