"""The notebook's experiments, ready to run: `experiments` joined to the functions that it names.

The networks are those of `jaxnn.models.NETWORKS` and, as modules, of `jaxnn.modules.MODULES`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import optax

from experiments import EXPERIMENTS, Labels, Loss, Optimizer
from jaxnn import losses, metrics, models, modules

__all__ = ["RECIPES", "Recipe", "two_rates"]

Metrics = Mapping[str, Callable[..., Any]]


class Recipe(NamedTuple):
    """One experiment of the notebook, ready for `jaxnn.fit`.

    Attributes:
        model: ``model(shape of one input, number of outputs) -> Model``.
        loss: What is differentiated.
        metrics: What is recorded.
        optimizer: ``optimizer(learning_rate) -> optax.GradientTransformation``.
        learning_rate: Step size.
        epochs: Passes through the data.
        batch_size: Samples per step; None for all of them.
        labels: The form that the loss wants: ``binary`` (N,) of 0 and 1; ``one_hot`` (N, K); ``index``
            (N,) integers; ``real`` (N,).
        images: True if inputs are raw images in [0, 1], NHWC, instead of flat vectors in [-0.5, 0.5].
        also: Other pairs (epochs, learning rate) that the notebook ran.
        module: The same network as a Flax NNX module, ``module(shape of one input, number of outputs,
            rngs=...)``, for the rungs that the notebook writes as modules.
    """

    model: Callable[[tuple[int, ...], int], models.Model]
    loss: Callable[..., Any]
    metrics: Metrics
    optimizer: Callable[..., optax.GradientTransformation]
    learning_rate: float
    epochs: int
    batch_size: int | None
    labels: Labels
    images: bool = False
    also: tuple[tuple[int, float], ...] = ()
    module: Callable[..., Any] | None = None


def two_rates(learning_rate: Any) -> optax.GradientTransformation:
    """Returns the two-layer network's optimiser: a tenth of the rate for the hidden layer.

    Args:
        learning_rate: Step size of the output layer.

    Returns:
        Gradient descent for params ``{"hidden": ..., "output": ...}``.

    Differs: PyTorch has parameter groups; optax partitions the params by labels.

    Source: notebook, section 3.3.3.
    """
    return optax.partition(
        {"hidden": optax.sgd(learning_rate / 10), "output": optax.sgd(learning_rate)},
        {"hidden": "hidden", "output": "output"},
    )


_LOSSES: Mapping[Loss, Callable[..., Any]] = {
    "binary_cross_entropy": losses.binary_cross_entropy,
    "cross_entropy": losses.cross_entropy,
    "cross_entropy_mean_all": losses.cross_entropy_mean_all,
    "cross_entropy_sum": losses.cross_entropy_sum,
    "square_error": losses.square_error,
}

_OPTIMIZERS: Mapping[Optimizer, Callable[..., optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "two_rates": two_rates,
}

_SCORES: Mapping[Labels, tuple[str, Callable[..., Any]]] = {
    "binary": ("accuracy", metrics.binary_accuracy),
    "one_hot": ("accuracy", metrics.accuracy),
    "index": ("accuracy", metrics.accuracy),
    "real": ("r_squared", metrics.r_squared),
}
"""What is recorded beside the loss, by the form of the labels."""


def _recipe(name: str) -> Recipe:
    """Returns the recipe of an experiment."""
    e = EXPERIMENTS[name]
    score, metric = _SCORES[e.labels]
    build, module = models.NETWORKS[name], modules.MODULES.get(name)
    return Recipe(
        lambda shape, num_outputs: build(shape, e.hidden, num_outputs),
        _LOSSES[e.loss],
        MappingProxyType({"loss": _LOSSES[e.reported or e.loss], score: metric}),
        _OPTIMIZERS[e.optimizer],
        learning_rate=e.learning_rate,
        epochs=e.epochs,
        batch_size=e.batch_size,
        labels=e.labels,
        images=e.images,
        also=e.also,
        module=module
        and (lambda shape, num_outputs, *, rngs: module(shape, e.hidden, num_outputs, rngs=rngs)),
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType({name: _recipe(name) for name in EXPERIMENTS})
"""The experiments by name, from the simplest network to the convolutional one."""
