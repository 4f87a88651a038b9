"""The notebook's experiments, rung by rung: `experiments` joined to the functions that it names.

The networks are those of `torchref.bare.NETWORKS` and `torchref.modules.NETWORKS`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments import EXPERIMENTS, Labels, Loss
from torchref import bare, losses, metrics, modules
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


_LOSSES: Mapping[Loss, Metric] = {
    "binary_cross_entropy": losses.binary_cross_entropy,
    "cross_entropy": losses.cross_entropy,
    "cross_entropy_mean_all": losses.cross_entropy_mean_all,
    "cross_entropy_sum": losses.cross_entropy_sum,
    "square_error": losses.square_error,
}

_SCORES: Mapping[Labels, tuple[str, Metric]] = {
    "binary": ("accuracy", metrics.binary_accuracy),
    "one_hot": ("accuracy", metrics.accuracy),
    "index": ("accuracy", metrics.accuracy),
    "real": ("r_squared", metrics.r_squared),
}
"""What is recorded beside the loss, by the form of the labels."""


def _optimizer(name: str) -> Callable[[Mapping[str, Tensor], float], Optimizer]:
    """The optimiser of an experiment: bare tensors are updated by hand, modules by `torch.optim`."""
    if EXPERIMENTS[name].optimizer == "two_rates":
        return two_rates
    return GradientDescent if name in bare.NETWORKS else _sgd


def _recipe(name: str) -> Recipe:
    """The recipe of an experiment."""
    e = EXPERIMENTS[name]
    score, metric = _SCORES[e.labels]
    build = bare.NETWORKS[name] if name in bare.NETWORKS else modules.NETWORKS[name]
    return Recipe(
        lambda shape, num_outputs: build(shape, e.hidden, num_outputs),
        _LOSSES[e.loss],
        {"loss": _LOSSES[e.reported or e.loss], score: metric},
        _optimizer(name),
        learning_rate=e.learning_rate,
        epochs=e.epochs,
        batch_size=e.batch_size,
        labels=e.labels,
        images=e.images,
        also=e.also,
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType({name: _recipe(name) for name in EXPERIMENTS})
"""The recipes in the order of the notebook; the keys are those of `jaxnn.RECIPES`."""
