"""Adam with bias corrections as exact as PyTorch's, as a transformation of optax."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

__all__ = ["adam"]


def adam(
    learning_rate: Any, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Returns Adam.

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        w <- w - learning_rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    Args:
        learning_rate: Step size, a number or an array.
        b1: Share of the old mean of the gradients, in (0, 1).
        b2: Share of the old mean of their squares, in (0, 1).
        eps: Added to the root, above 0.

    Returns:
        A transformation whose state is that of `optax.scale_by_adam`.

    Differs: ``optax.adam`` is the same function, and in float64 the same to rounding. It computes 1 - b2^t in
    the dtype of the params, as a difference of nearly equal numbers: in float32 its first steps are right to
    5 digits. ``torch.optim.Adam`` computes it in float64. Here it is -expm1(t log b2), right in every dtype.

    Source: notebook, exercise of section 4.4.3; Kingma and Ba 2015, algorithm 1.

    >>> rule = adam(0.1)
    >>> updates, _ = rule.update(jnp.array([4.0]), rule.init(jnp.array([0.0])))
    >>> round(updates.item(), 6)
    -0.1
    """

    def init(params: PyTree) -> optax.ScaleByAdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(
        grads: PyTree, state: optax.ScaleByAdamState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.ScaleByAdamState]:
        del params  # what optax hands to every transformation
        count = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(g), state.nu, grads)

        def step(m: Array, v: Array) -> Array:
            mean = m / _one_minus_power(b1, count, m.dtype)
            size = jnp.sqrt(v / _one_minus_power(b2, count, v.dtype)) + eps
            moved: Array = -learning_rate * mean / size
            return moved

        return jax.tree.map(step, mu, nu), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def _one_minus_power(base: float, exponent: Int[Array, ""], dtype: jnp.dtype) -> Array:
    """Computes ``1 - base^exponent`` without cancellation."""
    difference: Array = -jnp.expm1(exponent.astype(dtype) * math.log(base))
    return difference
