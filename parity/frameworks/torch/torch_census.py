"""What a PyTorch model meets on its way: narrow dtypes, and random numbers, by which runs differ."""

from collections.abc import Callable, Mapping, Sequence

import torch

from parity.frameworks.kept_state import KeptState
from parity.frameworks.outputs import name_outputs
from parity.frameworks.repeating import first_to_part, seeded, unrepeatable
from parity.frameworks.torch.torch_lift import ROUNDED
from parity.frameworks.torch.torch_operations import (
    Argument,
    AtenOperation,
    DispatchMode,
    bare_name,
    tensors_in,
)
from parity.frameworks.torch.torch_places import here
from parity.numerics.arrays import Arrays, to_numpy
from parity.trace.graph import Spot
from parity.trace.vocabulary import CARRYING


class Counter(DispatchMode):
    """What a model runs: how much, the dtypes it holds values in, and where it draws random numbers."""

    def __init__(self, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.stack = stack
        self.count: int = 0
        self.narrow: dict[str, Spot] = {}
        self.random: dict[str, Spot] = {}
        self.computed: set[str] = set()

    def __torch_dispatch__(
        self,
        func: AtenOperation,
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: Mapping[str, Argument] | None = None,
    ) -> object:
        out = func(*args, **(kwargs or {}))
        self.count += 1
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.random.setdefault(bare_name(func), here(self.stack))
        for tensor in tensors_in(out):
            if tensor.dtype in ROUNDED:
                dtype = str(tensor.dtype).removeprefix("torch.")
                self.narrow.setdefault(dtype, here(self.stack))
                if bare_name(func) not in CARRYING:
                    self.computed.add(dtype)
        return out


def require_repeatable(forward: Callable[[], object], state: KeptState, random: Mapping[str, Spot]) -> None:
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
