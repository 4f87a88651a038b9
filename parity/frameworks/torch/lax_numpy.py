"""More of LAX in NumPy than `numpy_ops`, as far as PyTorch programs need it: windows, sorting, indices.

Convolutions are PyTorch's own: spread and padded as LAX does it, they are one call.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from parity.trace import numpy_ops

Array = Shaped[np.ndarray, "..."]
Computation = Callable[..., Array]
"""`computation(*operands, **params) -> result`, with the parameters that a jaxpr has."""


class ConvDimensionNumbers(NamedTuple):
    """Where batch, features and the spatial axes stand, as in `jax.lax.ConvDimensionNumbers`."""

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


def run_lax(operation: str, values: Sequence[Array], params: Mapping[str, object]) -> Array:
    """The result of one operation.

    Args:
        operation: its name in LAX.
        values: its operands.
        params: its parameters, as a jaxpr has them.

    Raises:
        KeyError: if there is no such operation here.
    """
    known = OPERATIONS.get(operation) or numpy_ops.OPERATIONS[operation]
    with np.errstate(all="ignore"):
        return np.asarray(known(*[np.asarray(value) for value in values], **params))


def _special(name: str) -> Computation:
    def function(x: Array, **_: object) -> Array:
        from scipy import special

        return np.asarray(getattr(special, name)(x))

    return function


def _plain(function: Computation) -> Computation:
    return lambda *values, **_: function(*values)


def cumulative(accumulate: Computation) -> Computation:
    """A running reduction along an axis, from either end."""

    def function(x: Array, *, axis: int, reverse: bool = False, **_: object) -> Array:
        if not x.ndim:
            return x
        found = accumulate(np.flip(x, axis) if reverse else x, axis=axis)
        return np.asarray(np.flip(found, axis) if reverse else found)

    return function


def _extreme(function: Computation) -> Computation:
    def compute(x: Array, *, axes: Sequence[int], index_dtype: DTypeLike, **_: object) -> Array:
        (axis,) = axes
        return np.asarray(function(x, axis=axis)).astype(index_dtype)

    return compute


def _pad(x: Array, fill: Array, *, padding_config: Sequence[tuple[int, int, int]], **_: object) -> Array:
    """Borders of one number; entries cut off where they are negative."""
    widths = [(max(0, low), max(0, high)) for low, high, _ in padding_config]
    out = np.pad(x, widths, constant_values=fill.item())
    cut = [(max(0, -low), max(0, -high)) for low, high, _ in padding_config]
    return out[tuple(slice(a, n - b) for n, (a, b) in zip(out.shape, cut, strict=True))]


def _window(reduce: Computation, fill: float) -> Computation:
    def function(
        x: Array,
        *,
        window_dimensions: Sequence[int],
        window_strides: Sequence[int],
        padding: Sequence[Sequence[int]],
        window_dilation: Sequence[int],
        **_: object,
    ) -> Array:
        padded = np.pad(x, [tuple(p) for p in padding], constant_values=x.dtype.type(fill))
        spans = [(n - 1) * d + 1 for n, d in zip(window_dimensions, window_dilation, strict=True)]
        views = np.lib.stride_tricks.sliding_window_view(padded, spans)
        steps = [slice(None, None, s) for s in (*window_strides, *window_dilation)]
        return np.asarray(reduce(views[tuple(steps)], axis=tuple(range(x.ndim, 2 * x.ndim))))

    return function


def _convolution(
    x: Array,
    kernel: Array,
    *,
    dimension_numbers: ConvDimensionNumbers,
    window_strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    **_: object,
) -> Array:
    """`jax.lax.conv_general_dilated` with the parameters of its equation."""
    import torch

    x = np.transpose(x, dimension_numbers.lhs_spec)
    kernel = np.transpose(kernel, dimension_numbers.rhs_spec)
    inner = [int(d) - 1 for d in lhs_dilation]
    if any(inner):
        longer = [(n - 1) * (d + 1) + 1 for n, d in zip(x.shape[2:], inner, strict=True)]
        spread = np.zeros((*x.shape[:2], *longer), x.dtype)
        spread[(slice(None), slice(None), *(slice(None, None, d + 1) for d in inner))] = x
        x = spread
    config = [(0, 0, 0), (0, 0, 0), *((int(low), int(high), 0) for low, high in padding)]
    x = _pad(x, np.zeros((), x.dtype), padding_config=config)
    count = len(inner)
    out = torch.ops.aten.convolution.default(
        torch.from_numpy(np.ascontiguousarray(x)),
        torch.from_numpy(np.ascontiguousarray(kernel)),
        None,
        [int(s) for s in window_strides],
        [0] * count,
        [int(d) for d in rhs_dilation],
        False,
        [0] * count,
        int(feature_group_count),
    )
    return np.transpose(out.numpy(), np.argsort(dimension_numbers.out_spec))


def _gather(
    x: Array, *indices: Array, dimension: int | None = None, along: bool = False, **_: object
) -> Array:
    """Entries of x: rows along one axis, or those that index arrays choose, the axes of None left out."""
    if along:
        return np.asarray(x[_open_grid(indices[0], dimension)])
    if dimension is not None:
        return np.take(x, indices[0], axis=dimension)
    raise ValueError("`dimension` must be given")


def _open_grid(index: Array, axis: int | None) -> tuple[Array, ...]:
    """Where the entries stand that an index of the operand's rank chooses along one axis."""
    grid = [
        np.arange(n).reshape([-1 if a == i else 1 for a in range(index.ndim)])
        for i, n in enumerate(index.shape)
    ]
    return tuple(index if i == axis else g for i, g in enumerate(grid))


def _scatter(add: bool) -> Computation:
    def function(x: Array, index: Array, updates: Array, *, dimension: int, **_: object) -> Array:
        out = x.copy()
        if not x.ndim:
            return np.asarray(x + updates if add else updates).reshape(())
        places = _open_grid(index, dimension)
        if updates.ndim:
            updates = updates[tuple(slice(n) for n in index.shape)]
        if add:
            np.add.at(out, places, updates)
        else:
            out[places] = updates
        return out

    return function


OPERATIONS: Mapping[str, Computation] = {
    "rem": _plain(np.fmod),
    "remainder": _plain(np.mod),
    "round": _plain(np.round),
    "trunc": _plain(np.trunc),
    "floor_divide": _plain(np.floor_divide),
    "xor": _plain(np.bitwise_xor),
    "tan": _plain(np.tan),
    "asin": _plain(np.arcsin),
    "acos": _plain(np.arccos),
    "atan": _plain(np.arctan),
    "sinh": _plain(np.sinh),
    "cosh": _plain(np.cosh),
    "asinh": _plain(np.arcsinh),
    "acosh": _plain(np.arccosh),
    "atanh": _plain(np.arctanh),
    "lgamma": _special("gammaln"),
    "digamma": _special("psi"),
    "erf_inv": _special("erfinv"),
    "tile": lambda x, *, reps, **_: np.tile(x, reps),
    "cumsum": cumulative(np.cumsum),
    "cumprod": cumulative(np.cumprod),
    "cummax": cumulative(np.maximum.accumulate),
    "cummin": cumulative(np.minimum.accumulate),
    "argmax": _extreme(np.argmax),
    "argmin": _extreme(np.argmin),
    "pad": _pad,
    "reduce_window_max": _window(np.max, -np.inf),
    "reduce_window_sum": _window(np.sum, 0.0),
    "conv_general_dilated": _convolution,
    "gather": _gather,
    "scatter": _scatter(False),
    "scatter-add": _scatter(True),
}
"""Operations by LAX's names; `rem` and `remainder` differ in the sign of what is left."""
