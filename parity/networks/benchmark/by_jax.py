"""JAX's trainings of a case: one run of `jaxnn.fit`, or many of `jaxnn.sweep` in one program."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

import jaxnn
from parity.networks.benchmark.prepared_case import History, PreparedCase
from parity.numerics.arrays import to_jax
from parity.numerics.precision import jax_device


def fit_training(chosen: PreparedCase, epochs: int) -> Callable[[], History]:
    """Prepare one run at the recipe's learning rate.

    Args:
        chosen: the case.
        epochs: of the run.

    Returns:
        `run() -> history`; the first call compiles.
    """
    params = jax.device_put(chosen.params, jax_device(chosen.device))
    settings = _settings(chosen, epochs)

    def run() -> History:
        fitted = jaxnn.fit(
            chosen.pair.candidate.call, params, learning_rate=chosen.jax_recipe.learning_rate, **settings
        )
        history: History = jax.block_until_ready(fitted.history)  # type: ignore[no-untyped-call]
        return history

    return run


def sweep_training(chosen: PreparedCase, rates: Sequence[float], epochs: int) -> Callable[[], History]:
    """Prepare many runs from one start in one program.

    Args:
        chosen: the case.
        rates: the learning rate of each run.
        epochs: of each run.

    Returns:
        `run() -> history`, a row per run; the first call compiles.
    """
    stacked = jax.tree.map(lambda leaf: leaf[None], chosen.params)
    start = jax.device_put(stacked, jax_device(chosen.device))
    settings = _settings(chosen, epochs)

    def run() -> History:
        swept = jaxnn.sweep(chosen.pair.candidate.call, start, learning_rates=rates, **settings)
        return {name: np.asarray(curve) for name, curve in swept.history.items() if name != "step_loss"}

    return run


def _settings(chosen: PreparedCase, epochs: int) -> dict[str, Any]:
    """What `fit` and `sweep` share: samples on the device, loss, metrics, optimiser, epochs, batches."""
    place, recipe = jax_device(chosen.device), chosen.jax_recipe
    samples = {name: to_jax(array, "float32", place) for name, array in chosen.arrays.items()}
    return {
        "train": (samples["x_train"], samples["y_train"]),
        "val": (samples["x_val"], samples["y_val"]),
        "loss": recipe.loss,
        "metrics": recipe.metrics,
        "optimizer": recipe.optimizer,
        "epochs": epochs,
        "batch_size": recipe.batch_size,
        "order": chosen.order,
    }
