"""Activation functions: both sides as functions of the same matched value, named from a table."""

import functools
import math
from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.functions import Named, exponential_below, table, two_slopes
from parity.diagnose.numbers import literals, reference_numbers
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array, Target, difference
from parity.diagnose.trials import Change

HINTS = {
    "GELU (erf)": " (approximate=False in JAX, 'none' in PyTorch)",
    "GELU (tanh approximation)": " (approximate=True in JAX, 'tanh' in PyTorch)",
}
"""How a function is called, where its name does not tell."""

SAMPLE = 64
"""Entries looked at before whole values are compared."""

LARGE = 1000.0
"""Magnitude up to which a number can be the setting of an activation."""


def activations(fault: Fault) -> Iterator[Change]:
    """Where a target is one known activation of a matched value in PyTorch, and another one in JAX."""
    for target, x, theirs, ours in _compared(fault):
        if not (theirs.plain or theirs.inner or ours.inner):
            yield _change(target, x, theirs, ours.name)


def plain_functions(fault: Fault) -> Iterator[Change]:
    """The same for roots and logarithms, and for functions of a multiple of a value."""
    for target, x, theirs, ours in _compared(fault):
        if theirs.inner or ours.inner:
            yield _change(target, x, theirs, ours.name)._replace(cause="scale")
        elif theirs.plain and theirs.name != "none" and (x is target.actual or not ours.plain):
            yield _change(target, x, theirs, ours.name)


def likely_activations(fault: Fault) -> Iterator[Change]:
    """The same where what JAX computes is not known."""
    for target, x, theirs in _known(fault):
        if not theirs.plain:
            yield _change(target, x, theirs, "something else")


def _compared(fault: Fault) -> Iterator[tuple[Target, Array, Named, Named]]:
    """Targets that are known functions of a value that goes in on both sides: PyTorch's, JAX's."""
    numbers = [
        *(literal.value for literal in literals(fault) if abs(literal.value) <= LARGE),
        *_numbers(fault),
    ]
    for target, x, theirs in _known(fault):
        ours = identify(x, target, target.actual, numbers)
        if ours is not None and ours.name != theirs.name:
            yield target, x, theirs, ours


def _change(target: Target, x: Array, theirs: Named, ours: str) -> Change:
    hint = HINTS.get(theirs.name, "")
    text = f"<reference> applies {theirs.name}, <candidate> {ours}: use {theirs.name}{hint}"
    return Change("activation", text, {target.node: theirs.function(x)})


def _numbers(fault: Fault) -> list[float]:
    return [n for n in reference_numbers(fault) if abs(n) <= LARGE]


def _known(fault: Fault) -> Iterator[tuple[Target, Array, Named]]:
    """Targets that are, on PyTorch's side, a known function of a value that goes in."""
    numbers = _numbers(fault)
    for target in fault.targets:
        if target.wanted.dtype.kind != "f" or target.wanted.size < 4:
            continue
        for x in [*_arguments(fault, target), target.actual]:
            if fault.late:
                return
            theirs = identify(x, target, target.wanted, numbers)
            if theirs is not None:
                yield target, x, theirs


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
    """The function that gives a value; None if there is none, or if any function with a kink would do.

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
    at = np.unravel_index(np.argmax(np.abs(x)), x.shape)
    if not x[at] or not np.isfinite(goal.wanted[at]):
        return None
    factor = float(goal.wanted[at] / x[at])
    same = difference(factor * x, goal) is not None
    return (1.0 if math.isclose(factor, 1.0, rel_tol=1e-9) else factor) if same else None


def _solved(x: Array, goal: Target) -> Named | None:
    """Functions of two branches, whose factors are found from the values."""
    y = goal.wanted
    above, below = x > 1e-9, x < -1e-9
    if above.sum() < 2 or below.sum() < 2:
        return None
    upper = y[above] / x[above]
    for name, shaped, function in (
        ("x", x, two_slopes),
        ("(exp(x) - 1)", np.expm1(np.minimum(x, 0)), exponential_below),
    ):
        lower = y[below] / shaped[below]
        if np.ptp(upper) < 1e-9 * abs(upper[0]) and np.ptp(lower) < 1e-9 * max(abs(lower[0]), 1e-9):
            a, b = float(upper[0]), float(lower[0])
            if math.isclose(a, b, rel_tol=1e-6) and function is two_slopes:
                return None  # one slope is no activation
            found = functools.partial(function, above=a, below=b)
            if difference(found(x), goal) is not None:
                return Named(f"{number(a)} x above 0 and {number(b)} {name} below", found)
    return None
