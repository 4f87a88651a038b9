"""A PyTorch optimiser that steps over weights by name, away from the model it was built for."""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

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
        accumulate: batches whose gradients are averaged for one update.
        average: of the weights, or None; it begins anew.
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
        accumulate: int = 1,
        average: AveragedModel | None = None,
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
        self._updates, self._batches, self._accumulate = 0, 0, accumulate
        self._gathered: dict[str, np.ndarray] = {}
        self._held = torch.nn.ParameterList(self._parameters.values())
        self._average = None if average is None else averaging_like(average, self._held)

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The parameters by name, floating ones in float64."""
        return {name: to_numpy(p.detach()) for name, p in self._parameters.items()}

    @property
    def averages(self) -> dict[str, np.ndarray]:
        """The averaged parameters by name, floating ones in float64; empty where none are kept."""
        if self._average is None:
            return {}
        averaged = self._average.module.parameters()
        return {name: to_numpy(p.detach()) for name, p in zip(self._parameters, averaged, strict=True)}

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
            weights: by name; a parameter without one stays as it is.
        """
        with torch.no_grad():
            for name, p in self._parameters.items():
                if name in weights:
                    p.copy_(to_torch(np.asarray(weights[name]), self._dtype))

    def step(self, grads: Arrays, loss: float) -> dict[str, np.ndarray]:
        """Take the gradients of a batch, and make a step when there are enough of them.

        Args:
            grads: by the names of the parameters; one that is missing has none.
            loss: of the batch: what a scheduler that follows a metric is given.

        Returns:
            The gradients that the optimiser was given: averaged, after clipping; nothing without a step.
        """
        self._batches += 1
        for name, grad in grads.items():
            share = grad / self._accumulate
            held = self._gathered.get(name)
            self._gathered[name] = share if held is None else held + share
        if self._batches % self._accumulate:
            return {}
        gathered, self._gathered = self._gathered, {}
        for name, p in self._parameters.items():
            given = gathered.get(name) if p.requires_grad else None
            p.grad = None if given is None else to_torch(np.asarray(given), self._dtype)
        if self._prepare is not None:
            self._prepare([p for p in self._parameters.values() if p.grad is not None])
        used = {n: to_numpy(p.grad) for n, p in self._parameters.items() if p.grad is not None}
        with running_torch(self._dtype):  # numbers that an optimiser keeps in the default dtype
            self._optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self._held)
        self._updates += 1
        if self._scheduler is not None and self._updates % self._updates_per_step == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the optimiser had not stepped, which it had
                follows = isinstance(self._scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                self._scheduler.step(*((loss,) if follows else ()))
        return used


def averaging_like(average: AveragedModel, held: torch.nn.ParameterList) -> AveragedModel:
    """A new average of other parameters, by the rule of a given one.

    Args:
        average: for its rule.
        held: the parameters.
    """
    return AveragedModel(held, avg_fn=average.avg_fn, multi_avg_fn=average.multi_avg_fn)
