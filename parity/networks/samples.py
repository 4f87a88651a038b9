"""The samples of a case: one data set in the forms that both frameworks read."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

import data
from data import draws
from experiments import EXPERIMENTS
from parity.numerics.arrays import Arrays

REGRESSION_DATA = "diabetes"
"""The regression rung has a data set of its own, whatever `--data` says."""


class Samples(NamedTuple):
    """Training and validation samples, floating values held in float64.

    Attributes:
        inputs: name -> array, the named inputs of the training programs.
        input_shape: shape of one input as PyTorch takes it: (D,) or (C, H, W).
        num_outputs: number of classes (1 for binary and real labels).
    """

    inputs: dict[str, Shaped[np.ndarray, "..."]]
    input_shape: tuple[int, ...]
    num_outputs: int

    @property
    def jax_input_shape(self) -> tuple[int, ...]:
        """Shape of one input as JAX takes it: (D,) or (H, W, C)."""
        return (*self.input_shape[1:], self.input_shape[0])


def load_samples(name: str, *, labels: str, images: bool, limit: int | None = None) -> Samples:
    """Load a data set in the form a recipe wants.

    Args:
        name: "embedded", "sign-digits" or "dogs-cats" (ignored for real labels).
        labels: "binary", "one_hot", "index" or "real".
        images: raw images (N, 1, 64, 64) instead of scaled vectors (N, D).
        limit: keep this many training samples and a quarter as many for validation, the first of the
            shuffled ones; None keeps all.

    Raises:
        ValueError: if the data set is unknown or not prepared, saying how to prepare it.
    """
    loaded = data.load(
        REGRESSION_DATA if labels == "real" else name,
        force_binary=labels == "binary",
        flatten=not images,
        scale=not images,
    )
    x_train, x_val = (x[:, None] if images else x for x in (loaded.x_train, loaded.x_val))
    y_train, y_val = (_labelled(y, labels) for y in (loaded.y_train, loaded.y_val))
    num_outputs = 1
    if labels in ("one_hot", "index"):
        num_outputs = loaded.y_train.shape[1] if loaded.y_train.ndim == 2 else 2
    held = {"x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val}
    if limit is not None:
        held = {k: v[: limit if k.endswith("train") else limit // 4] for k, v in held.items()}
    inputs = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in held.items()}
    return Samples(inputs, x_train.shape[1:], num_outputs)


def draw_numbers(recipe: str, num_samples: int, *, epochs: int, seed: int) -> Arrays:
    """Draw the random numbers that both networks of a recipe take in training.

    Args:
        recipe: name of the recipe.
        num_samples: training samples of an epoch.
        epochs: how many epochs.
        seed: of the numbers.

    Returns:
        Arrays of shape (epochs, num_samples, ...) by the name of the argument that takes them; often none.
    """
    e = EXPERIMENTS[recipe]
    drawn: draws.Draws = {}
    if e.dropout_rate:
        drawn |= draws.keep(num_samples, sum(e.hidden), e.dropout_rate, epochs=epochs, seed=seed)
    if e.augmented:
        drawn |= draws.augmentation(num_samples, epochs=epochs, seed=seed)
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in drawn.items()}


def _labelled(y: Float[np.ndarray, "N *K"], labels: str) -> Float[np.ndarray, "N *K"] | Int[np.ndarray, " N"]:
    """Labels in the form a loss wants; binary labels serve a network of two classes, too."""
    if labels in ("binary", "real"):
        return y
    index = y.astype(np.int64) if y.ndim == 1 else y.argmax(axis=1)
    num_classes = 2 if y.ndim == 1 else y.shape[1]
    return index if labels == "index" else np.eye(num_classes)[index]
