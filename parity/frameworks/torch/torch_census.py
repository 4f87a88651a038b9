"""What a PyTorch model meets on its way: narrow dtypes, and random numbers, by which runs differ."""

from collections.abc import Callable, Mapping, Sequence

import torch

from parity.frameworks.outputs import name_outputs
from parity.frameworks.torch.torch_operations import (
    Argument,
    AtenOperation,
    DispatchMode,
    bare_name,
    tensors_in,
)
from parity.frameworks.torch.torch_places import here
from parity.trace.graph import Spot


class Counter(DispatchMode):
    """What a model runs: the dtypes it holds values in, and where it draws random numbers."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack = stack
        self.narrow: dict[str, Spot] = {}
        self.random: dict[str, Spot] = {}

    def __torch_dispatch__(
        self,
        func: AtenOperation,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.setdefault(bare_name(func), here(self.stack))
        for tensor in tensors_in(out):
            if tensor.dtype in (torch.bfloat16, torch.float16):
                self.narrow.setdefault(str(tensor.dtype).removeprefix("torch."), here(self.stack))
        return out


def require_repeatable(forward: Callable[[], object], random: Mapping[str, Spot]) -> None:
    """Check that two runs of a model give the same.

    Args:
        forward: runs the model.
        random: operations that draw random numbers and where they are, as a census finds them.

    Raises:
        ValueError: if two runs differ, naming where random numbers are drawn and what to do.
    """
    if not random:
        return

    def run(seed: int) -> dict[str, torch.Tensor]:
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
