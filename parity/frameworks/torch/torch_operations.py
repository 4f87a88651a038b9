"""An aten operation as a dispatch mode meets it: its name, its arguments, what it writes to, its settings."""

from collections.abc import Mapping, Sequence

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

AtenOperation = OpOverload[..., object]
"""One overload of an operation, such as `torch.ops.aten.add.Tensor`, with its schema."""

Argument = (
    torch.Tensor
    | complex  # and with it bool, int and float
    | str
    | torch.dtype
    | torch.device
    | torch.layout
    | torch.memory_format
    | torch.Generator
    | None
    | Sequence["Argument"]
)
"""What the schema of an aten operation allows as an argument."""

UNWRITTEN = frozenset({"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"})
"""Operations whose result is whatever stood in memory; here they are zeros."""


class DispatchMode(TorchDispatchMode):
    """A dispatch mode that does not wake the compiler: importing it takes seconds."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


def bare_name(func: AtenOperation) -> str:
    """The name of an operation without its overload."""
    return func.__name__.partition(".")[0]


def tensors_in(tree: object) -> list[torch.Tensor]:
    """The tensors among the arguments or the results of an operation, in order."""
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def written_tensors(
    func: AtenOperation, args: Sequence[Argument], kwargs: Mapping[str, Argument]
) -> list[torch.Tensor]:
    """The tensors among the arguments that an operation writes to.

    Args:
        func: the operation.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    arguments = func._schema.arguments
    given = [
        *zip(arguments, args, strict=False),
        *((a, kwargs[a.name]) for a in arguments if a.name in kwargs),
    ]
    return tensors_in([value for a, value in given if a.alias_info is not None and a.alias_info.is_write])


def settings_of(
    func: AtenOperation, args: Sequence[Argument], kwargs: Mapping[str, Argument]
) -> dict[str, Argument]:
    """The arguments of an operation that are not tensors, by the names of its schema.

    Args:
        func: the operation.
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    named = {a.name: value for a, value in zip(func._schema.arguments, args, strict=False)}
    named |= kwargs
    return {name: value for name, value in named.items() if value is not None and not tensors_in(value)}
