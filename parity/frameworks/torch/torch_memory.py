"""A tensor's memory: which it is, how the tensor lies there, and the same values as a NumPy array."""

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.torch_unread import UnreadTensor

Array = Shaped[np.ndarray, "..."]


class MemoryLayout(NamedTuple):
    """What tells a tensor from others: its memory and how it lies there.

    Attributes:
        storage: address of its memory.
        shape: entries along each axis.
        strides: distance of neighbours along each axis, in entries.
        offset: where its first entry stands, in entries.
        dtype: PyTorch's dtype.
        turned: whether it is read conjugated, and negated.
    """

    storage: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    turned: tuple[bool, bool] = (False, False)


def storage_of(tensor: torch.Tensor) -> int:
    """The address of a tensor's memory; of one that is not in memory, a negative number of its own."""
    if isinstance(tensor, UnreadTensor):
        return -id(tensor)
    return int(tensor.untyped_storage().data_ptr())


def layout_of(tensor: torch.Tensor) -> MemoryLayout:
    """The layout in memory of a tensor."""
    return MemoryLayout(
        storage_of(tensor),
        tuple(tensor.shape),
        tuple(tensor.stride()),
        int(tensor.storage_offset()),
        tensor.dtype,
        (tensor.is_conj(), tensor.is_neg()),
    )


@functools.cache
def dtype_of(dtype: torch.dtype) -> "np.dtype[np.generic]":
    """NumPy's dtype in which a tensor's values are held; float32 for those that NumPy lacks."""
    return as_array(torch.empty(0, dtype=dtype)).dtype


def as_array(tensor: torch.Tensor) -> Array:
    """A tensor's values, sharing its memory where it lies on the CPU."""
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.numpy(force=True))
