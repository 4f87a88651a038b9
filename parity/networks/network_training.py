"""The two training programs of a case: `torchref.fit` and `jaxnn.fit` over named arrays."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TypeVar

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, PyTree
from torch import Tensor, nn

import jaxnn
import torchref
from parity.numerics.arrays import Arrays, to_jax, to_numpy, to_torch
from parity.numerics.noise import Runnable, Values
from parity.numerics.precision import jax_device
from parity.pipeline.pairs import Pair
from torchref.parallel import Ranks

SPLITS = ("train", "val")
ALONE = Ranks()

Metric = TypeVar("Metric")
Held = TypeVar("Held", Tensor, Array)


def decided_by(labels: str) -> dict[str, str]:
    """Which curve holds the margins behind which accuracy.

    Args:
        labels: form of the labels, as `experiments.Labels`.

    Returns:
        Margin curve by accuracy curve; empty for a regression.
    """
    return {} if labels == "real" else {f"{split}_accuracy": f"{split}_margin" for split in SPLITS}


def _with_margin(metrics: Mapping[str, Metric], labels: str, module: ModuleType) -> dict[str, Metric]:
    """The recipe's metrics and, for a classifier, every sample's margin."""
    if labels == "real":
        return dict(metrics)
    return {**metrics, "margin": module.binary_margin if labels == "binary" else module.margin}


def torch_training(
    pair: Pair,
    recipe: torchref.Recipe,
    epochs: int,
    learning_rate: float,
    order: np.ndarray | None,
    device: str,
    *,
    ranks: Ranks = ALONE,
) -> Runnable:
    """First update and curves of `torchref.fit`.

    Args:
        pair: both networks.
        recipe: PyTorch's recipe.
        epochs: of the curves.
        learning_rate: step size.
        order: of the training samples in every epoch of minibatches; None for full batches.
        device: "cpu" or "cuda".
        ranks: the processes that train together, of which this is one.

    Returns:
        A program that returns the groups "updates" and "curve".
    """
    metrics = _with_margin(recipe.metrics, recipe.labels, torchref.metrics)

    def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        given = {name: to_torch(array, dtype, device) for name, array in inputs.items()}
        train, val = ((given[f"x_{split}"], given[f"y_{split}"]) for split in SPLITS)
        draws = {name: given[name] for name in recipe.draws}

        def run(
            train: tuple[Tensor, Tensor],
            val: tuple[Tensor, Tensor],
            metrics: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
            draws: Mapping[str, Tensor],
            epochs: int,
            batch_size: int | None = None,
            order: np.ndarray | None = None,
            early_stopping: torchref.EarlyStopping | None = None,
        ) -> tuple[dict[str, nn.Parameter], dict[str, Tensor]]:
            parameters = {n: nn.Parameter(to_torch(a, dtype, device)) for n, a in weights.items()}
            history = torchref.fit(
                lambda x, **numbers: pair.reference.call(parameters, x, **numbers),
                parameters,
                train,
                val,
                loss=recipe.loss,
                metrics=metrics,
                optimizer=recipe.optimizer,
                learning_rate=learning_rate,
                schedule=recipe.schedule,
                penalty=recipe.penalty,
                draws=draws,
                early_stopping=early_stopping,
                ranks=ranks,
                epochs=epochs,
                batch_size=batch_size,
                order=order,
            )
            return parameters, history

        first, drawn = _first_batch(train, draws, order, recipe.batch_size)
        stepped, _ = run(first, first, {}, drawn, epochs=1)
        kept, history = run(
            train, val, metrics, draws, epochs, recipe.batch_size, order, recipe.early_stopping
        )
        before = {name: to_numpy(to_torch(array, dtype)) for name, array in weights.items()}
        after = {name: to_numpy(p) for name, p in stepped.items()}
        best = {name: to_numpy(p) for name, p in kept.items()}
        updates = _updates(before, after, best if recipe.early_stopping else {})
        return {"updates": updates, "curve": _curves(history, epochs)}

    return program


def jax_training(
    pair: Pair,
    recipe: jaxnn.Recipe,
    epochs: int,
    learning_rate: float,
    order: np.ndarray | None,
    device: str,
    *,
    mesh: Mesh | None = None,
) -> Runnable:
    """First update and curves of `jaxnn.fit`, updates under PyTorch's names and in its layout.

    To be run by `check_training`, which switches JAX's 64-bit types for each dtype.

    Args:
        pair: both networks.
        recipe: JAX's recipe.
        epochs: of the curves.
        learning_rate: step size.
        order: of the training samples in every epoch of minibatches; None for full batches.
        device: "cpu" or "cuda".
        mesh: the devices to train on; None for one.

    Returns:
        A program that returns the groups "updates" and "curve".
    """
    metrics = _with_margin(recipe.metrics, recipe.labels, jaxnn.metrics)

    def program(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        place = jax_device(device)
        params = pair.candidate.tree.build(
            {path: to_jax(leaf, dtype, place) for path, leaf in weights.items()}
        )
        given = {name: to_jax(to_nhwc(a, name), dtype, place) for name, a in inputs.items()}
        train, val = ((given[f"x_{split}"], given[f"y_{split}"]) for split in SPLITS)
        draws = {name: given[name] for name in recipe.draws}

        def run(
            train: tuple[Array, Array],
            val: tuple[Array, Array],
            metrics: Mapping[str, Callable[[Array, Array], Array]],
            draws: Mapping[str, Array],
            epochs: int,
            batch_size: int | None = None,
            order: np.ndarray | None = None,
            early_stopping: jaxnn.EarlyStopping | None = None,
        ) -> jaxnn.Fit:
            return jaxnn.fit(
                pair.candidate.call,
                params,
                train,
                val,
                loss=recipe.loss,
                metrics=metrics,
                optimizer=recipe.optimizer,
                learning_rate=learning_rate,
                schedule=recipe.schedule,
                penalty=recipe.penalty,
                draws=draws,
                early_stopping=early_stopping,
                mesh=mesh,
                epochs=epochs,
                batch_size=batch_size,
                order=order,
            )

        first, drawn = _first_batch(train, draws, order, recipe.batch_size)
        stepped = run(first, first, {}, drawn, epochs=1)
        fitted = run(train, val, metrics, draws, epochs, recipe.batch_size, order, recipe.early_stopping)
        before, after, best = (
            pair.plan.to_tensors(_numpy_leaves(tree)) for tree in (params, stepped.params, fitted.params)
        )
        updates = _updates(before, after, best if recipe.early_stopping else {})
        return {"updates": updates, "curve": _curves(fitted.history, epochs)}

    return program


def _numpy_leaves(params: PyTree) -> dict[str, np.ndarray]:
    from parity.frameworks.jax.trees import flatten

    return {path: to_numpy(leaf) for path, leaf in flatten(params)[0].items()}


def _first_batch(
    samples: tuple[Held, Held], draws: Mapping[str, Held], order: np.ndarray | None, batch_size: int | None
) -> tuple[tuple[Held, Held], dict[str, Held]]:
    """The first batch and its random numbers: one full-batch epoch on it is one step."""
    x, y = samples
    if order is not None:
        first = np.array(order[:batch_size])
        x, y = x[first], y[first]
    return (x, y), {name: rows[:1, : len(x)] for name, rows in draws.items()}


def _updates(before: Arrays, after: Arrays, best: Arrays) -> dict[str, np.ndarray]:
    """The first change of each weight; with early stopping also the change up to the best weights."""
    first = {name: after[name] - before[name] for name in before}
    return first | {f"{name} (best)": best[name] - before[name] for name in best}


def to_nhwc(array: np.ndarray, name: str) -> np.ndarray:
    """Images NCHW to NHWC; everything else as it is.

    Args:
        array: shape (N, C, H, W) if images, else any.
        name: of the array; images are inputs, `x_...`.

    Returns:
        Shape (N, H, W, C) if images.
    """
    return array.transpose(0, 2, 3, 1) if name.startswith("x_") and array.ndim == 4 else array


def _curves(history: Mapping[str, Tensor | Array], epochs: int) -> dict[str, np.ndarray]:
    """Histories with time on the first axis; the losses of all steps in one row.

    Where training has stopped early, the last values stand for the epochs that did not run: noise may move
    the stop, and curves of different lengths could not be compared. The stop itself is a curve of one point.
    """
    curves = {name: to_numpy(value) for name, value in history.items()}
    best = {name: np.array([curves.pop(name)], np.float64) for name in ("best_epoch",) if name in curves}
    ran = len(curves["step_loss"])
    whole = {name: np.concatenate([rows, *[rows[-1:]] * (epochs - ran)]) for name, rows in curves.items()}
    stop = {"last_epoch": np.array([ran], np.float64)} if best else {}
    return {**whole, **best, **stop, "step_loss": whole["step_loss"].reshape(-1)}
