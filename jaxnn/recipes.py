"""The notebook's experiments: for every rung of its ladder the network and how it is trained."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import optax

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
    labels: Literal["binary", "one_hot", "index", "real"]
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


def _logistic(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.logistic(math.prod(shape))


def _softmax(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.softmax(math.prod(shape), num_outputs)


def _softmax_zero_bias(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.softmax(math.prod(shape), num_outputs, zero_bias=True)


def _two_layer_tanh(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.two_layer(math.prod(shape))


def _two_layer_as_coded(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.two_layer(math.prod(shape), hidden_activation=activations.shifted_logistic)


def _two_layer_as_printed(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.two_layer(math.prod(shape), hidden_activation=activations.shifted_logistic_as_printed)


def _linear(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.linear(math.prod(shape), num_outputs)


def _mlp(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.mlp((math.prod(shape), 200, 50, 20, num_outputs))


def _cnn(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.cnn((shape[-1], 16, 16, num_outputs))


def _cnn_global_pool(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.cnn_global_pool((shape[-1], 16, 16, num_outputs))


def _regression(shape: tuple[int, ...], num_outputs: int) -> models.Model:
    return models.scalar_output(models.mlp((math.prod(shape), 20, 1)))


def _softmax_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.softmax_module(math.prod(shape), num_outputs, rngs=rngs)


def _linear_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.linear(math.prod(shape), num_outputs, rngs=rngs)


def _mlp_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.mlp((math.prod(shape), 200, 50, 20, num_outputs), rngs=rngs)


def _cnn_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.cnn((shape[-1], 16, 16, num_outputs), rngs=rngs)


def _cnn_global_pool_module(shape: tuple[int, ...], num_outputs: int, *, rngs: Any) -> Any:
    return modules.cnn_global_pool((shape[-1], 16, 16, num_outputs), rngs=rngs)


def _classes(loss: Callable[..., Any]) -> Metrics:
    """Returns the metrics of a classifier of K classes that reports this loss."""
    return MappingProxyType({"loss": loss, "accuracy": metrics.accuracy})


_BINARY: Metrics = MappingProxyType(
    {"loss": losses.binary_cross_entropy, "accuracy": metrics.binary_accuracy}
)

_TWO_LAYER = Recipe(
    model=_two_layer_tanh,
    loss=losses.binary_cross_entropy,
    metrics=_BINARY,
    optimizer=two_rates,
    learning_rate=0.001,
    epochs=10000,
    batch_size=None,
    labels="binary",
    also=((5000, 0.05), (500, 0.5)),
)

_SOFTMAX_MEAN_ALL = Recipe(
    model=_softmax_zero_bias,
    loss=losses.cross_entropy_mean_all,
    metrics=_classes(losses.cross_entropy_mean_all),
    optimizer=optax.sgd,
    learning_rate=0.5,
    epochs=500,
    batch_size=None,
    labels="one_hot",
)

_LINEAR = Recipe(
    model=_linear,
    module=_linear_module,
    loss=losses.cross_entropy,
    metrics=_classes(losses.cross_entropy),
    optimizer=optax.sgd,
    learning_rate=0.1,
    epochs=500,
    batch_size=None,
    labels="index",
)

_CNN = Recipe(
    model=_cnn,
    module=_cnn_module,
    loss=losses.cross_entropy,
    metrics=_classes(losses.cross_entropy),
    optimizer=optax.sgd,
    learning_rate=0.1,
    epochs=2500,
    batch_size=64,
    labels="index",
    images=True,
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "logistic": Recipe(
            model=_logistic,
            loss=losses.binary_cross_entropy,
            metrics=_BINARY,
            optimizer=optax.sgd,
            learning_rate=0.05,
            epochs=400,
            batch_size=None,
            labels="binary",
        ),
        "softmax": Recipe(
            model=_softmax,
            loss=losses.cross_entropy,
            metrics=_classes(losses.cross_entropy_sum),  # the sum is reported, the mean descended
            optimizer=optax.sgd,
            learning_rate=0.1,
            epochs=300,
            batch_size=None,
            labels="one_hot",
        ),
        "two_layer_tanh": _TWO_LAYER,
        "two_layer_as_coded": _TWO_LAYER._replace(model=_two_layer_as_coded),
        "two_layer_as_printed": _TWO_LAYER._replace(model=_two_layer_as_printed),
        "softmax_mean_all": _SOFTMAX_MEAN_ALL,
        "softmax_module": _SOFTMAX_MEAN_ALL._replace(module=_softmax_module),  # written as a module
        "linear": _LINEAR,
        "linear_minibatch": _LINEAR._replace(epochs=200, batch_size=64),
        "mlp": _LINEAR._replace(
            model=_mlp, module=_mlp_module, learning_rate=0.01, epochs=300, batch_size=64
        ),
        "cnn": _CNN,
        "cnn_global_pool": _CNN._replace(model=_cnn_global_pool, module=_cnn_global_pool_module),
        "regression": Recipe(
            model=_regression,
            loss=losses.square_error,
            metrics=MappingProxyType({"loss": losses.square_error, "r_squared": metrics.r_squared}),
            optimizer=optax.sgd,
            learning_rate=0.05,
            epochs=200,
            batch_size=64,
            labels="real",
        ),
    }
)
"""The experiments by name, from the simplest network to the convolutional one."""
