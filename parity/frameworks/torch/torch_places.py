"""Where a PyTorch operation was called: the module, and the line of the model's author.

A function mode sits above autograd and notes the place of each operation also for its gradient. Hooks on
modules alone would miss functional code.
"""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from parity.frameworks.authors import is_framework
from parity.trace.graph import Spot

SHAPED = re.compile("_like$|^new_")
"""Functions that read the shape of a tensor and not its numbers: there is no gradient to stop."""


class Where(TorchFunctionMode):
    """Notes the author's line of every operation on its gradient's nodes, and where a gradient is stopped."""

    def __init__(self, stack: list[str], stopped: Callable[[str, torch.Tensor, Spot], None]) -> None:
        """Begin to note.

        Args:
            stack: paths of the modules that are running, the innermost last.
            stopped: takes what stops a gradient, the value that it is stopped at, and where.
        """
        super().__init__()
        self.stack, self.stopped, self.differentiates = stack, stopped, False

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if not isinstance(leaf, torch.Tensor):
                continue
            if leaf.grad_fn is not None:
                self.differentiates = True
                self._mark(leaf.grad_fn, here(self.stack))
            elif leaf.is_floating_point() and not leaf.requires_grad and self._stops(args):
                name = getattr(func, "__name__", str(func))
                if not SHAPED.search(name):
                    self.stopped(name, leaf, here(self.stack))
        return out

    def _stops(self, args: Sequence[object]) -> bool:
        """Whether an operation whose result needs no gradient stops one."""
        if self.differentiates and not torch.is_grad_enabled():
            return True
        return any(isinstance(leaf, torch.Tensor) and leaf.requires_grad for leaf in tree_leaves(args))

    @staticmethod
    def _mark(node: Node, spot: Spot) -> None:
        waiting: list[Node | None] = [node]
        while waiting:
            following = waiting.pop()
            if following is None or "parity" in _notes(following) or "AccumulateGrad" in following.name():
                continue
            _notes(following)["parity"] = spot
            waiting += [producer for producer, _ in following.next_functions]


def _notes(node: Node) -> dict[str, Spot]:
    """What can be noted on a node of the gradient's graph."""
    metadata: Any = node.metadata  # a property, though PyTorch's own class declares a method
    notes: dict[str, Spot] = metadata
    return notes


def spot_of_gradient() -> Spot | None:
    """Where the operation was called whose gradient is being computed; None in a forward pass."""
    running: Node | None = torch._C._current_autograd_node()
    return None if running is None else _notes(running).get("parity", Spot())


ENTRY = os.path.join("parity", "frameworks", "torch", "torch_program.py")
"""The file from which models are called."""


def here(stack: list[str]) -> Spot:
    """The innermost module and the innermost line of the model's author."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith(ENTRY):  # what lies above is who called the check
            break
        if not is_framework(frame.f_code.co_filename):
            return Spot(stack[-1] if stack else "", frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return Spot(stack[-1] if stack else "")


def written_name(name: str) -> str:
    """A module's path in the code as it was written: without the wrappers of `torch.compile`."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def layers_of(model: torch.nn.Module | None) -> dict[str, str]:
    """What each module is: its class, and the settings of a library's.

    >>> layers_of(torch.nn.Sequential(torch.nn.GELU()))
    {'': 'Sequential', '0': "GELU(approximate='none')"}

    Args:
        model: the model; None where a function has none.

    Returns:
        By the module's path.
    """
    modules = model.named_modules() if model is not None else ()
    return {written_name(name): _in_words(module) for name, module in modules}


def _in_words(module: torch.nn.Module) -> str:
    """A module's class; with its settings where these are the library's to tell, in one line."""
    name = type(module).__name__
    if not type(module).__module__.startswith("torch."):
        return name
    settings = " ".join(module.extra_repr().split())
    return f"{name}({settings})" if settings else name


@contextlib.contextmanager
def module_stack(model: torch.nn.Module | None) -> Iterator[list[str]]:
    """The names of the modules whose forward is running, innermost last; through hooks on no module."""
    stack: list[str] = []
    modules = model.named_modules() if model is not None else ()
    names = {id(module): written_name(name) for name, module in modules}
    hooks = torch.nn.modules.module

    def enter(module: torch.nn.Module, args: object) -> None:
        stack.append(names.get(id(module), stack[-1] if stack else ""))

    def leave(module: torch.nn.Module, args: object, out: object) -> None:
        if stack:
            stack.pop()

    handles = [
        hooks.register_module_forward_pre_hook(enter),
        hooks.register_module_forward_hook(leave, always_call=True),
    ]
    try:
        with warnings.catch_warnings():
            # Compiled modules warn of hooks on all modules; these do nothing that the user could see.
            warnings.filterwarnings("ignore", "Using `torch.compile.module.` when there are global hooks")
            yield stack
    finally:
        for handle in handles:
            handle.remove()
