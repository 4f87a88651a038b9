"""PyTorch's clipping of gradients by their norm, for optax."""

import math

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

OFFSET = 1e-6
"""What PyTorch adds to the norm before it divides by it."""


def clip_grad_norm(max_norm: float, *, norm_type: float = 2.0) -> optax.GradientTransformation:
    """Scale all gradients together so that their norm is at most `max_norm`, as in PyTorch.

    Stands before the optimiser: ``optax.chain(clip_grad_norm(1.0), to_optax(...))``. A tensor that JAX holds
    twice and PyTorch once counts twice in the norm.

    Args:
        max_norm: the largest norm, above 0.
        norm_type: p of the norm, above 0; `math.inf` for the largest entry.

    Returns:
        A transformation of gradients of any tree; it has no state.

    Raises:
        ValueError: if `max_norm` or `norm_type` is not above 0.

    Differs: gradients are multiplied by ``min(1, max_norm / (norm + 1e-6))``;
    `optax.clip_by_global_norm` adds nothing to the norm. By value both clip alike: use `optax.clip`.

    Source: ``torch.nn.utils.clip_grad_norm_``; Pascanu et al. 2013, algorithm 1.

    >>> clip = clip_grad_norm(5.0)
    >>> clipped, _ = clip.update({"w": jnp.array([6.0, 8.0])}, clip.init(None))
    >>> [round(float(g), 4) for g in clipped["w"]]
    [3.0, 4.0]
    """
    for name, value in (("max_norm", max_norm), ("norm_type", norm_type)):
        if not value > 0:
            raise ValueError(f"`{name}` is {value}; it must be above 0")

    def update(
        grads: PyTree, state: optax.EmptyState, params: PyTree | None = None
    ) -> tuple[PyTree, optax.EmptyState]:
        del params
        sizes = [jnp.abs(grad) for grad in jax.tree.leaves(grads) if jnp.size(grad)]
        if not sizes:
            return grads, state
        if math.isinf(norm_type):
            norm = jnp.max(jnp.stack([jnp.max(size) for size in sizes]))
        else:
            # The norm of the tensors' norms, each divided by its largest entry: nothing overflows.
            norm = _norm(jnp.stack([_norm(jnp.ravel(size), norm_type) for size in sizes]), norm_type)
        scale = jnp.minimum(max_norm / (norm + OFFSET), 1.0)
        return jax.tree.map(lambda grad: grad * scale.astype(jnp.abs(grad).dtype), grads), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def _norm(sizes: jax.Array, p: float) -> jax.Array:
    """The p-norm of non-negative numbers, shape ()."""
    largest = jnp.max(sizes)
    unit = jnp.where(largest > 0, largest, 1)
    return unit * jnp.sum((sizes / unit) ** p) ** (1 / p)
