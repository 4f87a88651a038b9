"""Activation functions: both sides as functions of the same matched value, named from a table."""

import functools
import math
from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.functions import Named, exponential_below, table, two_slopes
from parity.diagnose.numbers import literals, reference_numbers, single_numbers
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array, Target, difference, same
from parity.diagnose.tolerances import NEAR_KINK, SAME_NUMBER, SAME_SLOPE
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind

HINTS = {
    "GELU (erf)": " (approximate=False in JAX, 'none' in PyTorch)",
    "GELU (tanh approximation)": " (approximate=True in JAX, 'tanh' in PyTorch)",
}
"""How a function is called, where its name does not tell."""

ALGEBRAIC = frozenset({"squared ReLU", "softsign"})
"""Activations that are, of what has one sign, a square or a quotient: then that explains as much."""

SAMPLE = 64
"""Entries looked at before whole values are compared."""

FEWEST = 2
"""Entries that tell a function: each holds fifteen digits."""

LARGE = 1000.0
"""Magnitude up to which a number can be the setting of an activation."""


def activations(fault: Fault) -> Iterator[Change]:
    """Targets that are one known activation of a value that goes in on one side, another on the other."""
    for target, x, wanted, actual in _compared(fault):
        if not (wanted.plain or wanted.inner or actual.inner):
            yield _change(target, x, wanted, actual.name)


def plain_functions(fault: Fault) -> Iterator[Change]:
    """The same for roots and logarithms, and for functions of a multiple of a value."""
    for target, x, wanted, actual in _compared(fault):
        if wanted.inner or actual.inner:
            yield _change(target, x, wanted, actual.name)._replace(cause=CauseKind.SCALE)
        elif wanted.plain and not wanted.identity and (x is target.actual or not actual.plain):
            yield _change(target, x, wanted, actual.name)


def likely_activations(fault: Fault) -> Iterator[Change]:
    """The same where what the candidate computes is not known."""
    for target, x, wanted in _known(fault):
        if not wanted.plain:
            yield _change(target, x, wanted, "something else")


def _compared(fault: Fault) -> Iterator[tuple[Target, Array, Named, Named]]:
    """Targets that are known functions of a value that goes in: the reference's function, the candidate's."""
    numbers = [
        *(literal.value for literal in literals(fault) if abs(literal.value) <= LARGE),
        *_numbers(fault),
    ]
    for target, x, wanted in _known(fault):
        actual = identify(x, target, target.actual, numbers)
        if actual is not None and actual.name != wanted.name:
            yield target, x, wanted, actual


def _change(target: Target, x: Array, wanted: Named, actual: str) -> Change:
    hint = HINTS.get(wanted.name, "")
    text = f"<reference> applies {wanted.name}, <candidate> {actual}: use {wanted.name}{hint}"
    return Change(CauseKind.ACTIVATION, text, {target.node: wanted.function(x)})


def _numbers(fault: Fault) -> list[float]:
    return [n for n in reference_numbers(fault) if abs(n) <= LARGE]


def _known(fault: Fault) -> Iterator[tuple[Target, Array, Named]]:
    """Targets whose wanted value is a known function of a value that goes in."""
    numbers = _numbers(fault)
    for target in fault.targets:
        if (
            target.wanted.dtype.kind != "f"
            or target.wanted.size < FEWEST
            or _differs_at_fillers_alone(target)
        ):
            continue
        for x in [*_arguments(fault, target), target.actual]:
            if fault.late:
                return
            wanted = identify(x, target, target.wanted, numbers)
            if wanted is None or not _has_what_it_needs(fault, wanted):
                continue
            if not (wanted.name in ALGEBRAIC and (x.min() >= 0 or x.max() <= 0)):
                yield target, x, wanted


def _has_what_it_needs(fault: Fault, function: Named) -> bool:
    """Whether the reference has an operation that a function stands for, with its number."""
    nodes = [fault.reference.nodes[i] for i in fault.reference_scope]
    return not function.needs or any(
        node.operation in function.needs
        and function.setting in (*node.params.values(), *single_numbers(fault, node))
        for node in nodes
    )


def _differs_at_fillers_alone(target: Target) -> bool:
    """Whether the two values agree wherever both are numbers: any threshold between would do then."""
    numbers = np.isfinite(target.wanted) & np.isfinite(target.actual)
    return not numbers.all() and same(target.actual[numbers], target.wanted[numbers], target.allowed)


def _arguments(fault: Fault, target: Target) -> list[Array]:
    """Values of the target's shape that an activation may be applied to, nearest first."""
    found = []
    for index in (*reversed(fault.inputs), *fault.scope):
        array = fault.value(index)
        same = array.shape == target.wanted.shape and array.dtype.kind == "f"
        if index < target.node and same and fault.comparison.candidate_agrees(index) and np.ptp(array) > 0:
            found.append(array)
    return found[:8]


def identify(x: Array, target: Target, value: Array, numbers: list[float]) -> Named | None:
    """The function that gives a value; None if there is none, or if a factor explains the value.

    Args:
        x: the argument.
        target: where the value stands; says how exact it is.
        value: the value, of the shape of `x`.
        numbers: settings that are tried.
    """
    goal = target._replace(wanted=value)
    factor = _proportional(x, goal)
    if factor is not None and factor != 1:
        return None  # a leaky ReLU of entries below zero alone is but a factor
    places = np.unique(np.linspace(0, x.size - 1, SAMPLE).astype(int))
    few, some = x.reshape(-1)[places], goal._replace(wanted=value.reshape(-1)[places])
    with np.errstate(all="ignore"):
        for named in table(x.ndim, numbers):
            if not named.whole and difference(np.asarray(named.function(few)), some) is None:
                continue
            if difference(np.asarray(named.function(x)), goal) is not None:
                return named
        return _solved(x, goal)


def _proportional(x: Array, goal: Target) -> float | None:
    """The factor by which a value is a multiple of its argument; None if it is no multiple."""
    size = np.where(np.isfinite(x), np.abs(x), 0.0)  # fillers have no factor
    at = np.unravel_index(np.argmax(size), x.shape)
    if not x[at] or not np.isfinite(goal.wanted[at]):
        return None
    factor = float(goal.wanted[at] / x[at])
    with np.errstate(invalid="ignore"):
        same = difference(factor * x, goal) is not None
    return (1.0 if math.isclose(factor, 1.0, rel_tol=SAME_NUMBER) else factor) if same else None


def _solved(x: Array, goal: Target) -> Named | None:
    """Functions of two branches, whose factors are found from the values."""
    y = goal.wanted
    above, below = x > NEAR_KINK, x < -NEAR_KINK
    if above.sum() < 2 or below.sum() < 2:
        return None
    upper = y[above] / x[above]
    for name, shaped, function in (
        ("x", x, two_slopes),
        ("(exp(x) - 1)", np.expm1(np.minimum(x, 0)), exponential_below),
    ):
        lower = y[below] / shaped[below]
        if upper[0] and _one_number(upper) and _one_number(lower):
            a, b = float(upper[0]), float(lower[0])
            if math.isclose(a, b, rel_tol=SAME_SLOPE) and function is two_slopes:
                return None  # one slope is no activation
            found = functools.partial(function, above=a, below=b)
            if difference(found(x), goal) is not None:
                return Named(f"{number(a)} x above 0 and {number(b)} {name} below", found)
    return None


def _one_number(quotients: Array) -> bool:
    """Whether all quotients are the same number; that of zeros is zero up to rounding."""
    return bool(np.ptp(quotients) < SAME_NUMBER * max(abs(quotients[0]), NEAR_KINK))
