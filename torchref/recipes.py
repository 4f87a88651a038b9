"""The notebook's experiments, rung by rung: network, loss, optimiser, rate and epochs.

Source:
    Notebook, sections 3 and 4; `Recipe.also` holds the other settings that it ran.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from torchref import activations, bare, losses, metrics, modules
from torchref.bare import BareModel
from torchref.optimizers import GradientDescent, Optimizer
from torchref.training import Metric


class Recipe(NamedTuple):
    """All that an experiment needs apart from the data.

    Attributes:
        model: `model(shape of one input, number of outputs)` makes the network: a `BareModel`, or a module
            initialised from the global random state (`instantiate` does both from a seed).
        loss: what is differentiated.
        metrics: what is recorded.
        optimizer: `optimizer(parameters, learning_rate)` makes the object that does the updates.
        learning_rate: the notebook's rate.
        epochs: the notebook's number of epochs.
        batch_size: samples per step; `None` for the full batch.
        labels: the form that `loss` wants: "binary" (N,) of 0 and 1, "one_hot" (N, K), "index" (N,) of
            integers, "real" (N,).
        images: whether inputs are raw images in [0, 1], (N, C, H, W), instead of scaled vectors (N, D).
        also: other pairs of epochs and rate that the notebook ran.
    """

    model: Callable[[tuple[int, ...], int], BareModel | nn.Module]
    loss: Metric
    metrics: Mapping[str, Metric]
    optimizer: Callable[[Mapping[str, Tensor], float], Optimizer]
    learning_rate: float
    epochs: int
    batch_size: int | None
    labels: Literal["binary", "one_hot", "index", "real"]
    images: bool = False
    also: tuple[tuple[int, float], ...] = ()


def instantiate(
    recipe: Recipe,
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Callable[[Tensor], Tensor], dict[str, Tensor]]:
    """Draw the network of a recipe from a seed; same seed, same bits.

    The numbers are drawn on the CPU in PyTorch's default dtype and then converted, so that runs on any
    device and in any wider dtype start at the same point. The global random state is left as it was.

    Args:
        recipe: one of `RECIPES`, or your own.
        input_shape: shape of one input, (D,) or (C, H, W).
        num_outputs: number of classes; the networks of one output (binary and real labels) ignore it.
        seed: of the draw.
        dtype: of the parameters.
        device: of the parameters.

    Returns:
        `forward`, which maps a batch to logits, and the tensors that `fit` trains, by name. For the rungs
        of modules `forward` is the module.

    Raises:
        ValueError: if `input_shape` is none that the network takes.

    >>> forward, parameters = instantiate(RECIPES["softmax"], (4,), 3, seed=0)
    >>> forward(torch.ones(2, 4)).shape, list(parameters)
    (torch.Size([2, 3]), ['W', 'b'])
    """
    # Seed the CPU's generator alone: torch.manual_seed would also seed every accelerator.
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        generator = torch.default_generator.manual_seed(seed)
        model = recipe.model(input_shape, num_outputs)
        if isinstance(model, nn.Module):
            model.to(device, dtype)
            return model, dict(model.named_parameters())
        drawn = model.init(generator, dtype=torch.get_default_dtype())
    parameters = {name: p.detach().to(device, dtype).requires_grad_() for name, p in drawn.items()}
    return partial(model.apply, parameters), parameters


def _num_features(input_shape: tuple[int, ...]) -> int:
    if len(input_shape) != 1:
        raise ValueError(f"`input_shape` must be (num_features,), got {input_shape}. Flatten the inputs.")
    return input_shape[0]


def _num_channels(input_shape: tuple[int, ...]) -> int:
    if len(input_shape) != 3:
        raise ValueError(f"`input_shape` must be (channels, height, width), got {input_shape}.")
    return input_shape[0]


def two_rates(parameters: Mapping[str, Tensor], learning_rate: float) -> Optimizer:
    """Gradient descent for `bare.two_layer`: a tenth of the rate for the hidden layer.

    Args:
        parameters: `W1`, `b1`, `w2` and `b2`, updated in place.
        learning_rate: of the output layer, `w2` and `b2`.

    Returns:
        The optimiser.

    Differs:
        Optax partitions the parameters by labels; `torch.optim` would take two parameter groups.

    Source:
        Notebook, section 3.3.3.
    """
    hidden = ("W1", "b1")
    return GradientDescent(
        parameters, {name: learning_rate / 10 if name in hidden else learning_rate for name in parameters}
    )


def _sgd(parameters: Mapping[str, Tensor], learning_rate: float) -> Optimizer:
    return torch.optim.SGD(parameters.values(), lr=learning_rate)


_LOGISTIC = Recipe(
    model=lambda shape, _: bare.logistic(_num_features(shape)),
    loss=losses.binary_cross_entropy,
    metrics={"loss": losses.binary_cross_entropy, "accuracy": metrics.binary_accuracy},
    optimizer=GradientDescent,
    learning_rate=0.05,
    epochs=400,
    batch_size=None,
    labels="binary",
)

_SOFTMAX = Recipe(
    model=lambda shape, num_outputs: bare.softmax(_num_features(shape), num_outputs),
    loss=losses.cross_entropy,
    metrics={"loss": losses.cross_entropy_sum, "accuracy": metrics.accuracy},  # a sum, yet mean gradients
    optimizer=GradientDescent,
    learning_rate=0.1,
    epochs=300,
    batch_size=None,
    labels="one_hot",
)

_TWO_LAYER_TANH = Recipe(
    model=lambda shape, _: bare.two_layer(_num_features(shape)),
    loss=losses.binary_cross_entropy,
    metrics={"loss": losses.binary_cross_entropy, "accuracy": metrics.binary_accuracy},
    optimizer=two_rates,
    learning_rate=0.001,
    epochs=10000,
    batch_size=None,
    labels="binary",
    also=((5000, 0.05), (500, 0.5)),
)

_TWO_LAYER_AS_CODED = _TWO_LAYER_TANH._replace(
    model=lambda shape, _: bare.two_layer(
        _num_features(shape), hidden_activation=activations.shifted_logistic
    ),
)

_TWO_LAYER_AS_PRINTED = _TWO_LAYER_TANH._replace(
    model=lambda shape, _: bare.two_layer(
        _num_features(shape), hidden_activation=activations.shifted_logistic_as_printed
    ),
)

_SOFTMAX_MEAN_ALL = Recipe(
    model=lambda shape, num_outputs: bare.softmax_mean_all(_num_features(shape), num_outputs),
    loss=losses.cross_entropy_mean_all,
    metrics={"loss": losses.cross_entropy_mean_all, "accuracy": metrics.accuracy},
    optimizer=GradientDescent,
    learning_rate=0.5,
    epochs=500,
    batch_size=None,
    labels="one_hot",
)

_SOFTMAX_MODULE = _SOFTMAX_MEAN_ALL._replace(
    model=lambda shape, num_outputs: modules.SoftmaxModule(_num_features(shape), num_outputs),
    optimizer=_sgd,
)

_LINEAR = Recipe(
    model=lambda shape, num_outputs: modules.linear(_num_features(shape), num_outputs),
    loss=losses.cross_entropy,
    metrics={"loss": losses.cross_entropy, "accuracy": metrics.accuracy},
    optimizer=_sgd,
    learning_rate=0.1,
    epochs=500,
    batch_size=None,
    labels="index",
)

_LINEAR_MINIBATCH = _LINEAR._replace(epochs=200, batch_size=64)

_MLP = _LINEAR._replace(
    model=lambda shape, num_outputs: modules.mlp([_num_features(shape), 200, 50, 20, num_outputs]),
    learning_rate=0.01,
    epochs=300,
    batch_size=64,
)

_CNN = _LINEAR._replace(
    model=lambda shape, num_outputs: modules.cnn((_num_channels(shape), 16, 16, num_outputs)),
    epochs=2500,
    batch_size=64,
    images=True,
)

_CNN_GLOBAL_POOL = _CNN._replace(
    model=lambda shape, num_outputs: modules.cnn_global_pool((_num_channels(shape), 16, 16, num_outputs)),
)

_REGRESSION = Recipe(
    model=lambda shape, _: modules.regression(_num_features(shape)),
    loss=losses.square_error,
    metrics={"loss": losses.square_error, "r_squared": metrics.r_squared},
    optimizer=_sgd,
    learning_rate=0.05,
    epochs=200,
    batch_size=64,
    labels="real",
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "logistic": _LOGISTIC,
        "softmax": _SOFTMAX,
        "two_layer_tanh": _TWO_LAYER_TANH,
        "two_layer_as_coded": _TWO_LAYER_AS_CODED,
        "two_layer_as_printed": _TWO_LAYER_AS_PRINTED,
        "softmax_mean_all": _SOFTMAX_MEAN_ALL,
        "softmax_module": _SOFTMAX_MODULE,
        "linear": _LINEAR,
        "linear_minibatch": _LINEAR_MINIBATCH,
        "mlp": _MLP,
        "cnn": _CNN,
        "cnn_global_pool": _CNN_GLOBAL_POOL,
        "regression": _REGRESSION,
    }
)
"""The recipes in the order of the notebook; the keys are those of `jaxnn.RECIPES`."""
