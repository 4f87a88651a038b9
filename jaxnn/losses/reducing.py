"""From one loss per element or sample to what the caller asked for: all of them, their mean or their sum."""

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["Reduction", "reduce", "require_reduction"]

Reduction = Literal["none", "mean", "sum"]
"""All losses, their mean, or their sum."""

KNOWN = ("none", "mean", "sum")


def reduce(
    losses: Float[Array, "..."], reduction: str, weights: Float[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """Reduces `losses`, which are multiplied by their weights already.

    Args:
        losses: One per element or sample.
        reduction: "none" returns them as they are, "sum" their sum, "mean" their sum divided by the
            sum of the weights.
        weights: The divisor's terms; None counts each loss once.

    Returns:
        The losses or one number, in their dtype. The mean of nothing, or over weights of zero, is NaN.

    Raises:
        ValueError: If `reduction` is none of the three.
    """
    require_reduction(reduction)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return jnp.sum(losses)
    if weights is None:
        return jnp.sum(losses) / losses.size if losses.size else jnp.full((), jnp.nan, losses.dtype)
    return jnp.sum(losses) / jnp.sum(weights)


def require_reduction(reduction: str, known: tuple[str, ...] = KNOWN) -> None:
    """Raises unless `reduction` is one of `known`.

    Args:
        reduction: What the caller gave.
        known: What the loss can do.

    Raises:
        ValueError: If it cannot do `reduction`.
    """
    if reduction not in known:
        names = ", ".join(f'"{name}"' for name in known)
        raise ValueError(f"`reduction` is {reduction!r}: it must be one of {names}; choose one of them.")
