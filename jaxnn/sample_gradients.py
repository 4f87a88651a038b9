"""The gradient of every sample's own loss, by `jax.vmap` of `jax.grad`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxnn.arguments import Apply, Measure, Params

__all__ = ["per_sample_grads"]


@functools.partial(jax.jit, static_argnames=("apply", "loss"))
def per_sample_grads(
    apply: Apply,
    params: Params,
    x: Float[Array, "N ..."],
    y: Array,
    *,
    loss: Measure,
) -> Params:
    """Computes the gradient of every sample's own loss at once.

    Args:
        apply: ``apply(params, x) -> logits``.
        params: Pytree of arrays.
        x: Inputs.
        y: Labels, one row per sample.
        loss: ``loss(logits, y) -> scalar``, of batches of one sample here.

    Returns:
        The gradients, shaped as `params` with a leading axis of N. For a loss that is a mean over
        samples, their mean is the gradient of the batch.

    Differs: PyTorch does this with ``torch.func.vmap`` over ``torch.func.grad``.

    >>> square = lambda p, y: jnp.mean((p - y) ** 2)
    >>> x, y = jnp.array([[1.0], [2.0]]), jnp.zeros(2)
    >>> per_sample_grads(lambda w, x: x @ w, jnp.ones(1), x, y, loss=square).tolist()
    [[2.0], [8.0]]
    """

    def sample_loss(params: Params, x: Array, y: Array) -> Array:
        return loss(apply(params, x[jnp.newaxis]), y[jnp.newaxis])

    return jax.vmap(jax.grad(sample_loss), in_axes=(None, 0, 0))(params, x, y)
