"""Losses between predictions and targets that are real numbers, element by element.

Arguments have PyTorch's names. `input` and `target` have one shape; targets may have any dtype and are read
in that of the inputs. An optional `weight` of the same shape multiplies the losses.
"""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.kinks import absolute
from jaxnn.losses.preconditions import Number, read_targets, require_equal_shapes, require_range
from jaxnn.losses.reducing import Reduction, reduce

__all__ = ["huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss"]


def l1_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the absolute error, ``w |x - y|``, with gradient 0 at an exact hit.

    Args:
        input: x, any shape.
        target: y, same shape.
        weight: w, same shape; 1 by default.
        reduction: "none", "mean" (divided by the sum of the weights) or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: optax has none; the derivative of ``jnp.abs`` at 0 is 1. PyTorch broadcasts with a warning.

    Source: torch.nn.L1Loss.

    >>> float(l1_loss(jnp.array([1.0, 2.0]), jnp.array([1, 4])))
    1.0
    """
    require_equal_shapes(input=input, target=target)
    return _weigh_and_reduce(absolute(input - read_targets(target, input)), weight, reduction)


def mse_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the squared error, ``w (x - y)^2``.

    Args:
        input: x, any shape.
        target: y, same shape.
        weight: w, same shape; 1 by default.
        reduction: "none", "mean" (divided by the sum of the weights) or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: Nothing from ``optax.squared_error``, on which it stands. PyTorch broadcasts with a warning.

    Source: torch.nn.MSELoss.

    >>> float(mse_loss(jnp.array([1.0, 2.0]), jnp.array([1, 4])))
    2.0
    """
    require_equal_shapes(input=input, target=target)
    losses: Array = optax.squared_error(input, read_targets(target, input))
    return _weigh_and_reduce(losses, weight, reduction)


def smooth_l1_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    beta: Number = 1.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes an absolute error that is rounded off around 0.

        (x - y)^2 / (2 beta)   where |x - y| < beta,   |x - y| - beta / 2   elsewhere

    Args:
        input: x, any shape.
        target: y, same shape.
        beta: Where the parabola ends, at least 0; with 0 this is `l1_loss`.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ, `beta` is negative or `reduction` is unknown.

    Differs: ``optax.huber_loss`` is beta times this, and 0 for a beta of 0.

    Source: torch.nn.SmoothL1Loss; Girshick 2015, arXiv:1504.08083, equation 3.

    >>> smooth_l1_loss(jnp.array([0.5, 2.0]), jnp.zeros(2), reduction="none").tolist()
    [0.125, 1.5]
    """
    require_equal_shapes(input=input, target=target)
    require_range("beta", beta, least=0)
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    error = absolute(input - read_targets(target, input))
    # Written with the minimum, not with a choice of branches: an infinite error keeps a finite gradient.
    near = jnp.minimum(error, beta)
    return reduce(0.5 * near * (near / beta) + (error - near), reduction)


def huber_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    delta: Number = 1.0,
    weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes half a squared error that goes on as a straight line.

        (x - y)^2 / 2   where |x - y| <= delta,   delta (|x - y| - delta / 2)   elsewhere

    Args:
        input: x, any shape.
        target: y, same shape.
        delta: Where the parabola ends, greater than 0.
        weight: Same shape; 1 by default.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ, `delta` is not positive or `reduction` is unknown.

    Differs: Nothing from ``optax.huber_loss``, on which it stands. The mean is over all elements even if
    they have weights, in PyTorch as well, where `l1_loss` and `mse_loss` divide by the sum of the weights.

    Source: torch.nn.HuberLoss; Huber 1964, Robust Estimation of a Location Parameter.

    >>> huber_loss(jnp.array([0.5, 4.0]), jnp.zeros(2), delta=2.0, reduction="none").tolist()
    [0.125, 6.0]
    """
    require_equal_shapes(input=input, target=target)
    require_range("delta", delta, above=0)
    losses: Array = optax.huber_loss(input, read_targets(target, input), delta=delta)
    if weight is not None:
        require_equal_shapes(input=input, weight=weight)
        losses = losses * weight.astype(input.dtype)
    return reduce(losses, reduction)


def _weigh_and_reduce(
    losses: Float[Array, "..."], weight: Shaped[Array, "..."] | None, reduction: str
) -> Float[Array, "..."]:
    """Multiplies losses by their weights; the mean is over the weights."""
    if weight is None:
        return reduce(losses, reduction)
    require_equal_shapes(input=losses, weight=weight)
    weight = weight.astype(losses.dtype)
    return reduce(losses * weight, reduction, weight)
