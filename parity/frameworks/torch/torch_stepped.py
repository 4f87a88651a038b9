"""A PyTorch loop's own step function, run from a copy of its state in any precision."""

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from parity.frameworks.nests import named_leaves, named_metrics, rebuilt
from parity.frameworks.stepping import Held, Made, StepFunction, stepping
from parity.frameworks.torch.torch_lift import lifting
from parity.frameworks.torch.torch_nest import cast, copied, named_slots, named_tensors, read, tensors_of
from parity.numerics.arrays import Arrays, to_torch
from parity.numerics.precision import running_torch

Step = Callable[[Any, Any], Any]
"""`step(state, batch) -> (state, metrics)`, or only metrics where it changes the state in place."""


class TorchSide:
    """The PyTorch side: a step function and the state that it starts from, which stays as it is.

    `draws` says whether a step has drawn random numbers.

    Args:
        step: the step function.
        state: the user's.
        batches: as the user gave them, for their form.
        seed: of the random numbers of each run.
    """

    framework = "PyTorch"

    def __init__(self, step: Step, state: Any, batches: Sequence[object], seed: int) -> None:
        self.function, self.batches, self.seed = step, batches, seed
        self.draws = False
        self.state = copied(state)  # what the user's own is compared with
        self._own = state

    def begin(self, dtype: str) -> "TorchStepped":
        """A run from a copy of the state.

        Args:
            dtype: name of a floating dtype.
        """
        state = copied(self.state)
        cast(state, getattr(torch, dtype))
        torch.manual_seed(self.seed)
        return TorchStepped(self, state, dtype)

    def put_back(self) -> str:
        """Make the user's own state as it was, where a step changed it in the place of its copy.

        Returns:
            The name of a tensor that was changed; "" if none was.
        """
        changed = ""
        with torch.no_grad():
            for name, (mine, kept) in _side_by_side(self._own, self.state).items():
                if mine.shape == kept.shape and not torch.equal(_bits(mine), _bits(kept)):
                    changed = changed or name
                    mine.data.copy_(kept.data)
        return changed


class TorchStepped:
    """One run. See `parity.frameworks.stepping.Stepped`.

    Args:
        side: whose step it makes.
        state: a copy, in the run's dtype.
        dtype: of the run.
    """

    def __init__(self, side: TorchSide, state: Any, dtype: str) -> None:
        self._side, self._state, self._dtype = side, state, dtype
        self._steps = 0

    def read(self) -> Mapping[str, Held]:
        """All values of the state, by name."""
        return read(self._state)

    def place(self, values: Arrays) -> None:
        """Put other values in the place of parameters, buffers, tensors and slots.

        Args:
            values: by name; slots that are not there yet are left out.
        """
        tensors = {**named_slots(self._state), **named_tensors(self._state)}
        with torch.no_grad():
            for name, value in values.items():
                if name in tensors:
                    tensors[name].data.copy_(to_torch(np.asarray(value), self._dtype))

    def step(self, batch: Arrays) -> dict[str, np.ndarray]:
        """Make one step.

        Args:
            batch: by name.

        Raises:
            TypeError: if the step returns something else than a state and metrics.
        """
        form = self._side.batches[self._steps]
        given = rebuilt(form, batch, lambda array: to_torch(array, self._dtype))
        before = torch.get_rng_state()
        lift = lifting(rounding=True) if self._dtype == "float64" else contextlib.nullcontext()
        with (
            warnings.catch_warnings(),
            running_torch(self._dtype),
            lift,
            torch.enable_grad(),
            stepping("PyTorch", self._steps, self._dtype),
        ):
            # That an optimiser's step was wrapped or came too late: it was copied, and it came.
            warnings.filterwarnings("ignore", message=".*optimizer.step.*")
            returned = self._side.function(self._state, given)
        self._side.draws |= not torch.equal(before, torch.get_rng_state())
        metrics = self._taken(returned)
        self._steps += 1
        try:
            return named_metrics(metrics)
        except TypeError as error:
            raise TypeError(f"PyTorch's step returned metrics that cannot be compared: {error}") from error

    def function(self) -> StepFunction:
        """The next step as a function that starts from the state as it is now, in float32's numbers.

        It is traced: what it copies its state by is not part of the step.
        """
        side, frozen, form = self._side, copied(self._state), self._side.batches[self._steps]
        cast(frozen, torch.float32)

        def made(weights: Mapping[str, torch.Tensor], batch: Mapping[str, torch.Tensor]) -> Made:
            dtype = next(iter(weights.values())).dtype
            with _disable_current_modes():
                run = TorchStepped(side, copied(frozen), str(dtype).removeprefix("torch."))
                cast(run._state, dtype)
                tensors = named_tensors(run._state)
            with torch.no_grad():
                for name, tensor in weights.items():
                    tensors[name].data.copy_(tensor)
            with torch.enable_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*optimizer.step.*")
                metrics = run._taken(side.function(run._state, rebuilt(form, batch, lambda array: array)))
            return Made(
                {n: v.detach() for n, v in named_leaves(metrics) if isinstance(v, torch.Tensor)},
                {
                    name: tensor.detach()
                    for name, tensor in {**named_tensors(run._state), **named_slots(run._state)}.items()
                },
            )

        return made

    def _taken(self, returned: Any) -> Any:
        """The metrics; the state that came with them is the next one."""
        if returned is None:
            raise TypeError(
                "PyTorch's step returned None; it must return (state, metrics), or only metrics where it "
                "changes the state in place ({} if there are none)"
            )
        if not isinstance(returned, tuple):
            return returned
        if len(returned) != 2:
            raise TypeError(
                f"PyTorch's step returned {len(returned)} values; it must return (state, metrics), or only "
                "metrics where it changes the state in place"
            )
        state, metrics = returned
        before, after = named_tensors(self._state), named_tensors(state)
        if lost := [name for name in before if name not in after]:
            more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
            raise TypeError(
                f"PyTorch's step returned a state without {lost[0]}{more}; it must have the form of the "
                "one that it was given"
            )
        self._state = state
        return metrics


def _side_by_side(one: Any, other: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The tensors of a state and of a copy of it."""
    names = {id(tensor): name for name, tensor in named_tensors(one).items()}
    pairs = zip(tensors_of(one), tensors_of(other), strict=False)
    return {names.get(id(a), f"a tensor of the optimiser ({n})"): (a, b) for n, (a, b) in enumerate(pairs)}


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor, with NaN equal to itself."""
    found = tensor.detach()
    return torch.nan_to_num(found) if found.is_floating_point() else found
