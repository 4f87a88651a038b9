"""The notebook's experiments, ready to run: `experiments` joined to the functions that it names.

The networks are those of `jaxnn.models.NETWORKS` and, as modules, of `jaxnn.modules.MODULES`.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import optax

from experiments import EXPERIMENTS, Experiment, Labels, Loss, Optimizer
from jaxnn import losses, metrics, models, modules, optimizers, penalties
from jaxnn.augmentation import augmented
from jaxnn.early_stopping import EarlyStopping

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
        schedule: ``schedule(epoch) -> factor`` of the learning rate; None for the same rate throughout.
        penalty: ``penalty(params) -> scalar``, added to the loss; None for none.
        early_stopping: When to stop before the last epoch; None for never.
        draws: Names of the random numbers that the network takes in training, which `data.draws` makes.
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
    schedule: Callable[..., Any] | None = None
    penalty: Callable[..., Any] | None = None
    early_stopping: EarlyStopping | None = None
    draws: tuple[str, ...] = ()


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
    "adam": optimizers.adam,
}

_SCORES: Mapping[Labels, tuple[str, Callable[..., Any]]] = {
    "binary": ("accuracy", metrics.binary_accuracy),
    "one_hot": ("accuracy", metrics.accuracy),
    "index": ("accuracy", metrics.accuracy),
    "real": ("r_squared", metrics.r_squared),
}
"""What is recorded beside the loss, by the form of the labels."""


def _model(e: Experiment, build: Callable[..., models.Model]) -> Callable[..., models.Model]:
    """Returns how an experiment makes its network, whose builder is given."""

    def model(shape: tuple[int, ...], num_outputs: int) -> models.Model:
        dropout = {"dropout_rate": e.dropout_rate} if e.dropout_rate else {}
        network = build(shape, e.hidden, num_outputs, **dropout)
        return augmented(network) if e.augmented else network

    return model


def _penalty(e: Experiment) -> Callable[..., Any] | None:
    """Returns the penalty of an experiment."""
    if e.l1:
        return functools.partial(penalties.l1, factor=e.l1, biases=False)
    return functools.partial(penalties.l2, factor=e.l2, biases=False) if e.l2 else None


def _draws(e: Experiment) -> tuple[str, ...]:
    """Returns the names of the random numbers that an experiment takes."""
    augmentation = ("angle", "scale", "shift", "flip", "brightness") if e.augmented else ()
    return (("keep",) if e.dropout_rate else ()) + augmentation


def _recipe(name: str) -> Recipe:
    """Returns the recipe of an experiment."""
    e = EXPERIMENTS[name]
    score, metric = _SCORES[e.labels]
    module = modules.MODULES.get(name)
    return Recipe(
        _model(e, models.NETWORKS[e.network or name]),
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
        schedule=None if e.decay == 1 else optax.exponential_decay(1.0, 1, e.decay),
        penalty=_penalty(e),
        early_stopping=None if e.patience is None else EarlyStopping(e.patience, e.min_delta),
        draws=_draws(e),
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType({name: _recipe(name) for name in EXPERIMENTS})
"""The experiments by name: from the simplest network to the convolutional one, then what the notebook leaves
to its readers."""
