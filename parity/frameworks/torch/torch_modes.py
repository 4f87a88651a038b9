"""What makes a PyTorch model hard to compare: random numbers, training mode, code that is compiled."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from parity.frameworks.kept_state import KeptState
from parity.frameworks.outputs import name_outputs
from parity.frameworks.repeating import first_to_part, seeded, unrepeatable
from parity.numerics.arrays import Arrays, to_numpy
from parity.trace.graph import Spot


def require_repeatable(forward: Callable[[], Any], state: KeptState, random: Mapping[str, Spot]) -> None:
    """Check that two runs of a model, one after the other, give the same.

    Args:
        forward: runs the model in float64.
        state: what the model may change; it is put back only after the second run.
        random: operations that draw random numbers and where they are, as a census finds them.

    Raises:
        ValueError: if two runs differ, naming the output, the reason and what to do.
    """

    def run(seed: int) -> Arrays:
        with seeded(seed):
            return {name: to_numpy(value) for name, value in name_outputs(forward()).items()}

    with state.restored():
        first, second = run(1), run(2)
    parting = first_to_part(first, second)
    if parting is not None:
        changes_itself = first_to_part(first, run(2)) is None  # from the same state all is well
        raise ValueError(unrepeatable("PyTorch", parting, random, changes_itself))


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
