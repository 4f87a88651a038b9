"""Tensors over the same memory: what they have in common, and what one holds after another was written."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from parity.frameworks.torch.torch_memory import MemoryLayout, dtype_of
from parity.trace.graph import Function

Array = Shaped[np.ndarray, "..."]


def _bytes_behind(layout: MemoryLayout) -> int:
    if 0 in layout.shape:
        return 0
    steps = zip(layout.shape, layout.strides, strict=True)
    return int((layout.offset + sum((n - 1) * s for n, s in steps) + 1) * layout.dtype.itemsize)


def _view(memory: Array, layout: MemoryLayout, dtype: DTypeLike) -> Array:
    """The entries of a tensor in memory given as bytes."""
    size = layout.dtype.itemsize
    if np.dtype(dtype).itemsize != size:
        raise ValueError(f"`dtype` is {dtype}; it must have the {size} bytes of {layout.dtype}")
    return np.ndarray(
        layout.shape, dtype, memory.data, layout.offset * size, [s * size for s in layout.strides]
    )


def overlap(read: MemoryLayout, written: MemoryLayout) -> str:
    """What a tensor has of the memory of another that was written.

    Returns:
        "none", "some" or "all" of its bytes, or "same" if both hold the same entries in the same order.

    Args:
        read: layout in memory of the tensor that is looked at.
        written: layout of the tensor over the same memory that was written.
    """
    if 0 in read.shape or 0 in written.shape:
        return "none"
    size = max(_bytes_behind(read), _bytes_behind(written))
    if read.dtype == written.dtype:
        places = np.arange(-(-size // read.dtype.itemsize))
        first, second = (_view(places.view(np.uint8), _in_words(x), np.int64) for x in (read, written))
        if first.size == second.size and np.array_equal(first.reshape(-1), second.reshape(-1)):
            return "same"
    marks = np.zeros(size, np.uint8)
    _each_byte(marks, written)[...] = 1
    found = _each_byte(marks, read)
    return "all" if found.all() else "some" if found.any() else "none"


def _in_words(layout: MemoryLayout) -> MemoryLayout:
    """The same places in memory that holds an int64 for each entry."""
    return layout._replace(dtype=torch.int64)


def _each_byte(memory: Array, layout: MemoryLayout) -> Array:
    size = layout.dtype.itemsize
    strides = [*(s * size for s in layout.strides), 1]
    return np.ndarray((*layout.shape, size), np.uint8, memory.data, layout.offset * size, strides)


def rebuilt(read: MemoryLayout, written: MemoryLayout) -> Function:
    """What a tensor holds after another over the same memory was written.

    Returns:
        A function of its old value and what was written, or of the latter alone if that covers it.

    Args:
        read: layout in memory of the tensor that is looked at.
        written: layout of the tensor over the same memory that was written.
    """
    size = max(_bytes_behind(read), _bytes_behind(written))

    def function(values: Sequence[Array]) -> list[Array]:
        *old, new = (np.asarray(value) for value in values)
        memory = np.zeros(size, np.uint8)
        dtype = old[0].dtype if old else dtype_of(read.dtype)
        for value in old:
            _view(memory, read, value.dtype)[...] = value
        _view(memory, written, new.dtype)[...] = new
        return [_view(memory, read, dtype).copy()]

    return function
