"""What a PyTorch model does that makes it hard to compare: random numbers, layers in training mode."""

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
