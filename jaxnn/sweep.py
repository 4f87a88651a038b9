"""Many training runs at once: starts and learning rates as two axes of one compiled program."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from jaxnn import training
from jaxnn.arguments import Params, Samples, prepare

__all__ = ["sweep"]


def sweep(
    apply: Callable[..., Any],
    params: Params,
    train: tuple[ArrayLike, ArrayLike],
    val: tuple[ArrayLike, ArrayLike],
    *,
    learning_rates: Sequence[float] | ArrayLike,
    loss: Callable[..., Any],
    metrics: Mapping[str, Callable[..., Any]],
    optimizer: Callable[..., optax.GradientTransformation],
    epochs: int,
    batch_size: int | None = None,
    order: ArrayLike | None = None,
) -> training.Fit:
    """Trains from every start with every learning rate, all runs in one compiled program.

    ``jax.vmap(model.init)(jax.random.split(key, S))`` gives S random starts.

    Args:
        apply: As in `jaxnn.fit`, like all arguments that are not listed here.
        params: Pytree of arrays with a leading axis of S, the starts.
        train: The data of all runs.
        val: The data of all runs.
        learning_rates: Step sizes, shape (R,).
        loss: What is differentiated.
        metrics: What is recorded.
        optimizer: Called with each of the learning rates.
        epochs: Epochs of every run.
        batch_size: Samples per step of every run.
        order: Order of the samples in every run.

    Returns:
        As `jaxnn.fit`, every array with two more leading axes (S, R).

    Raises:
        ValueError: If an argument does not fit.

    >>> square = lambda p, y: jnp.mean((p - y) ** 2)
    >>> x, y = jnp.ones((4, 1)), jnp.ones(4)
    >>> runs = sweep(lambda w, x: x @ w, jnp.zeros((2, 1)), (x, y), (x, y), learning_rates=[0.1, 0.25, 0.5],
    ...              loss=square, metrics={"loss": square}, optimizer=optax.sgd, epochs=4)
    >>> runs.history["val_loss"].shape
    (2, 3, 4)
    """
    plan = training.Plan(apply, loss, tuple(metrics.items()), optimizer, epochs, batch_size)
    params, train, val, order = prepare(params, train, val, order, epochs=epochs, batch_size=batch_size)
    leaves = jax.tree.leaves(params)
    starts = {leaf.shape[:1] for leaf in leaves}
    if len(starts) != 1 or () in starts or (0,) in starts:
        raise ValueError(
            f"`params` has leaves of shapes {[leaf.shape for leaf in leaves]}: all must have the same "
            f"leading axis, the starts; stack them or map `init` over several keys."
        )
    rates = jnp.asarray(np.asarray(learning_rates), leaves[0].dtype)
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(f"`learning_rates` has shape {rates.shape}: it must be (R,), R at least 1.")
    trained: training.Fit = _run_all(plan, params, train, val, order, rates)
    return trained


@functools.partial(jax.jit, static_argnums=0)
def _run_all(
    plan: training.Plan,
    params: Params,
    train: Samples,
    val: Samples,
    order: Int[Array, "..."] | None,
    learning_rates: Float[Array, " R"],
) -> training.Fit:
    """Maps a run over the learning rates, and that over the starts."""

    def one(params: Params, learning_rate: Float[Array, ""]) -> training.Fit:
        return training.run(plan, params, train, val, order, learning_rate)

    every_rate = jax.vmap(one, in_axes=(None, 0))
    return jax.vmap(every_rate, in_axes=(0, None))(params, learning_rates)
