"""What an update rule is, and what several of PyTorch's share.

A rule is two pure functions of one tensor, in the equation and with the slot names of `torch.optim`:

    slots(param, options) -> slots                                      before the first step
    change(grad, slots, param, options, step) -> (change, slots)        what is added to the parameter

`options` are those of the parameter group, by PyTorch's names; the ones that a schedule moves ("lr", "betas",
"momentum") may be traced. `step` counts from 1 and has the dtype of the parameter. Everything else that an
optimiser of PyTorch can be told (foreach, fused, capturable, differentiable) changes no number but by
rounding.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from parity.optimizers.history import Options

Tensor = Float[Array, "..."]
Scalar = Float[Array, ""]
Slots = dict[str, Tensor]


class Rule(NamedTuple):
    """An optimiser of PyTorch for one tensor.

    Attributes:
        slots: the state before the first step, by PyTorch's names, without "step".
        change: what one step adds to the parameter, and the state after it.
    """

    slots: Callable[[Tensor, Options], Slots]
    change: Callable[[Tensor, Slots, Tensor, Options, Scalar], tuple[Tensor, Slots]]


def zeros(*names: str) -> Callable[[Tensor, Options], Slots]:
    """Slots that begin as zeros of the parameter's shape.

    Args:
        *names: of the slots.
    """

    def slots(param: Tensor, options: Options) -> Slots:
        del options
        return {name: jnp.zeros_like(param) for name in names}

    return slots


def ascent(grad: Tensor, options: Options) -> Tensor:
    """The gradient to descend along: turned round by `maximize`.

    Args:
        grad: as the loss has it.
        options: of the group.
    """
    return -grad if options.get("maximize") else grad


def with_penalty(grad: Tensor, param: Tensor, options: Options) -> Tensor:
    """The gradient of the loss with an L2 penalty: turned round by `maximize` first, as in PyTorch.

    Args:
        grad: as the loss has it.
        param: the parameter before the step.
        options: of the group.
    """
    grad = ascent(grad, options)
    decay = options["weight_decay"]
    return grad if isinstance(decay, float | int) and not decay else grad + decay * param


def moving(average: Tensor, value: Tensor, weight: float | Scalar) -> Tensor:
    """An exponential moving average, ``average + weight (value - average)``.

    Args:
        average: so far.
        value: the new one.
        weight: of the new value, 1 - beta.
    """
    return average + weight * (value - average)


def correction(beta: float | Scalar, step: Scalar) -> Scalar:
    """The bias correction ``1 - beta^step``, without the cancellation of that form in float32.

    Args:
        beta: in [0, 1).
        step: from 1 on.
    """
    if isinstance(beta, jax.Array):
        return jnp.where(beta > 0, -jnp.expm1(step * jnp.log(jnp.where(beta > 0, beta, 1))), 1)
    return -jnp.expm1(step * math.log(beta)) if beta else jnp.ones_like(step)
