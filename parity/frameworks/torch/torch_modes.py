"""What makes a PyTorch model hard to compare: random numbers, training mode, code that is compiled."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from parity.frameworks.outputs import name_outputs
from parity.trace.graph import Spot


def require_repeatable(forward: Callable[[], Any], random: Mapping[str, Spot]) -> None:
    """Check that two runs of a model give the same.

    Args:
        forward: runs the model.
        random: operations that draw random numbers and where they are, as a census finds them.

    Raises:
        ValueError: if two runs differ, naming where random numbers are drawn and what to do.
    """
    import torch

    if not random:
        return

    def run(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        return name_outputs(forward())

    first, second = run(1), run(2)
    if all(torch.equal(first[name], second[name]) for name in first):
        return
    where = ", ".join(
        f"{name} in {spot.module or 'the model'}" + (f" ({spot.file}:{spot.line})" if spot.file else "")
        for name, spot in random.items()
    )
    raise ValueError(
        f"the PyTorch model draws random numbers: {where}. Two runs differ, so nothing can be compared: call "
        "`model.eval()` if this is dropout, or give the random numbers as an input"
    )


def training_remarks(module: Any) -> tuple[str, ...]:
    """What to say of layers in training mode; `module` may be None."""
    if module is None or not module.training:
        return ()
    kinds = {type(m).__name__ for m in module.modules() if m.training}
    telling = sorted(k for k in kinds if "BatchNorm" in k or "Dropout" in k or "InstanceNorm" in k)
    if not telling:
        return ()
    return (f"the PyTorch model is in training mode ({', '.join(telling)}); for inference call model.eval()",)


def uncompiled() -> contextlib.AbstractContextManager[Any]:
    """Inside, code under `torch.compile` runs as it was written, where every operation can be seen.

    Compiled code shows no operation, and the compiler would try to compile the harness along with the model.
    """
    import torch

    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing the compiler takes seconds
        return contextlib.nullcontext()
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]


def compiled_remarks(model: Any) -> tuple[str, ...]:
    """What to say of a module or function under `torch.compile`."""
    compiler = sys.modules.get("torch._dynamo")
    modules = model.modules() if hasattr(model, "modules") else ()
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
