"""Aten's operations as functions of NumPy arrays, for what has no translation to LAX."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Shaped
from torch.utils._pytree import tree_flatten, tree_unflatten

from parity.frameworks.torch.torch_memory import as_array, layout_of
from parity.frameworks.torch.torch_operations import Argument, AtenOperation, tensors_in, written_tensors
from parity.trace.graph import Function

Array = Shaped[np.ndarray, "..."]


def always(values: Sequence[Array]) -> Function:
    """A function that gives these values whatever it is given: what was drawn stays drawn."""
    kept = [np.array(value) for value in values]
    return lambda _: kept


class _Like(NamedTuple):
    """A tensor among the arguments of an operation, and how it lies in memory."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def holding(self, value: Array) -> torch.Tensor:
        """A new tensor of this kind with a value; in the order of memory, if the value has its shape."""
        tensor = torch.from_numpy(np.array(value)).to(self.device, self.dtype)
        if tuple(tensor.shape) != self.shape or 0 in self.stride:
            return tensor
        return torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device=self.device).copy_(
            tensor
        )


def repeated(
    func: AtenOperation, args: Sequence[Argument], kwargs: Mapping[str, Argument], made: Sequence[Array]
) -> Function:
    """An aten operation as a function from its tensors' values to what it writes and returns.

    Its results have the dtypes of what it made when it was recorded: then PyTorch's default was float64.

    Args:
        func: the operation.
        args: its positional arguments; tensors among them stand for the values to come.
        kwargs: its keyword arguments.
        made: what it wrote and returned when it was recorded.
    """
    dtypes = [value.dtype for value in made]
    leaves, tree = tree_flatten((args, dict(kwargs)))
    held: list[Argument | _Like] = [
        _Like(tuple(x.shape), tuple(x.stride()), x.dtype, x.device) if isinstance(x, torch.Tensor) else x
        for x in leaves
    ]

    def function(values: Sequence[Array]) -> list[Array]:
        left = iter(values)
        filled = [x.holding(next(left)) if isinstance(x, _Like) else x for x in held]
        new_args, new_kwargs = tree_unflatten(filled, tree)
        targets = written_tensors(func, new_args, new_kwargs)
        with torch.no_grad():
            out = func(*new_args, **new_kwargs)
        places = {layout_of(tensor) for tensor in targets}
        results = [*targets, *(r for r in tensors_in(out) if layout_of(r) not in places)]
        return [as_array(t).astype(dtype) for t, dtype in zip(results, dtypes, strict=True)]

    return function
