"""Functions of one value by name: activations, and the plain functions that can be taken for one."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Shaped

from parity.diagnose.phrases import number
from parity.trace.vocabulary import names

Array = Shaped[np.ndarray, "..."]
Real = float | int
Function = Callable[[Array], Array]
Setting = TypeVar("Setting", int, float)

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848


class Named(NamedTuple):
    """A function with its name.

    Attributes:
        name: as it stands in a report.
        function: of the argument.
        plain: whether it is no activation: the identity, a logarithm.
        inner: whether it is a function of a multiple of the argument.
        whole: whether an entry depends on the others.
        identity: whether it is no function at all.
        needs: names of operations of which the reference must have one, with that number, for other functions
            imitate it; empty: none.
        setting: the number, of a function with one.
    """

    name: str
    function: Function
    plain: bool = False
    inner: bool = False
    whole: bool = False
    identity: bool = False
    needs: frozenset[str] = frozenset()
    setting: float | None = None


class Family(NamedTuple):
    """Functions with a setting, which stands for `{}` in the name; of some it must be `positive`."""

    name: str
    function: Callable[[Array, float], Array]
    plain: bool = False
    inner: bool = False
    needs: frozenset[str] = frozenset()
    positive: bool = False


def erf(x: Array) -> Array:
    """The error function."""
    from scipy.special import erf

    return np.asarray(erf(x))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    from scipy.special import expit

    return np.asarray(expit(x))


def softplus(x: Array, beta: Real = 1.0) -> Array:
    """log(1 + exp(beta x)) / beta.

    Args:
        x: of any shape.
        beta: how sharp the bend is; more than 0.
    """
    return np.asarray(np.logaddexp(0.0, beta * x) / beta)


def softmax(x: Array, axis: int) -> Array:
    """exp(x) over its sum along an axis.

    Args:
        x: an array.
        axis: of `x`.

    Returns:
        An array of the shape of `x`.
    """
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


def two_slopes(x: Array, above: Real, below: Real) -> Array:
    """Other multiples of x above and below zero.

    Args:
        x: an array.
        above: slope above zero.
        below: slope below zero.
    """
    return np.where(x > 0, above * x, below * x)


def exponential_below(x: Array, above: Real, below: Real, width: Real = 1.0) -> Array:
    """A multiple of x above zero, of exp(x / width) - 1 below.

    Args:
        x: an array.
        above: slope above zero.
        below: factor below zero.
        width: scale of the argument below zero.
    """
    return np.where(x > 0, above * x, below * np.expm1(np.minimum(x, 0) / width))


def huber(x: Array, delta: Real) -> Array:
    """Half the square near zero, linear beyond (Huber, 1964).

    Args:
        x: an array.
        delta: where it becomes linear; more than 0.
    """
    return np.where(np.abs(x) < delta, x**2 / 2, delta * (np.abs(x) - delta / 2))


FIXED: tuple[Named, ...] = (
    Named("none", lambda x: x, plain=True, identity=True),
    Named("ReLU", lambda x: np.maximum(x, 0)),
    Named("GELU (erf)", lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2)))),
    Named(
        "GELU (tanh approximation)",
        lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    ),
    Named("GELU (sigmoid approximation)", lambda x: x * sigmoid(1.702 * x)),
    Named("SiLU", lambda x: x * sigmoid(x)),
    Named("sigmoid", sigmoid),
    Named("tanh", np.tanh),
    Named("softplus", softplus),
    Named("mish", lambda x: x * np.tanh(softplus(x))),
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
    Named("log sigmoid", lambda x: -softplus(-x)),
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
    Named("half the square", lambda x: x**2 / 2, plain=True),
    Named("logarithm of the hyperbolic cosine", lambda x: np.logaddexp(x, -x) - math.log(2)),
    Named("smooth L1", lambda x: huber(x, 1.0)),
    Named("Gaussian", lambda x: np.exp(-(x**2))),
)
"""Functions without a setting."""

ALONG_AXIS: tuple[tuple[str, Callable[[Array, int], Array]], ...] = (
    ("softmax along axis {}", softmax),
    ("log softmax along axis {}", lambda x, axis: np.log(softmax(x, axis))),
    ("softmin along axis {}", lambda x, axis: softmax(-x, axis)),
)
"""Functions of an axis."""

POWERS = names("pow integer_pow float_power")
"""Operations that take a power; the exponential of a multiple is a power of the exponential as well."""

SETTINGS: tuple[Family, ...] = (
    Family("leaky ReLU of slope {}", lambda x, n: two_slopes(x, 1, n)),
    Family("ELU of alpha {}", lambda x, n: exponential_below(x, 1, n)),
    Family("CELU of alpha {}", lambda x, n: exponential_below(x, 1, n, n)),
    Family("softplus of beta {}", softplus, positive=True),
    Family("swish of beta {}", lambda x, n: x * sigmoid(n * x)),
    Family("sigmoid of {} x", lambda x, n: sigmoid(n * x), inner=True),
    Family("tanh of {} x", lambda x, n: np.tanh(n * x), inner=True),
    Family("sine of {} x", lambda x, n: np.sin(n * x), inner=True),
    Family("ReLU capped at {}", lambda x, n: np.clip(x, 0, n), positive=True),
    Family("soft cap {}", lambda x, n: n * np.tanh(x / n), positive=True),
    Family("threshold at {}", lambda x, n: np.where(x > n, x, 0)),
    Family("soft shrink by {}", lambda x, n: np.sign(x) * np.maximum(np.abs(x) - n, 0), positive=True),
    Family("hard shrink by {}", lambda x, n: np.where(np.abs(x) > n, x, 0), positive=True),
    Family("power {}", np.power, plain=True, needs=POWERS),
    Family("Huber's function of delta {}", huber, positive=True),
    Family("smooth L1 of beta {}", lambda x, n: huber(x, n) / n, positive=True),
)
"""Functions of a setting."""


def table(ndim: int, numbers: Sequence[float]) -> Iterator[Named]:
    """All functions of an array with so many axes, those with a setting for each of the numbers at hand.

    Args:
        ndim: number of axes of the argument.
        numbers: settings that are tried.

    Yields:
        Functions with their names, those without a setting first.
    """
    yield from FIXED
    for axis in range(ndim):
        for name, along in ALONG_AXIS:
            yield Named(name.format(axis), _set(along, axis), whole=True)
    for n in dict.fromkeys(v for v in numbers if v not in (0, 1)):
        for family in (one for one in SETTINGS if n > 0 or not one.positive):
            name, function = family.name.format(number(n)), _set(family.function, n)
            yield Named(name, function, family.plain, family.inner, needs=family.needs, setting=n)


def _set(function: Callable[[Array, Setting], Array], setting: Setting) -> Function:
    return lambda x: function(x, setting)
