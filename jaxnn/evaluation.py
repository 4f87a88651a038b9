"""The logits of all samples after an epoch; those of images in batches, whose values stay in the cache.

The batches hold the training and the validation images together and are all alike, so that the network is
compiled once for them. Measured: docs/speed.md.
"""

import functools
from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Shaped

from jaxnn import mesh as meshes
from jaxnn.arguments import Params

__all__ = ["equal_batches", "logits_of_both"]


def logits_of_both(
    apply: Callable[..., Array],
    x: Shaped[Array, "N ..."],
    x_val: Shaped[Array, "M ..."],
    batch_size: int,
    mesh: Mesh | None,
) -> Callable[[Params], tuple[Array, Array]]:
    """Prepares the evaluation of a network inside a compiled program.

    Args:
        apply: ``apply(params, x) -> logits``, one row per sample.
        x: The training samples.
        x_val: The validation samples.
        batch_size: Images per batch, at most. Samples of one axis are evaluated all at once: batches would
            gain them nothing.
        mesh: Deals out every batch; None for one device.

    Returns:
        A function that computes ``(logits of x, logits of x_val)`` from params.
    """
    if x.ndim <= 2:
        return lambda params: (apply(params, x), apply(params, x_val))
    batches = equal_batches(jnp.concatenate([x, x_val]), batch_size)
    images = meshes.deal(batches, mesh, axis=1)
    num_train, num_val = len(x), len(x_val)

    def both(params: Params) -> tuple[Array, Array]:
        logits = lax.map(functools.partial(apply, params), images)
        logits = logits.reshape(-1, *logits.shape[2:])
        return logits[:num_train], logits[num_train : num_train + num_val]

    return both


def equal_batches(x: Shaped[Array, "N ..."], batch_size: int) -> Shaped[Array, "batches size ..."]:
    """Splits samples into as few batches as `batch_size` allows, all alike, with zeros to fill the last.

    >>> equal_batches(jnp.ones((9, 2)), 4).shape
    (3, 3, 2)
    """
    num_batches = -(-len(x) // batch_size)
    size = -(-len(x) // num_batches)
    filled = jnp.pad(x, [(0, num_batches * size - len(x))] + [(0, 0)] * (x.ndim - 1))
    return filled.reshape(num_batches, size, *x.shape[1:])
