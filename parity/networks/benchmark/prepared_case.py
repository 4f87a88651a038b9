"""What is timed: a case with its data and weights, one run or many, and the contenders that train it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import numpy as np
import torch
from jaxtyping import PyTree

import jaxnn
import torchref
from parity.networks.drawing import draw_case
from parity.networks.network_training import to_nhwc
from parity.networks.registry import Case
from parity.networks.samples import Samples
from parity.numerics.arrays import Arrays, in_float32
from parity.pipeline.pairs import Pair

History = Mapping[str, np.ndarray | jax.Array | torch.Tensor | int]
"""What a call measured: `train_loss`, `val_loss` and so on, an entry per epoch; of many runs a row each.

A program that does not train by epochs says with `iterations` how many steps of its own it made.
"""

EPOCH = "epoch"
"""What a time is of, usually."""


class Contender(NamedTuple):
    """One way to train the network.

    Attributes:
        name: what the table calls it.
        framework: "jax", "torch", "numpy" or "sklearn".
        make: `make(epochs) -> run`, where `run()` trains from the start, waits until all is done and returns
            the history; the first run compiles.
        note: what sets it apart, in words.
        eager: whether it is a form of PyTorch that the others are compared with.
        per: what a time is of: an epoch, or a step of another algorithm, which ends at a loss of its own.
        which: the numbers of the runs that one call trains.
    """

    name: str
    framework: str
    make: Callable[[int], Callable[[], History]]
    note: str = ""
    eager: bool = False
    per: str = EPOCH
    which: tuple[int, ...] = (0,)


class PreparedCase(NamedTuple):
    """A case with its data and weights: what all programs share.

    Attributes:
        case: the case.
        torch_recipe: PyTorch's recipe.
        jax_recipe: JAX's.
        samples: all samples, float64.
        pair: both networks with the weights between them.
        params: JAX's params, float32.
        arrays: the samples as JAX takes them, float32.
        order: the order of the samples in an epoch of minibatches, else None.
        device: "cpu" or "cuda".
        rates: the learning rates of many runs from one start; None for one run with the recipe's.
    """

    case: Case
    torch_recipe: torchref.Recipe
    jax_recipe: jaxnn.Recipe
    samples: Samples
    pair: Pair
    params: PyTree
    arrays: dict[str, np.ndarray]
    order: np.ndarray | None
    device: str
    rates: tuple[float, ...] | None = None

    @property
    def title(self) -> str:
        """What the table calls it."""
        return self.case.name if self.rates is None else f"{self.case.name} x{len(self.rates)}"


def prepare_case(
    case: Case, *, data_name: str, device: str, runs: int | None = None, seed: int = 0
) -> PreparedCase:
    """Load the data of a case and draw its weights.

    Args:
        case: which one.
        data_name: "embedded", "sign-digits" or "dogs-cats".
        device: "cpu" or "cuda".
        runs: how many learning rates, evenly spaced on a logarithmic scale from a tenth of the recipe's up to
            it; None for one run with the recipe's.
        seed: of the weights.

    Raises:
        ValueError: if the data set is unknown or not prepared.
    """
    drawn = draw_case(case, data_name, seed=seed)
    pair = drawn.pair()
    params = pair.candidate.tree.build(
        {path: in_float32(leaf) for path, leaf in pair.candidate_weights.items()}
    )
    arrays = {n: in_float32(to_nhwc(a, n)) for n, a in drawn.samples.inputs.items()}
    highest = drawn.torch_recipe.learning_rate
    rates = None if runs is None else tuple(np.geomspace(highest / 10, highest, runs).tolist())
    return PreparedCase(
        case,
        drawn.torch_recipe,
        drawn.jax_recipe,
        drawn.samples,
        pair,
        params,
        arrays,
        drawn.order,
        device,
        rates,
    )


def affine_layers(weights: Arrays) -> list[tuple[np.ndarray, np.ndarray]]:
    """(matrix, bias) of each layer, (outputs, inputs) and (outputs,), of a network of affine layers alone.

    Args:
        weights: PyTorch's by name: `w` or `W` and `b`, or `weight` and `bias`, in sequence `0.weight` ...

    Returns:
        The layers in float32, from input to output; none if the network has others.
    """
    arrays = {name: in_float32(array) for name, array in weights.items()}
    if set(arrays) in ({"W", "b"}, {"w", "b"}):
        kernel, bias = arrays["W" if "W" in arrays else "w"], arrays["b"]
        turn = kernel.ndim == 2 and len(kernel) != len(bias)
        return [(kernel.T if turn else kernel.reshape(len(bias), -1), bias)]
    names = [name.removesuffix("weight") for name in arrays if name.endswith("weight")]
    layers = [(arrays[f"{name}weight"], arrays[f"{name}bias"]) for name in names if f"{name}bias" in arrays]
    affine = 2 * len(layers) == len(arrays) and all(matrix.ndim == 2 for matrix, _ in layers)
    return layers if affine else []
