"""A case with its data loaded and its weights drawn: what all programs of the case share."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import torch
from jaxtyping import PyTree

import jaxnn
import torchref
from data import batches
from parity.networks.registry import Case
from parity.networks.samples import Samples, load_samples
from parity.pipeline.pairs import Pair, match
from parity.pipeline.request import Weights

Network = torch.nn.Module | Callable[..., torch.Tensor]
"""PyTorch's network: a module with its parameters, or a function `(params, x) -> logits` of bare tensors."""


class Drawn(NamedTuple):
    """Both networks of a case, the weights of one, the samples and their order.

    Attributes:
        torch_recipe: PyTorch's recipe.
        jax_recipe: JAX's.
        samples: the samples, float64.
        network: PyTorch's network, a module or a function of `torch_params`.
        torch_params: its tensors, None for a module.
        model: JAX's network.
        template: shapes and dtypes of its params.
        order: the order of the training samples in every epoch of minibatches, None for full batches.
    """

    torch_recipe: torchref.Recipe
    jax_recipe: jaxnn.Recipe
    samples: Samples
    network: Network
    torch_params: dict[str, torch.Tensor] | None
    model: jaxnn.Model
    template: PyTree
    order: np.ndarray | None

    @property
    def weights(self) -> Weights:
        """Where the weights of both networks come from."""
        return Weights(template=self.template, reference_params=self.torch_params)

    def pair(self) -> Pair:
        """Both networks with PyTorch's weights, planned from names and shapes."""
        return match(self.network, self.model.apply, self.weights)


def draw_case(case: Case, data_name: str, *, seed: int = 0, limit: int | None = None) -> Drawn:
    """Load the data of a case and draw its weights from a seed.

    Args:
        case: which one.
        data_name: "embedded", "sign-digits" or "dogs-cats".
        seed: of the weights.
        limit: keep this many training samples; None keeps all.

    Raises:
        ValueError: if the data set is unknown or not prepared.
    """
    torch_recipe, jax_recipe = torchref.RECIPES[case.torch_recipe or case.recipe], jaxnn.RECIPES[case.recipe]
    samples = load_samples(data_name, labels=torch_recipe.labels, images=torch_recipe.images, limit=limit)
    network, torch_params = draw(torch_recipe, samples, seed)
    model = jax_recipe.model(samples.jax_input_shape, samples.num_outputs)
    template = jax.eval_shape(model.init, jax.random.key(seed))
    order = None
    if torch_recipe.batch_size:
        order = batches.order(len(samples.inputs["x_train"]), batch_size=torch_recipe.batch_size)[0]
    return Drawn(torch_recipe, jax_recipe, samples, network, torch_params, model, template, order)


def draw(
    recipe: torchref.Recipe, samples: Samples, seed: int
) -> tuple[Network, dict[str, torch.Tensor] | None]:
    """Draw the weights of a recipe's PyTorch network from a seed.

    Args:
        recipe: PyTorch's recipe.
        samples: their shapes decide those of the network.
        seed: of the weights.

    Returns:
        A module and None, or a function and its tensors by name.

    Raises:
        TypeError: if the recipe makes neither an nn.Module nor a BareModel.
    """
    shape, num_outputs = samples.input_shape, samples.num_outputs
    forward, parameters = torchref.instantiate(recipe, shape, num_outputs, seed=seed)
    if isinstance(forward, torch.nn.Module):
        return forward, None
    bare = recipe.model(shape, num_outputs)
    if not isinstance(bare, torchref.BareModel):
        raise TypeError(f"recipe makes {type(bare).__name__}; it must be an nn.Module or a BareModel")
    return bare.apply, parameters
