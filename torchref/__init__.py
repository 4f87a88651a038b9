"""The notebook's networks in PyTorch, from bare tensors and autograd to `torch.nn` and `torch.optim`.

Every module has a twin of the same name in `jaxnn`, to be read side by side. Nothing here imports JAX.
Everything follows the device and the dtype of the tensors it is given.
"""

from torchref import (
    activations,
    augmentation,
    bare,
    dropout,
    losses,
    metrics,
    modules,
    optimizers,
    parallel,
    penalties,
    recipes,
    training,
)
from torchref.bare import BareModel
from torchref.early_stopping import EarlyStopping
from torchref.recipes import RECIPES, Recipe, instantiate
from torchref.training import fit

__all__ = [
    "RECIPES",
    "BareModel",
    "EarlyStopping",
    "Recipe",
    "activations",
    "augmentation",
    "bare",
    "dropout",
    "fit",
    "instantiate",
    "losses",
    "metrics",
    "modules",
    "optimizers",
    "parallel",
    "penalties",
    "recipes",
    "training",
]
