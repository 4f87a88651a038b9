"""The modes of a PyTorch model that matter to a comparison: training mode, and code that is compiled."""

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def training_remarks(module: "torch.nn.Module | None", *, drawing: bool = False) -> tuple[str, ...]:
    """What to say of layers in training mode.

    Args:
        module: the module; None of a function.
        drawing: whether its random draws are shared: then dropout is compared as it is.
    """
    if module is None or not module.training:
        return ()
    kinds = {type(m).__name__ for m in module.modules() if m.training}
    words = ("BatchNorm", "InstanceNorm") if drawing else ("BatchNorm", "Dropout", "InstanceNorm")
    telling = sorted(kind for kind in kinds if any(word in kind for word in words))
    if not telling:
        return ()
    return (f"the PyTorch model is in training mode ({', '.join(telling)}); for inference call model.eval()",)


def uncompiled() -> contextlib.AbstractContextManager[object]:
    """Inside, code under `torch.compile` runs as it was written, where every operation can be seen.

    Compiled code shows no operation, and the compiler would try to compile the harness along with the model.
    """
    import torch

    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def compiled_remarks(model: "torch.nn.Module | Callable[..., object]") -> tuple[str, ...]:
    """What to say of a module or function under `torch.compile`."""
    import torch

    compiler = sys.modules.get("torch._dynamo")
    modules = model.modules() if isinstance(model, torch.nn.Module) else ()
    compiled = compiler is not None and (
        hasattr(model, "_torchdynamo_orig_callable")
        or any(isinstance(m, compiler.OptimizedModule) or m._compiled_call_impl is not None for m in modules)
    )
    if not compiled:
        return ()
    return (
        "the PyTorch model is compiled: the compiled code runs in float32 and narrower dtypes; in float64, "
        "and where a place is looked for, the same code runs uncompiled",
    )
