"""Tensors over the same memory: what they have in common, and what one holds after another was written."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Shaped

from parity.trace.graph import Function

Array = Shaped[np.ndarray, "..."]

Layout = tuple[int, tuple[int, ...], tuple[int, ...], int, Any, Any]
"""Address, shape, strides and offset in entries, PyTorch's dtype; whether it is conjugated, negated."""


def _bytes_behind(layout: Layout) -> int:
    _, shape, strides, offset, dtype, _ = layout
    if 0 in shape:
        return 0
    return int((offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) + 1) * dtype.itemsize)


def _view(memory: Array, layout: Layout, dtype: Any) -> Array:
    """The entries of a tensor in memory given as bytes."""
    _, shape, strides, offset, torch_dtype, _ = layout
    size = torch_dtype.itemsize
    if np.dtype(dtype).itemsize != size:
        raise ValueError(f"`dtype` is {dtype}; it must have the {size} bytes of {torch_dtype}")
    return np.ndarray(shape, dtype, memory.data, offset * size, [s * size for s in strides])


def overlap(read: Layout, written: Layout) -> str:
    """What a tensor has of the memory of another that was written.

    Returns:
        "none", "some" or "all" of its bytes, or "same" if both hold the same entries in the same order.

    Args:
        read: layout in memory of the tensor that is looked at.
        written: layout of the tensor over the same memory that was written.
    """
    if 0 in read[1] or 0 in written[1]:
        return "none"
    size = max(_bytes_behind(read), _bytes_behind(written))
    if read[4] == written[4]:
        places = np.arange(-(-size // read[4].itemsize))
        first, second = (_view(places.view(np.uint8), _in_words(x), np.int64) for x in (read, written))
        if first.size == second.size and np.array_equal(first.reshape(-1), second.reshape(-1)):
            return "same"
    marks = np.zeros(size, np.uint8)
    _each_byte(marks, written)[...] = 1
    found = _each_byte(marks, read)
    return "all" if found.all() else "some" if found.any() else "none"


class _Word:
    """The dtype of places in memory, counted in entries."""

    itemsize = 8


def _in_words(layout: Layout) -> Layout:
    return (*layout[:4], _Word, layout[5])


def _each_byte(memory: Array, layout: Layout) -> Array:
    _, shape, strides, offset, dtype, _ = layout
    size = dtype.itemsize
    return np.ndarray((*shape, size), np.uint8, memory.data, offset * size, [*(s * size for s in strides), 1])


def rebuilt(read: Layout, written: Layout) -> Function:
    """What a tensor holds after another over the same memory was written.

    Returns:
        A function of its old value and what was written, or of the latter alone if that covers it.

    Args:
        read: layout in memory of the tensor that is looked at.
        written: layout of the tensor over the same memory that was written.
    """
    size = max(_bytes_behind(read), _bytes_behind(written))

    def function(values: Sequence[Any]) -> Sequence[Any]:
        *old, new = (np.asarray(value) for value in values)
        memory = np.zeros(size, np.uint8)
        dtype = old[0].dtype if old else _numpy_dtype(read[4])
        for value in old:
            _view(memory, read, value.dtype)[...] = value
        _view(memory, written, new.dtype)[...] = new
        return [_view(memory, read, dtype).copy()]

    return function


def _numpy_dtype(dtype: Any) -> "np.dtype[Any]":
    from parity.frameworks.torch.torch_tape import dtype_of

    return dtype_of(dtype)
