"""Penalties on large weights: pure functions of the params, to be added to a loss.

`jaxnn.fit` takes one as ``penalty``, a function of the params alone::

    penalty = functools.partial(jaxnn.penalties.l2, factor=1e-3, biases=False)
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxnn.losses.kinks import absolute

__all__ = ["l1", "l2"]


def l1(params: PyTree, factor: float, *, biases: bool) -> Float[Array, ""]:
    """Computes ``factor * sum |w|`` over the weights w; its gradient is ``factor * sign(w)``, 0 at 0.

    Args:
        params: Pytree of arrays; a leaf called ``bias`` is a bias, every other one a weight.
        factor: Strength of the penalty, per unit of loss.
        biases: Whether biases count, too.

    Returns:
        A scalar in the dtype of the params.

    Raises:
        ValueError: If there is no weight.

    Differs: ``jnp.abs`` has the derivative 1 at 0; this has 0 there, as PyTorch's has.

    Source: notebook, section 4.5 (later editions).

    >>> l1({"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([5.0])}, 0.5, biases=False).item()
    1.5
    """
    sums = [absolute(leaf).sum() for leaf in _penalised(params, biases=biases)]
    return factor * jnp.stack(sums).sum()


def l2(params: PyTree, factor: float, *, biases: bool) -> Float[Array, ""]:
    """Computes ``factor * sum w^2`` over the weights w; its gradient is ``2 * factor * w``.

    Args:
        params: Pytree of arrays; a leaf called ``bias`` is a bias, every other one a weight.
        factor: Strength of the penalty, per unit of loss.
        biases: Whether biases count, too.

    Returns:
        A scalar in the dtype of the params.

    Raises:
        ValueError: If there is no weight.

    Differs: with biases included, and under SGD, this is ``weight_decay = 2 * factor``, which adds
    ``weight_decay * w`` to the gradient. ``torch.optim.Adam`` adds it there, too; where the decay is
    decoupled from the gradient, as in ``optax.adamw`` and ``torch.optim.AdamW``, it is another algorithm.

    Source: notebook, section 4.5 (later editions).

    >>> l2({"kernel": jnp.array([[1.0, -2.0]]), "bias": jnp.array([5.0])}, 0.5, biases=True).item()
    15.0
    """
    sums = [jnp.square(leaf).sum() for leaf in _penalised(params, biases=biases)]
    return factor * jnp.stack(sums).sum()


def _penalised(params: PyTree, *, biases: bool) -> list[Array]:
    """Returns the leaves that a penalty counts."""
    leaves = [leaf for path, leaf in jax.tree.leaves_with_path(params) if biases or not _is_bias(path)]
    if not leaves:
        raise ValueError("`params` has no weight to penalise: every leaf is a bias, and `biases` is False.")
    return leaves


def _is_bias(path: tuple[object, ...]) -> bool:
    return bool(path) and getattr(path[-1], "key", None) == "bias"
