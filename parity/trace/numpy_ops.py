"""The commonest operations of LAX in NumPy: traces run thousands of small ones without compiling any.

A trace of either framework may be in LAX's terms, so neither framework is imported here. Each entry computes
exactly what the primitive means, for the operands that `supports` lets through; for everything else JAX is
asked.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

Array = Shaped[np.ndarray, "..."]
Operation = Callable[..., Array]
"""From the operands, and the parameters as keywords, to the result."""

DotAxes = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]
"""Of a product: the axes of both operands that are summed over, and those that are batched."""

REAL = frozenset("fiub")
"""Kinds of dtypes that NumPy computes with as LAX does."""


def supports(name: str, values: Sequence[object], params: Mapping[str, Any]) -> bool:
    """Whether NumPy may be used: real or boolean operands, and no case that it treats otherwise.

    Args:
        name: of a primitive.
        values: its operands.
        params: its parameters.
    """
    if name not in OPERATIONS:
        return False
    kinds = set()
    for value in values:
        if not isinstance(value, np.ndarray):
            if "key<" in str(getattr(value, "dtype", "")):
                return False
            value = np.asarray(value)
        kinds.add(value.dtype.kind)
    if not kinds <= REAL:
        return False
    if name in ("div", "rem", "pow", "integer_pow", "sign") and kinds != {"f"}:
        return False
    if name == "convert_element_type":
        target = np.dtype(params["new_dtype"])
        return (target.kind in "fb" and target.itemsize in (1, 4, 8)) or kinds == {"b"}
    return not (name == "reshape" and params.get("dimensions") is not None)


def run_primitive(name: str, values: Sequence[object], params: Mapping[str, object]) -> list[Array]:
    """Evaluate one primitive in NumPy.

    Args:
        name: of a primitive that `supports` lets through.
        values: its operands.
        params: its parameters.

    Returns:
        Its results, each in the dtype that JAX gives it.
    """
    with np.errstate(all="ignore"):
        return [np.asarray(OPERATIONS[name](*[np.asarray(value) for value in values], **params))]


def _unary(function: Operation) -> Operation:
    return lambda x, **_: function(x)


def _binary(function: Operation) -> Operation:
    return lambda x, y, **_: function(x, y)


def _erf(x: Array) -> Array:
    from scipy.special import erf

    return np.asarray(erf(x))


def _erfc(x: Array) -> Array:
    from scipy.special import erfc

    return np.asarray(erfc(x))


def _logistic(x: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(x))


def _broadcast(x: Array, *, shape: Sequence[int], broadcast_dimensions: Sequence[int], **_: object) -> Array:
    aligned = [1] * len(shape)
    for axis, target in enumerate(broadcast_dimensions):
        aligned[target] = x.shape[axis]
    return np.broadcast_to(x.reshape(aligned), shape)


def _dot(a: Array, b: Array, *, dimension_numbers: DotAxes, **_: object) -> Array:
    (a_sum, b_sum), (a_batch, b_batch) = dimension_numbers
    a_free = [i for i in range(a.ndim) if i not in (*a_sum, *a_batch)]
    b_free = [i for i in range(b.ndim) if i not in (*b_sum, *b_batch)]
    batch = [a.shape[i] for i in a_batch]
    summed = int(np.prod([a.shape[i] for i in a_sum]))
    left = a.transpose([*a_batch, *a_free, *a_sum]).reshape([*batch, -1, summed])
    right = b.transpose([*b_batch, *b_sum, *b_free]).reshape([*batch, summed, -1])
    product: Array = left @ right
    return product.reshape([*batch, *[a.shape[i] for i in a_free], *[b.shape[i] for i in b_free]])


def _select(which: Array, *cases: Array, **_: object) -> Array:
    if which.dtype.kind == "b":
        return np.where(which, cases[1], cases[0])
    return np.choose(which, cases, mode="clip")


def _slice(
    x: Array,
    *,
    start_indices: Sequence[int],
    limit_indices: Sequence[int],
    strides: Sequence[int] | None,
    **_: object,
) -> Array:
    steps = strides or [1] * x.ndim
    return x[tuple(slice(a, b, s) for a, b, s in zip(start_indices, limit_indices, steps, strict=True))]


def _iota(*, dtype: DTypeLike, shape: Sequence[int], dimension: int, **_: object) -> Array:
    aligned = [1] * len(shape)
    aligned[dimension] = shape[dimension]
    return np.broadcast_to(np.arange(shape[dimension], dtype=dtype).reshape(aligned), shape)


def _reduce(function: Operation) -> Operation:
    return lambda x, *, axes, **_: function(x, axis=tuple(axes)).astype(x.dtype)


EXACT = frozenset(
    {"add", "sub", "mul", "div", "neg", "abs", "sqrt", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"}
    | {"select_n", "transpose", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "rev", "concatenate"}
    | {"slice", "iota", "copy", "convert_element_type"}
)
"""Those whose results IEEE 754 prescribes to the last bit, in every dtype: whoever computes them."""

OPERATIONS: Mapping[str, Operation] = {
    "add": _binary(np.add),
    "add_any": _binary(np.add),
    "sub": _binary(np.subtract),
    "mul": _binary(np.multiply),
    "div": _binary(np.divide),
    "max": _binary(np.maximum),
    "min": _binary(np.minimum),
    "pow": _binary(np.power),
    "atan2": _binary(np.arctan2),
    "eq": _binary(np.equal),
    "ne": _binary(np.not_equal),
    "lt": _binary(np.less),
    "le": _binary(np.less_equal),
    "gt": _binary(np.greater),
    "ge": _binary(np.greater_equal),
    "and": _binary(np.bitwise_and),
    "or": _binary(np.bitwise_or),
    "not": _unary(np.invert),
    "neg": _unary(np.negative),
    "abs": _unary(np.abs),
    "sign": _unary(np.sign),
    "floor": _unary(np.floor),
    "ceil": _unary(np.ceil),
    "exp": _unary(np.exp),
    "exp2": lambda x, **_: np.exp2(x),
    "log": _unary(np.log),
    "log1p": _unary(np.log1p),
    "expm1": _unary(np.expm1),
    "sqrt": _unary(np.sqrt),
    "rsqrt": lambda x, **_: 1.0 / np.sqrt(x),
    "square": _unary(np.square),
    "tanh": _unary(np.tanh),
    "sin": _unary(np.sin),
    "cos": _unary(np.cos),
    "erf": _unary(_erf),
    "erfc": _unary(_erfc),
    "logistic": _unary(_logistic),
    "is_finite": _unary(np.isfinite),
    "stop_gradient": _unary(lambda x: x),
    "copy": _unary(lambda x: x),
    "copy_p": _unary(lambda x: x),
    "integer_pow": lambda x, *, y, **_: x**y if y >= 0 else 1.0 / x**-y,
    "clamp": lambda low, x, high, **_: np.minimum(np.maximum(x, low), high),
    "select_n": _select,
    "transpose": lambda x, *, permutation, **_: x.transpose(permutation),
    "reshape": lambda x, *, new_sizes, **_: x.reshape(new_sizes),
    "squeeze": lambda x, *, dimensions, **_: np.squeeze(x, tuple(dimensions)),
    "expand_dims": lambda x, *, dimensions, **_: np.expand_dims(x, tuple(dimensions)),
    "broadcast_in_dim": _broadcast,
    "rev": lambda x, *, dimensions, **_: np.flip(x, tuple(dimensions)),
    "concatenate": lambda *xs, dimension, **_: np.concatenate(xs, dimension),
    "slice": _slice,
    "iota": _iota,
    "convert_element_type": lambda x, *, new_dtype, **_: x.astype(np.dtype(new_dtype)),
    "reduce_sum": _reduce(np.sum),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "reduce_prod": _reduce(np.prod),
    "reduce_and": lambda x, *, axes, **_: np.all(x, axis=tuple(axes)),
    "reduce_or": lambda x, *, axes, **_: np.any(x, axis=tuple(axes)),
    "dot_general": _dot,
}
"""Primitives by name."""
