"""Weights as tensors without numbers: each operation reads those that it uses, and lets them go."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map

from parity.frameworks.torch.torch_operations import Argument, AtenOperation, bare_name, written_tensors
from parity.numerics.arrays import Arrays, dtype_in_run, to_torch
from parity.numerics.unread import Unread, UnreadArrays


class UnreadTensor(torch.Tensor):
    """A tensor that has shape, dtype and device, and is read by every operation that takes it.

    To the model's code it is a tensor like any other. What an operation gives is an ordinary tensor.
    """

    weight: str
    read: Callable[[], torch.Tensor]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(
        cls,
        name: str,
        shape: Sequence[int],
        dtype: torch.dtype,
        device: str,
        read: Callable[[], torch.Tensor],
    ) -> "UnreadTensor":
        """A tensor of this shape.

        Args:
            cls: the class.
            name: of the weight, for messages.
            shape: of what `read` gives.
            dtype: likewise.
            device: likewise.
            read: gives the tensor itself.
        """
        made = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=torch.device(device))
        made.weight, made.read = name, read
        return made

    def __init__(self, *args: object) -> None:
        """Everything is done by `__new__`."""

    def __repr__(self) -> str:  # type: ignore[override]
        """Its name, not its numbers."""
        return f"UnreadTensor({self.weight}, {tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: AtenOperation,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> object:
        """Read the weights among the arguments, and run the operation.

        Raises:
            ValueError: if the operation writes to one: what is read is not kept.
        """
        written = [t.weight for t in written_tensors(func, args, kwargs or {}) if isinstance(t, UnreadTensor)]
        if written:
            raise ValueError(
                f"the model writes to its weights {', '.join(written)} in its forward pass "
                f"({bare_name(func)}); that cannot be recorded with `stream`, which reads weights at each "
                "use: record it without, or call model.eval() if these are statistics"
            )
        given = tree_map(_as_read, (args, dict(kwargs or {})))
        return func(*given[0], **given[1])


def _as_read(value: Any) -> Any:
    return value.read() if isinstance(value, UnreadTensor) else value


def weights_as_tensors(arrays: Arrays, dtypes: Mapping[str, str], device: str) -> dict[str, torch.Tensor]:
    """Weights as tensors; unread ones as tensors that are read at each use.

    Args:
        arrays: by name.
        dtypes: the dtype of each.
        device: "cpu" or "cuda".
    """
    if not isinstance(arrays, UnreadArrays):
        return {name: to_torch(array, dtypes[name], device) for name, array in arrays.items()}

    def unread(name: str, array: Unread) -> torch.Tensor:
        dtype = dtype_in_run(np.zeros((), array.dtype), dtypes[name])
        read = functools.partial(_read, array, dtypes[name], device)
        return UnreadTensor(name, array.shape, getattr(torch, dtype), device, read)

    return {name: unread(name, array) for name, array in arrays.unread.items()}


def _read(array: Unread, dtype: str, device: str) -> torch.Tensor:
    return to_torch(array.read(), dtype, device)
