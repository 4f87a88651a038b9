"""Functions with a kink, with PyTorch's derivative at it where JAX's own differs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn.losses.preconditions import Number

__all__ = ["absolute", "floor_straight_through", "hinge", "p_norm"]


def absolute(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes ``|x|``, with derivative 0 at 0.

    Args:
        x: Any shape, any floating dtype.

    Returns:
        Same shape and dtype.

    Differs: The derivative of ``jnp.abs`` at 0 is 1.

    >>> float(jax.grad(absolute)(0.0))
    0.0
    """
    return x * jnp.sign(x)


def hinge(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes ``max(0, x)``, with derivative 1 at 0.

    Args:
        x: Any shape, any floating dtype.

    Returns:
        Same shape and dtype.

    Differs: ``jnp.maximum`` shares the derivative out, half to each side, and ``jax.nn.relu`` has 0. A
    PyTorch loss built on ``clamp_min`` has 1.

    >>> float(jax.grad(hinge)(0.0))
    1.0
    """
    return jnp.where(x < 0, jnp.zeros_like(x), x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def floor_straight_through(x: Float[Array, "*shape"], least: Number) -> Float[Array, "*shape"]:
    """Computes ``max(x, least)``, with derivative 1 everywhere.

    Args:
        x: Any shape, any floating dtype.
        least: The floor.

    Returns:
        Same shape and dtype.

    Differs: Below the floor this is not the derivative of the value. PyTorch clamps without telling its
    differentiation.
    """
    return jnp.maximum(x, least)


@floor_straight_through.defjvp
def _floor_jvp(
    least: Number, primals: tuple[Float[Array, "..."]], tangents: tuple[Float[Array, "..."]]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    return floor_straight_through(*primals, least), tangents[0]


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def p_norm(x: Float[Array, "*batch D"], p: Number) -> Float[Array, "*batch"]:
    """Computes ``(sum_d |x_d|^p)^(1/p)`` over the last axis.

    Args:
        x: Vectors.
        p: At least 0. Infinity is the greatest magnitude, 0 counts the elements that are not 0.

    Returns:
        One norm per vector.

    Differs: ``jnp.linalg.norm`` has no derivative at the zero vector, where this one has 0, as PyTorch's.
    Of equal greatest magnitudes each has its share of the derivative.
    """
    size = jnp.abs(x)
    if p == 0:
        return jnp.sum(x != 0, axis=-1).astype(x.dtype)
    if p == 1:
        return jnp.sum(size, axis=-1)
    if p == 2:
        return jnp.sqrt(jnp.sum(jnp.square(x), axis=-1))
    if p == np.inf:
        return jnp.max(size, axis=-1)
    # A float of Python's, even for an integer p: jnp.power of integers multiplies in another order.
    return jnp.power(jnp.sum(jnp.power(size, float(p)), axis=-1), 1 / p)


@p_norm.defjvp
def _p_norm_jvp(
    p: Number, primals: tuple[Float[Array, "..."]], tangents: tuple[Float[Array, "..."]]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    (x,), (change,) = primals, tangents
    norm = p_norm(x, p)
    whole = norm[..., None]
    if p == 0:
        slope = jnp.zeros_like(x)
    elif p == 1:
        slope = jnp.sign(x)
    elif p == np.inf:
        greatest = (jnp.abs(x) == whole).astype(x.dtype)
        slope = jnp.sign(x) * greatest / jnp.sum(greatest, axis=-1, keepdims=True)
    else:
        # sign(x) (|x| / norm)^(p - 1); elements of 0, and vectors of 0, have no slope.
        flat = x == 0
        ratio = jnp.where(flat, jnp.ones_like(x), jnp.abs(x)) / jnp.where(whole == 0, 1, whole)
        slope = jnp.where(flat, jnp.zeros_like(x), jnp.sign(x) * jnp.power(ratio, float(p - 1)))
    return norm, jnp.sum(slope * change, axis=-1)
