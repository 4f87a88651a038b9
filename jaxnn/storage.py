"""How a run stores its matrices: turned, (outputs, inputs), so that both passes read them along the samples.

``x @ W`` with a W of few columns, and its gradient ``x.T @ g``, walk through memory in large steps on a CPU;
with ``W.T`` in store both go along the rows of x. Measured: docs/speed.md.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import PyTreeDef
from jaxtyping import Array, PyTree

from jaxnn.arguments import Params

__all__ = ["of_turned", "treats_rows_and_columns_alike", "turned", "turned_state"]

STEPS = 2
"""Updates by which an optimiser is tried: its state takes part from the second on."""


def turned(params: Params) -> Params:
    """Transposes every matrix of a pytree and leaves all other arrays as they are.

    >>> jax.tree.map(jnp.shape, turned({"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}))
    {'bias': (2,), 'kernel': (2, 3)}
    """
    flipped: Params = jax.tree.map(lambda leaf: leaf.T if leaf.ndim == 2 else leaf, params)
    return flipped


def of_turned(apply: Callable[..., Array]) -> Callable[..., Array]:
    """Makes a function of params first, such as a network's `apply`, take params that are stored turned."""

    def apply_turned(stored: Params, *args: Array, **draws: Array) -> Array:
        return apply(turned(stored), *args, **draws)

    return apply_turned


def turned_state(optimizer: optax.GradientTransformation, state: PyTree) -> PyTree:
    """Transposes every matrix of an optimiser's state that belongs to a param."""
    return optax.tree_map_params(optimizer, lambda leaf: turned(leaf), state)


def treats_rows_and_columns_alike(
    optimizer: Callable[[float], optax.GradientTransformation], params: Params
) -> bool:
    """Tries on small arrays whether turned params give turned updates, as they do entry by entry.

    Args:
        optimizer: ``optimizer(learning_rate)``.
        params: The params, for their structure.

    Returns:
        False for optimisers that look at whole matrices and their orientation, such as Muon.

    >>> treats_rows_and_columns_alike(optax.adam, {"kernel": jnp.ones((5, 4))})
    True
    """
    leaves, structure = jax.tree.flatten(params)
    with jax.ensure_compile_time_eval():
        return _alike(optimizer, structure, tuple(leaf.ndim for leaf in leaves))


@functools.lru_cache(maxsize=64)
def _alike(
    optimizer: Callable[[float], optax.GradientTransformation], structure: PyTreeDef, ranks: tuple[int, ...]
) -> bool:
    rng = np.random.default_rng(0)

    def draw() -> Params:
        arrays = [jnp.asarray(rng.standard_normal(range(2, 2 + rank)), jnp.float32) for rank in ranks]
        small: Params = jax.tree.unflatten(structure, arrays)
        return small

    params, gradients = draw(), [draw() for _ in range(STEPS)]
    rule = optimizer(0.1)

    def after(params: Params, gradients: list[Params]) -> Params:
        state = rule.init(params)
        for gradient in gradients:
            updates, state = rule.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
        return params

    straight = after(params, gradients)
    around = turned(after(turned(params), [turned(gradient) for gradient in gradients]))
    return all(
        bool(jnp.allclose(a, b, rtol=1e-5, atol=1e-7))
        for a, b in zip(jax.tree.leaves(straight), jax.tree.leaves(around), strict=True)
    )
