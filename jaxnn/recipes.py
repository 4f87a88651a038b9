"""The notebook's experiments: for every rung of its ladder the network, the loss and the optimiser.

All numbers, and the notebook's sections, are those of the experiment of the same name in `experiments`.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import optax

from experiments import EXPERIMENTS, Labels
from jaxnn import activations, losses, metrics, models, modules

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


def _hidden(name: str) -> tuple[int, ...]:
    return EXPERIMENTS[name].hidden


def _logistic(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.logistic(math.prod(shape))


def _softmax(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.softmax(math.prod(shape), num_outputs)


def _softmax_zero_bias(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.softmax(math.prod(shape), num_outputs, zero_bias=True)


def _two_layer_tanh(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    (num_hidden,) = _hidden("two_layer_tanh")
    return models.two_layer(math.prod(shape), num_hidden)


def _two_layer_as_coded(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    (num_hidden,) = _hidden("two_layer_as_coded")
    return models.two_layer(math.prod(shape), num_hidden, activations.shifted_logistic)


def _two_layer_as_printed(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    num_hidden = _hidden("two_layer_as_printed")
    return models.two_layer(
        math.prod(shape), *num_hidden, hidden_activation=activations.shifted_logistic_as_printed
    )


def _linear(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.linear(math.prod(shape), num_outputs)


def _mlp(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.mlp((math.prod(shape), *_hidden("mlp"), num_outputs))


def _cnn(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.cnn((shape[-1], *_hidden("cnn"), num_outputs))


def _cnn_global_pool(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.cnn_global_pool((shape[-1], *_hidden("cnn_global_pool"), num_outputs))


def _regression(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.scalar_output(models.mlp((math.prod(shape), *_hidden("regression"), 1)))


def _softmax_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.softmax_module(math.prod(shape), num_outputs, rngs=rngs)


def _linear_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.linear(math.prod(shape), num_outputs, rngs=rngs)


def _mlp_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.mlp((math.prod(shape), *_hidden("mlp"), num_outputs), rngs=rngs)


def _cnn_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.cnn((shape[-1], *_hidden("cnn"), num_outputs), rngs=rngs)


def _cnn_global_pool_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.cnn_global_pool((shape[-1], *_hidden("cnn_global_pool"), num_outputs), rngs=rngs)


_SCORES: Mapping[Labels, tuple[str, Callable[..., Any]]] = {
    "binary": ("accuracy", metrics.binary_accuracy),
    "one_hot": ("accuracy", metrics.accuracy),
    "index": ("accuracy", metrics.accuracy),
    "real": ("r_squared", metrics.r_squared),
}
"""What is recorded beside the loss, by the form of the labels."""


def _recipe(
    name: str,
    model: Callable[[tuple[int, ...], int], models.Model],
    loss: Callable[..., Any],
    optimizer: Callable[..., optax.GradientTransformation],
    *,
    reported: Callable[..., Any] | None = None,
    module: Callable[..., Any] | None = None,
) -> Recipe:
    """Returns an experiment's recipe, with its numbers; `reported` is recorded, as a rule the loss."""
    e = EXPERIMENTS[name]
    score, metric = _SCORES[e.labels]
    return Recipe(
        model,
        loss,
        MappingProxyType({"loss": reported or loss, score: metric}),
        optimizer,
        learning_rate=e.learning_rate,
        epochs=e.epochs,
        batch_size=e.batch_size,
        labels=e.labels,
        images=e.images,
        also=e.also,
        module=module,
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "logistic": _recipe("logistic", _logistic, losses.binary_cross_entropy, optax.sgd),
        # the sum is reported, the mean descended
        "softmax": _recipe(
            "softmax", _softmax, losses.cross_entropy, optax.sgd, reported=losses.cross_entropy_sum
        ),
        "two_layer_tanh": _recipe("two_layer_tanh", _two_layer_tanh, losses.binary_cross_entropy, two_rates),
        "two_layer_as_coded": _recipe(
            "two_layer_as_coded", _two_layer_as_coded, losses.binary_cross_entropy, two_rates
        ),
        "two_layer_as_printed": _recipe(
            "two_layer_as_printed", _two_layer_as_printed, losses.binary_cross_entropy, two_rates
        ),
        "softmax_mean_all": _recipe(
            "softmax_mean_all", _softmax_zero_bias, losses.cross_entropy_mean_all, optax.sgd
        ),
        "softmax_module": _recipe(
            "softmax_module",
            _softmax_zero_bias,
            losses.cross_entropy_mean_all,
            optax.sgd,
            module=_softmax_module,
        ),
        "linear": _recipe("linear", _linear, losses.cross_entropy, optax.sgd, module=_linear_module),
        "linear_minibatch": _recipe(
            "linear_minibatch", _linear, losses.cross_entropy, optax.sgd, module=_linear_module
        ),
        "mlp": _recipe("mlp", _mlp, losses.cross_entropy, optax.sgd, module=_mlp_module),
        "cnn": _recipe("cnn", _cnn, losses.cross_entropy, optax.sgd, module=_cnn_module),
        "cnn_global_pool": _recipe(
            "cnn_global_pool",
            _cnn_global_pool,
            losses.cross_entropy,
            optax.sgd,
            module=_cnn_global_pool_module,
        ),
        "regression": _recipe("regression", _regression, losses.square_error, optax.sgd),
    }
)
"""The experiments by name, from the simplest network to the convolutional one."""
