"""Gradient descent by hand, for the networks of bare tensors; modules use `torch.optim`."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Optimizer(Protocol):
    """What `fit` needs of an optimiser; every `torch.optim.Optimizer` has it."""

    def step(self) -> object:
        """Update the parameters in place from their gradients."""

    def zero_grad(self) -> None:
        """Forget the gradients."""


@runtime_checkable
class Schedule(Protocol):
    """What `fit` needs of a learning-rate schedule; every `torch.optim.lr_scheduler.LRScheduler` has it."""

    def step(self) -> object:
        """Set the learning rate of the next epoch."""


class GradientDescent:
    """Plain gradient descent, `p -= rate * p.grad`, with a rate of its own for every parameter if wanted.

    Args:
        parameters: leaf tensors by name, updated in place.
        learning_rate: one rate for all, or a rate for every name.

    Raises:
        ValueError: if rates by name do not name exactly the parameters.

    Source:
        Notebook, sections 3.1.4, 3.3.1 (two rates) and 4.4.1.

    >>> w = torch.tensor(1.0, requires_grad=True)
    >>> (w**2).backward()
    >>> GradientDescent({"w": w}, 0.1).step()
    >>> w.item()
    0.800000011920929
    """

    def __init__(self, parameters: Mapping[str, Tensor], learning_rate: float | Mapping[str, float]) -> None:
        if isinstance(learning_rate, Mapping):
            if learning_rate.keys() != parameters.keys():
                raise ValueError(
                    "`learning_rate` must hold one rate for every parameter: "
                    f"got {sorted(learning_rate)}, need {sorted(parameters)}."
                )
            self._rates = dict(learning_rate)
        else:
            self._rates = dict.fromkeys(parameters, learning_rate)
        self._parameters = dict(parameters)

    def step(self) -> None:
        """Subtract rate times gradient from every parameter that has a gradient."""
        with torch.no_grad():  # the update itself is not to be differentiated
            for name, p in self._parameters.items():
                if p.grad is not None:
                    p -= self._rates[name] * p.grad

    def zero_grad(self) -> None:
        """Drop the gradients; otherwise the next backward pass would add to them."""
        for p in self._parameters.values():
            p.grad = None
