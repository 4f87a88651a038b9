"""Activation functions: both sides as functions of the same matched value, named from a table."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.bench import Array, Bench, Change, Target, difference
from parity.diagnose.numbers import literals, torch_numbers
from parity.diagnose.wording import number

Function = Callable[[Array], Array]

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


class Named(NamedTuple):
    """A function with its name; `plain` for those that are no activation (the identity, a logarithm)."""

    name: str
    function: Function
    plain: bool = False


def _erf(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(x))


def _sigmoid(x: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(x))


def _softplus(x: Array, beta: float = 1.0) -> Array:
    return np.asarray(np.logaddexp(0.0, beta * x) / beta)


def _softmax(axis: int) -> Function:
    def apply(x: Array) -> Array:
        e = np.exp(x - x.max(axis, keepdims=True))
        return np.asarray(e / e.sum(axis, keepdims=True))

    return apply


FIXED: tuple[Named, ...] = (
    Named("none", lambda x: x, plain=True),
    Named("ReLU", lambda x: np.maximum(x, 0)),
    Named("GELU (erf)", lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2)))),
    Named(
        "GELU (tanh approximation)",
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    Named("GELU (sigmoid approximation)", lambda x: x * _sigmoid(1.702 * x)),
    Named("SiLU", lambda x: x * _sigmoid(x)),
    Named("sigmoid", _sigmoid),
    Named("tanh", np.tanh),
    Named("softplus", _softplus),
    Named("mish", lambda x: x * np.tanh(_softplus(x))),
    Named("ELU", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    Named("SELU", lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))),
    Named("hard sigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1)),
    Named("hard sigmoid (0.2 x + 0.5)", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    Named("hard swish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    Named("hard tanh", lambda x: np.clip(x, -1, 1)),
    Named("ReLU6", lambda x: np.clip(x, 0, 6)),
    Named("squared ReLU", lambda x: np.maximum(x, 0) ** 2),
    Named("softsign", lambda x: x / (1 + np.abs(x))),
    Named("tanh shrink", lambda x: x - np.tanh(x)),
    Named("log sigmoid", lambda x: -_softplus(-x)),
    Named("scaled tanh of LeCun", lambda x: 1.7159 * np.tanh(2 * x / 3)),
    Named("sine", np.sin),
    Named("cosine", np.cos),
    Named("exponential", np.exp, plain=True),
    Named("exponential less one", np.expm1, plain=True),
    Named("logarithm", np.log, plain=True),
    Named("logarithm of one more", np.log1p, plain=True),
    Named("square", np.square, plain=True),
    Named("square root", np.sqrt, plain=True),
    Named("reciprocal", np.reciprocal, plain=True),
    Named("absolute value", np.abs, plain=True),
    Named("Gaussian", lambda x: np.exp(-(x**2))),
)
"""Functions without a setting."""


HINTS = {
    "GELU (erf)": " (jax.nn.gelu with approximate=False)",
    "GELU (tanh approximation)": " (jax.nn.gelu with approximate=True)",
}
"""How a function is called in JAX, where that is not plain."""

LARGE = 1000.0
"""Magnitude up to which a number can be the setting of an activation."""


def table(ndim: int, numbers: list[float]) -> Iterator[Named]:
    """All functions of an array with so many axes, those with a setting for each of the numbers at hand."""
    yield from FIXED
    for axis in range(ndim):
        yield Named(f"softmax along axis {axis}", _softmax(axis))
        yield Named(f"log softmax along axis {axis}", lambda x, a=axis: np.log(_softmax(a)(x)))
        yield Named(f"softmin along axis {axis}", lambda x, a=axis: _softmax(a)(-x))
    for n in dict.fromkeys(v for v in numbers if v not in (0, 1)):
        said = number(n)
        yield Named(f"leaky ReLU of slope {said}", lambda x, n=n: np.where(x > 0, x, n * x))
        yield Named(f"ELU of alpha {said}", lambda x, n=n: np.where(x > 0, x, n * np.expm1(np.minimum(x, 0))))
        yield Named(
            f"CELU of alpha {said}", lambda x, n=n: np.where(x > 0, x, n * np.expm1(np.minimum(x, 0) / n))
        )
        yield Named(f"softplus of beta {said}", lambda x, n=n: _softplus(x, n))
        yield Named(f"swish of beta {said}", lambda x, n=n: x * _sigmoid(n * x))
        yield Named(f"sigmoid of {said} x", lambda x, n=n: _sigmoid(n * x))
        yield Named(f"tanh of {said} x", lambda x, n=n: np.tanh(n * x))
        yield Named(f"ReLU capped at {said}", lambda x, n=n: np.clip(x, 0, n))
        yield Named(f"soft cap {said}", lambda x, n=n: n * np.tanh(x / n))
        yield Named(f"threshold at {said}", lambda x, n=n: np.where(x > n, x, 0))
        yield Named(f"soft shrink by {said}", lambda x, n=n: np.sign(x) * np.maximum(np.abs(x) - n, 0))
        yield Named(f"hard shrink by {said}", lambda x, n=n: np.where(np.abs(x) > n, x, 0))
        yield Named(f"sine of {said} x", lambda x, n=n: np.sin(n * x))
        yield Named(f"power {said}", lambda x, n=n: np.power(x, n), plain=True)


def activations(bench: Bench) -> Iterator[Change]:
    """Where a target is one known function of a matched value in PyTorch, and another one in JAX."""
    ours = [literal.value for literal in literals(bench) if abs(literal.value) <= LARGE]
    theirs_too = [*ours, *_numbers(bench)]
    for target, x, theirs in _known(bench):
        actual = identify(x, target, target.actual, theirs_too)
        if (
            actual is None
            or (theirs.plain
            and ((actual.plain and x is not target.actual) or theirs.name == "none"))
        ):
            continue
        yield _change(target, x, theirs, actual.name)


def likely_activations(bench: Bench) -> Iterator[Change]:
    """The same where what JAX computes is not known."""
    for target, x, theirs in _known(bench):
        if not theirs.plain:
            yield _change(target, x, theirs, "something else")


def _change(target: Target, x: Array, theirs: Named, ours: str) -> Change:
    text = f"PyTorch applies {theirs.name}, JAX {ours}: use {theirs.name}{HINTS.get(theirs.name, '')}"
    return Change("activation", text, {target.node: theirs.function(x)})


def _numbers(bench: Bench) -> list[float]:
    return [n for n in torch_numbers(bench) if abs(n) <= LARGE]


def _known(bench: Bench) -> Iterator[tuple[Target, Array, Named]]:
    """Targets that are, on PyTorch's side, a known function of a value that goes in."""
    numbers = _numbers(bench)
    for target in bench.targets:
        if target.wanted.dtype.kind != "f" or target.wanted.size < 4:
            continue
        for x in [*_arguments(bench, target), target.actual]:
            theirs = identify(x, target, target.wanted, numbers)
            if theirs is not None:
                yield target, x, theirs


def _arguments(bench: Bench, target: Target) -> list[Array]:
    """Values of the target's shape that an activation may be applied to, nearest first."""
    found = []
    for index in (*reversed(bench.inputs), *bench.scope):
        array = bench.value(index)
        same = array.shape == target.wanted.shape and array.dtype.kind == "f"
        if index < target.node and same and bench.comparison.jax_agrees(index) and np.ptp(array) > 0:
            found.append(array)
    return found[:8]


def identify(x: Array, target: Target, value: Array, numbers: list[float]) -> Named | None:
    """The function of the table that gives this value."""
    goal = target._replace(wanted=value)
    with np.errstate(all="ignore"):
        for named in table(x.ndim, numbers):
            if difference(np.asarray(named.function(x)), goal) is not None:
                return named
        return _solved(x, goal)


def _solved(x: Array, goal: Target) -> Named | None:
    """Functions of two branches with slopes that are found from the values."""
    y = goal.wanted
    above, below = x > 1e-9, x < -1e-9
    if above.sum() < 2 or below.sum() < 2:
        return None
    upper = y[above] / x[above]
    for name, shaped in (("slope", x), ("times expm1(x)", np.expm1(np.minimum(x, 0)))):
        lower = y[below] / shaped[below]
        if np.ptp(upper) < 1e-9 * abs(upper[0]) and np.ptp(lower) < 1e-9 * max(abs(lower[0]), 1e-9):
            a, b = float(upper[0]), float(lower[0])
            if math.isclose(a, b, rel_tol=1e-6) and name == "slope":
                return None
            text = f"{number(a)} x above 0, {number(b)} {name} below"
            text = text.replace("slope", "x").replace("x x", "x")
            found = Named(
                text,
                lambda v, a=a, b=b, s=name: np.where(
                    v > 0, a * v, b * (v if s == "slope" else np.expm1(np.minimum(v, 0)))
                ),
            )
            return found if difference(found.function(x), goal) is not None else None
    return None
