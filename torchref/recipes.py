"""The notebook's experiments, rung by rung: `experiments` joined to the functions that it names.

The networks are those of `torchref.bare.NETWORKS` and `torchref.modules.NETWORKS`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from experiments import EXPERIMENTS, Experiment, Labels, Loss
from torchref import bare, losses, metrics, modules, penalties
from torchref.augmentation import Augmented
from torchref.bare import BareModel
from torchref.early_stopping import EarlyStopping
from torchref.optimizers import GradientDescent, Optimizer, Schedule
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
        schedule: `schedule(optimizer)` makes what sets the rate of each epoch; `None` for the same rate.
        penalty: `penalty(parameters) -> scalar`, added to the loss; `None` for none.
        early_stopping: when to stop before the last epoch; `None` for never.
        draws: names of the random numbers that the network takes in training, which `data.draws` makes.
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
    schedule: Callable[[Any], Schedule] | None = None
    penalty: Callable[[Mapping[str, Tensor]], Tensor] | None = None
    early_stopping: EarlyStopping | None = None
    draws: tuple[str, ...] = ()


def instantiate(
    recipe: Recipe,
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Callable[..., Tensor], dict[str, Tensor]]:
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


def _adam(parameters: Mapping[str, Tensor], learning_rate: float) -> Optimizer:
    return torch.optim.Adam(parameters.values(), lr=learning_rate)


def _optimizer(name: str, e: Experiment) -> Callable[[Mapping[str, Tensor], float], Optimizer]:
    """The optimiser of an experiment: bare tensors are updated by hand, modules by `torch.optim`."""
    if e.optimizer == "two_rates":
        return two_rates
    if e.optimizer == "adam":
        return _adam
    return GradientDescent if name in bare.NETWORKS else _sgd


def _model(name: str, e: Experiment) -> Callable[[tuple[int, ...], int], BareModel | nn.Module]:
    """How an experiment makes its network."""
    if name in bare.NETWORKS:
        return lambda shape, num_outputs: bare.NETWORKS[name](shape, e.hidden, num_outputs)

    def model(shape: tuple[int, ...], num_outputs: int) -> nn.Module:
        dropout = {"dropout_rate": e.dropout_rate} if e.dropout_rate else {}
        network = modules.NETWORKS[e.network or name](shape, e.hidden, num_outputs, **dropout)
        return Augmented(network) if e.augmented else network

    return model


def _penalty(e: Experiment) -> Callable[[Mapping[str, Tensor]], Tensor] | None:
    """The penalty of an experiment."""
    if e.l1:
        return partial(penalties.l1, factor=e.l1, biases=False)
    return partial(penalties.l2, factor=e.l2, biases=False) if e.l2 else None


def _draws(e: Experiment) -> tuple[str, ...]:
    """The names of the random numbers that an experiment takes."""
    augmentation = ("angle", "scale", "shift", "flip", "brightness") if e.augmented else ()
    return (("keep",) if e.dropout_rate else ()) + augmentation


def _recipe(name: str) -> Recipe:
    """The recipe of an experiment."""
    e = EXPERIMENTS[name]
    score, metric = _SCORES[e.labels]
    return Recipe(
        _model(name, e),
        _LOSSES[e.loss],
        {"loss": _LOSSES[e.reported or e.loss], score: metric},
        _optimizer(name, e),
        learning_rate=e.learning_rate,
        epochs=e.epochs,
        batch_size=e.batch_size,
        labels=e.labels,
        images=e.images,
        also=e.also,
        schedule=None if e.decay == 1 else partial(torch.optim.lr_scheduler.ExponentialLR, gamma=e.decay),
        penalty=_penalty(e),
        early_stopping=None if e.patience is None else EarlyStopping(e.patience, e.min_delta),
        draws=_draws(e),
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType({name: _recipe(name) for name in EXPERIMENTS})
"""The recipes in the order of the notebook; the keys are those of `jaxnn.RECIPES`."""
