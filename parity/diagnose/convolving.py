"""A convolution in NumPy, with all settings of LAX's: dozens are tried, and compiling each takes too long."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

Array = Shaped[np.ndarray, "..."]


def convolve(x: Array, kernel: Array, params: Mapping[str, Any]) -> Array:
    """`jax.lax.conv_general_dilated(x, kernel, ...)`.

    Args:
        x: the value, laid out as `params["dimension_numbers"]` says.
        kernel: likewise.
        params: the parameters of the operation.

    Returns:
        The convolved value, laid out likewise.
    """
    numbers = params["dimension_numbers"]
    x = np.transpose(x, numbers.lhs_spec)
    kernel = np.transpose(kernel, numbers.rhs_spec)
    groups = int(params["feature_group_count"])
    x = _bordered(_spread(x, params["lhs_dilation"]), params["padding"])
    kernel = _spread(kernel, params["rhs_dilation"])
    spatial = tuple(range(2, x.ndim))
    views = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=spatial)
    steps = tuple(slice(None, None, int(s)) for s in params["window_strides"])
    views = views[(slice(None), slice(None), *steps)]
    count = len(spatial)
    parts = []
    for group in range(groups):
        inputs = slice(group * kernel.shape[1], (group + 1) * kernel.shape[1])
        width = kernel.shape[0] // groups
        outputs = slice(group * width, (group + 1) * width)
        window = tuple(range(2 + count, 2 + 2 * count))
        part = np.tensordot(views[:, inputs], kernel[outputs], ((1, *window), (1, *range(2, 2 + count))))
        parts.append(np.moveaxis(part, -1, 1))
    out = np.concatenate(parts, axis=1)
    return np.transpose(out, np.argsort(numbers.out_spec))


def length(size: int, taps: int, stride: int, low: int, high: int, spread: int, dilation: int) -> int:
    """How many places a kernel has along one axis.

    Args:
        size: entries of the value.
        taps: entries of the kernel.
        stride: steps from place to place.
        low: padding before.
        high: padding after.
        spread: distance of the value's entries.
        dilation: distance of the kernel's entries.
    """
    return ((size - 1) * spread + 1 + low + high - (taps - 1) * dilation - 1) // stride + 1


def _spread(x: Array, dilation: Sequence[int]) -> Array:
    """Zeros put between the entries of the spatial axes."""
    if all(d == 1 for d in dilation):
        return x
    shape = x.shape[:2] + tuple((n - 1) * int(d) + 1 for n, d in zip(x.shape[2:], dilation, strict=True))
    out = np.zeros(shape, x.dtype)
    out[(slice(None), slice(None), *[slice(None, None, int(d)) for d in dilation])] = x
    return out


def _bordered(x: Array, padding: Sequence[Sequence[int]]) -> Array:
    """Zeros around the spatial axes; entries cut off where the padding is negative."""
    widths = [(0, 0), (0, 0), *[(max(0, int(a)), max(0, int(b))) for a, b in padding]]
    x = np.pad(x, widths)
    cut = [slice(max(0, -int(a)), x.shape[i + 2] - max(0, -int(b))) for i, (a, b) in enumerate(padding)]
    return x[(slice(None), slice(None), *cut)]
