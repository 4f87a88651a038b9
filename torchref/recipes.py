"""The notebook's experiments, rung by rung: network, loss and optimiser.

All numbers, and the notebook's sections, are those of the experiment of the same name in `experiments`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments import EXPERIMENTS, Labels
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
    labels: Labels
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


def _hidden(name: str) -> tuple[int, ...]:
    return EXPERIMENTS[name].hidden


def _logistic(shape: tuple[int, ...], num_outputs: int) -> BareModel:
    return bare.logistic(_num_features(shape))


def _softmax(shape: tuple[int, ...], num_outputs: int) -> BareModel:
    return bare.softmax(_num_features(shape), num_outputs)


def _two_layer_tanh(shape: tuple[int, ...], num_outputs: int) -> BareModel:
    (num_hidden,) = _hidden("two_layer_tanh")
    return bare.two_layer(_num_features(shape), num_hidden)


def _two_layer_as_coded(shape: tuple[int, ...], num_outputs: int) -> BareModel:
    (num_hidden,) = _hidden("two_layer_as_coded")
    return bare.two_layer(_num_features(shape), num_hidden, activations.shifted_logistic)


def _two_layer_as_printed(shape: tuple[int, ...], num_outputs: int) -> BareModel:
    (num_hidden,) = _hidden("two_layer_as_printed")
    return bare.two_layer(_num_features(shape), num_hidden, activations.shifted_logistic_as_printed)


def _softmax_mean_all(shape: tuple[int, ...], num_outputs: int) -> BareModel:
    return bare.softmax_mean_all(_num_features(shape), num_outputs)


def _softmax_module(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return modules.SoftmaxModule(_num_features(shape), num_outputs)


def _linear(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return modules.linear(_num_features(shape), num_outputs)


def _mlp(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return modules.mlp([_num_features(shape), *_hidden("mlp"), num_outputs])


def _cnn(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return modules.cnn([_num_channels(shape), *_hidden("cnn"), num_outputs])


def _cnn_global_pool(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    return modules.cnn_global_pool([_num_channels(shape), *_hidden("cnn_global_pool"), num_outputs])


def _regression(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
    (num_hidden,) = _hidden("regression")
    return modules.regression(_num_features(shape), num_hidden)


_SCORES: Mapping[Labels, tuple[str, Metric]] = {
    "binary": ("accuracy", metrics.binary_accuracy),
    "one_hot": ("accuracy", metrics.accuracy),
    "index": ("accuracy", metrics.accuracy),
    "real": ("r_squared", metrics.r_squared),
}
"""What is recorded beside the loss, by the form of the labels."""


def _recipe(
    name: str,
    model: Callable[[tuple[int, ...], int], BareModel | nn.Module],
    loss: Metric,
    optimizer: Callable[[Mapping[str, Tensor], float], Optimizer],
    *,
    reported: Metric | None = None,
) -> Recipe:
    """The recipe of an experiment, with its numbers; `reported` is recorded, as a rule the loss."""
    e = EXPERIMENTS[name]
    score, metric = _SCORES[e.labels]
    return Recipe(
        model,
        loss,
        {"loss": reported or loss, score: metric},
        optimizer,
        learning_rate=e.learning_rate,
        epochs=e.epochs,
        batch_size=e.batch_size,
        labels=e.labels,
        images=e.images,
        also=e.also,
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "logistic": _recipe("logistic", _logistic, losses.binary_cross_entropy, GradientDescent),
        # the sum is reported, the mean descended
        "softmax": _recipe(
            "softmax", _softmax, losses.cross_entropy, GradientDescent, reported=losses.cross_entropy_sum
        ),
        "two_layer_tanh": _recipe("two_layer_tanh", _two_layer_tanh, losses.binary_cross_entropy, two_rates),
        "two_layer_as_coded": _recipe(
            "two_layer_as_coded", _two_layer_as_coded, losses.binary_cross_entropy, two_rates
        ),
        "two_layer_as_printed": _recipe(
            "two_layer_as_printed", _two_layer_as_printed, losses.binary_cross_entropy, two_rates
        ),
        "softmax_mean_all": _recipe(
            "softmax_mean_all", _softmax_mean_all, losses.cross_entropy_mean_all, GradientDescent
        ),
        "softmax_module": _recipe("softmax_module", _softmax_module, losses.cross_entropy_mean_all, _sgd),
        "linear": _recipe("linear", _linear, losses.cross_entropy, _sgd),
        "linear_minibatch": _recipe("linear_minibatch", _linear, losses.cross_entropy, _sgd),
        "mlp": _recipe("mlp", _mlp, losses.cross_entropy, _sgd),
        "cnn": _recipe("cnn", _cnn, losses.cross_entropy, _sgd),
        "cnn_global_pool": _recipe("cnn_global_pool", _cnn_global_pool, losses.cross_entropy, _sgd),
        "regression": _recipe("regression", _regression, losses.square_error, _sgd),
    }
)
"""The recipes in the order of the notebook; the keys are those of `jaxnn.RECIPES`."""
