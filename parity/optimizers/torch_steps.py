"""A PyTorch optimiser that steps over weights by name, away from the model it was built for."""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from parity.numerics.arrays import Arrays, to_numpy, to_torch
from parity.numerics.precision import running_torch

Prepare = Callable[[list[torch.nn.Parameter]], object]
"""What happens between the gradients and the step: `clip_grad_norm_` and its like, in place."""


class TorchSteps:
    """A copy of an optimiser, with its scheduler, over parameters of its own.

    The user's optimiser, its state and its parameters stay as they are; a state that it has already is where
    the copy begins.

    Args:
        optimizer: as configured, over parameters of the model.
        scheduler: over that optimiser, or None.
        names: of its parameters, by their `id`.
        weights: to begin with, by name.
        dtype: of the parameters.
        prepare: called with the parameters before each step, or None.
        updates_per_step: updates for one step of the scheduler.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scheduler: Any,
        names: Mapping[int, str],
        weights: Arrays,
        dtype: str,
        prepare: Prepare | None = None,
        updates_per_step: int = 1,
    ) -> None:
        held = [p for group in optimizer.param_groups for p in group["params"]]
        self._parameters = {
            names[id(p)]: torch.nn.Parameter(
                to_torch(np.asarray(weights[names[id(p)]]), dtype), requires_grad=p.requires_grad
            )
            for p in held
            if id(p) in names
        }
        memo: dict[int, Any] = {id(p): self._parameters[names[id(p)]] for p in held if id(p) in names}
        self._optimizer, self._scheduler = copy.deepcopy((optimizer, scheduler), memo)
        # A scheduler wraps the step of its optimiser, bound to that one: the copy must not step the user's.
        self._optimizer.__dict__.pop("step", None)
        for state in self._optimizer.state.values():
            for slot, value in state.items():
                if isinstance(value, torch.Tensor) and value.is_floating_point() and slot != "step":
                    state[slot] = value.to(getattr(torch, dtype))
        self._dtype, self._prepare = dtype, prepare
        self._updates_per_step = updates_per_step
        self._updates = 0

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name, floating ones in float64."""
        return {name: to_numpy(p.detach()) for name, p in self._parameters.items()}

    @property
    def rates(self) -> dict[str, float]:
        """The learning rate that the next step takes, by the name of the parameter."""
        own = {id(p): name for name, p in self._parameters.items()}
        return {
            own[id(p)]: float(group["lr"])
            for group in self._optimizer.param_groups
            for p in group["params"]
            if id(p) in own
        }

    @property
    def slots(self) -> dict[str, np.ndarray]:
        """The state after the last step: "name.slot" -> array; counts of steps are left out."""
        return {
            f"{name}.{slot}": to_numpy(value)
            for name, p in self._parameters.items()
            for slot, value in self._optimizer.state.get(p, {}).items()
            if isinstance(value, torch.Tensor) and slot != "step"
        }

    def place(self, weights: Arrays) -> None:
        """Put other weights in the place of the parameters; the state of the optimiser stays.

        Args:
            weights: by name.
        """
        with torch.no_grad():
            for name, p in self._parameters.items():
                p.copy_(to_torch(np.asarray(weights[name]), self._dtype))

    def step(self, grads: Arrays) -> dict[str, np.ndarray]:
        """Make one step.

        Args:
            grads: by the names of the parameters; one that is missing has none.

        Returns:
            The gradients that the optimiser was given: after clipping.
        """
        for name, p in self._parameters.items():
            given = grads.get(name) if p.requires_grad else None
            p.grad = None if given is None else to_torch(np.asarray(given), self._dtype)
        if self._prepare is not None:
            self._prepare([p for p in self._parameters.values() if p.grad is not None])
        used = {n: to_numpy(p.grad) for n, p in self._parameters.items() if p.grad is not None}
        with running_torch(self._dtype):  # numbers that an optimiser keeps in the default dtype
            self._optimizer.step()
        self._updates += 1
        if self._scheduler is not None and self._updates % self._updates_per_step == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the optimiser had not stepped, which it had
                self._scheduler.step()
        return used
