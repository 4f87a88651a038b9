"""A context of PyTorch's, `torch.autocast`, in which a training loop computes a module and its loss."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def within(context: Any, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is computed in a context; itself where there is none.

    Args:
        context: entered anew at each call.
        function: what to compute.
    """
    if context is None:
        return function

    @functools.wraps(function)
    def computed(*args: Any, **kwargs: Any) -> Any:
        with context:
            return function(*args, **kwargs)

    return computed


@contextlib.contextmanager
def module_within(context: Any, module: "torch.nn.Module") -> Iterator[None]:
    """Inside, a module computes its forward pass in a context; behind it the module is as it was.

    Args:
        context: entered anew at each call; None changes nothing.
        module: of PyTorch.

    Raises:
        TypeError: if it is no context of `torch.autocast`.
    """
    import torch

    if context is None:
        yield
        return
    if not isinstance(context, torch.autocast):
        raise TypeError(
            f"`autocast` is a {type(context).__name__}; it must be a context such as "
            "torch.autocast('cpu', dtype=torch.bfloat16)"
        )
    before = vars(module).get("forward")
    module.forward = within(context, module.forward)
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before
