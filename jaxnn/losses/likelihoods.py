"""Losses of predicted distributions: Poisson, Gaussian, and the divergence between two.

Arguments have PyTorch's names. Targets may have any dtype and are read in that of the inputs.
"""

import math
from typing import Literal

import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.kinks import floor_straight_through
from jaxnn.losses.preconditions import Number, read_targets, require_equal_shapes, require_range
from jaxnn.losses.reducing import KNOWN, Reduction, reduce, require_reduction

__all__ = ["gaussian_nll_loss", "kl_div_loss", "poisson_nll_loss"]


def poisson_nll_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    log_input: bool = True,
    full: bool = False,
    eps: Number = 1e-8,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the negative log-likelihood of counts, without or with an approximation of its constant.

        r - y log r  [+ y log y - y + log(2 pi y) / 2   where y > 1]

    Args:
        input: The rate r, or its logarithm; any shape.
        target: Counts y, same shape.
        log_input: Whether `input` is log r.
        full: Whether to add Stirling's approximation of ``log(y!)``, in brackets.
        eps: Added to r before its logarithm is taken, unless `input` is that.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: optax has none. With `full` PyTorch's gradient with respect to a target of 0 is NaN, that of a
    logarithm which does not count; here it is that of the value.

    Source: torch.nn.PoissonNLLLoss.

    >>> poisson_nll_loss(jnp.array([0.0]), jnp.array([3]), reduction="none").tolist()
    [1.0]
    """
    require_equal_shapes(input=input, target=target)
    y = read_targets(target, input)
    losses = jnp.exp(input) - y * input if log_input else input - y * jnp.log(input + eps)
    if full:
        counts = jnp.where(y > 1, y, jnp.ones_like(y))
        constant = counts * jnp.log(counts) - counts + 0.5 * jnp.log(2 * math.pi * counts)
        losses = losses + jnp.where(y > 1, constant, jnp.zeros_like(y))
    return reduce(losses, reduction)


def gaussian_nll_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    var: Float[Array, "..."] | float,
    *,
    full: bool = False,
    eps: Number = 1e-6,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the negative log-likelihood of real numbers, ``[log v + (x - y)^2 / v] / 2``.

    Args:
        input: The mean x, any shape.
        target: y, same shape.
        var: The variance v, at least 0: of the shape of `input`, or that with 1 in place of one axis, or
            without the last axis, or one number.
        full: Whether to add the constant ``log(2 pi) / 2``.
        eps: The least v that is computed with, greater than 0.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If a shape does not fit, a number `var` is negative, `eps` is not positive or `reduction`
            is unknown.

    Differs: optax has none. As in PyTorch a variance below `eps` has the gradient of one of `eps`, though
    the value does not change with it. PyTorch raises for a negative variance in an array; here its loss is
    NaN.

    Source: torch.nn.GaussianNLLLoss; Nix and Weigend 1994.

    >>> gaussian_nll_loss(jnp.array([1.0]), jnp.array([3.0]), jnp.array([2.0]), reduction="none").tolist()
    [1.3465735912322998]
    """
    require_equal_shapes(input=input, target=target)
    require_range("eps", eps, above=0)
    if isinstance(var, float | int):
        require_range("var", var, least=0)
        var = jnp.full_like(input, var)
    variance = _variance(var.astype(input.dtype), input)
    variance = variance * jnp.where(variance < 0, jnp.nan, 1.0).astype(input.dtype)
    variance = jnp.broadcast_to(floor_straight_through(variance, eps), input.shape)
    losses = 0.5 * (jnp.log(variance) + jnp.square(input - read_targets(target, input)) / variance)
    return reduce(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


def kl_div_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    log_target: bool = False,
    reduction: Reduction | Literal["batchmean"] = "mean",
) -> Float[Array, "..."]:
    """Computes the terms of the Kullback-Leibler divergence of q from p, ``p (log p - log q)``.

    Args:
        input: log q, any shape.
        target: p, or its logarithm; same shape.
        log_target: Whether `target` is log p.
        reduction: "none", "sum", "mean" over all elements, or "batchmean": the sum divided by the length of
            the first axis, which is the divergence in the mathematical sense.

    Returns:
        Terms of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: ``optax.kl_divergence`` always sums over an axis, PyTorch over none. A p of 0 costs 0 as in
    both, and its gradient with respect to p, infinite in truth, is NaN as in PyTorch.

    Source: torch.nn.KLDivLoss.

    >>> kl_div_loss(jnp.array([-1.0, -2.0]), jnp.array([0.0, 1.0]), reduction="none").tolist()
    [0.0, 2.0]
    """
    require_reduction(reduction, (*KNOWN, "batchmean"))
    require_equal_shapes(input=input, target=target)
    p = read_targets(target, input)
    losses = jnp.exp(p) * (p - input) if log_target else xlogy(p, p) - p * input
    if reduction == "batchmean":
        return reduce(losses, "sum") / (input.shape[0] if input.ndim else 1)
    return reduce(losses, reduction)


def _variance(var: Float[Array, "..."], input: Float[Array, "..."]) -> Float[Array, "..."]:
    """Gives a variance the rank of the inputs."""
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return var[..., None]
    if var.ndim == input.ndim:
        differing = [v for v, n in zip(var.shape, input.shape, strict=True) if v != n]
        if differing == [1]:
            return var
    raise ValueError(
        f"`var` has shape {var.shape}, `input` {input.shape}: they must be equal, or `var` must lack the "
        f"last axis or have 1 in place of one axis; reshape it."
    )
