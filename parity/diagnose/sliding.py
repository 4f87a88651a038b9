"""A reduction over sliding windows in NumPy, with all settings of LAX's: a trial needs no framework."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from parity.diagnose.targets import Array

REDUCERS: Mapping[str, tuple[Callable[..., Array], float]] = {
    "max": (np.max, -np.inf),
    "min": (np.min, np.inf),
    "sum": (np.sum, 0.0),
}
"""How a window is reduced, and what stands outside the value, by the reduction's name."""


def reduce_windows(
    x: Array,
    kind: str,
    *,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[Sequence[int]],
    base_dilation: Sequence[int],
    window_dilation: Sequence[int],
) -> Array:
    """`jax.lax.reduce_window(x, ...)`.

    Args:
        x: the value; every setting has one entry per axis of it.
        kind: "max", "min" or "sum".
        window: taps along each axis.
        strides: steps along each axis.
        padding: (before, after) along each axis; negative ones cut entries off.
        base_dilation: distance of neighbouring entries of `x`.
        window_dilation: distance of neighbouring taps.

    Returns:
        The reduced value, in the dtype of `x`.

    Raises:
        ValueError: if the window is longer than the padded value.

    >>> line = np.array([1.0, 3.0, 2.0])
    >>> ones = {"strides": (1,), "base_dilation": (1,), "window_dilation": (1,)}
    >>> reduce_windows(line, "max", window=(2,), padding=((0, 1),), **ones).tolist()
    [3.0, 3.0, 2.0]
    """
    reduce, outside = REDUCERS[kind]
    if x.dtype.kind in "iu" and not np.isfinite(outside):
        limits = np.iinfo(x.dtype)
        outside = limits.min if kind == "max" else limits.max
    x = _bordered(_spread(x, base_dilation, outside), padding, outside)
    spans = [(int(n) - 1) * int(d) + 1 for n, d in zip(window, window_dilation, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(x, spans)
    places = [slice(None, None, int(step)) for step in strides]
    taps = [slice(None, None, int(step)) for step in window_dilation]
    return np.asarray(reduce(views[(*places, *taps)], axis=tuple(range(x.ndim, 2 * x.ndim))), x.dtype)


def _spread(x: Array, dilation: Sequence[int], outside: float) -> Array:
    """`outside` put between the entries."""
    if all(d == 1 for d in dilation):
        return x
    shape = [(n - 1) * int(d) + 1 for n, d in zip(x.shape, dilation, strict=True)]
    out = np.full(shape, outside, x.dtype)
    out[tuple(slice(None, None, int(d)) for d in dilation)] = x
    return out


def _bordered(x: Array, padding: Sequence[Sequence[int]], outside: float) -> Array:
    """`outside` around the value; entries cut off where the padding is negative."""
    widths = [(max(0, int(low)), max(0, int(high))) for low, high in padding]
    x = np.pad(x, widths, constant_values=outside)
    cuts = [(max(0, -int(low)), max(0, -int(high))) for low, high in padding]
    return x[tuple(slice(low, n - high) for n, (low, high) in zip(x.shape, cuts, strict=True))]
