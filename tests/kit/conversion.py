"""PyTorch's weights converted to JAX by hand, as a careful user converts them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tests.kit.weights import Arrays

Convert = Callable[[Arrays], Mapping[str, Any]]
"""From a state dict to the JAX leaves by path."""


def by_table(table: Mapping[str, str | tuple[str, tuple[int, ...]]]) -> Convert:
    """A conversion from a table: JAX path -> PyTorch name, or (name, permutation of its axes)."""

    def convert(own: Arrays) -> Arrays:
        rows = {path: (row, None) if isinstance(row, str) else row for path, row in table.items()}
        return {path: own[name].transpose(axes) if axes else own[name] for path, (name, axes) in rows.items()}

    return convert


def dense(t: Arrays, name: str) -> Arrays:
    """A PyTorch linear layer as kernel (in, out) and bias."""
    return {"kernel": t[f"{name}.weight"].T} | _bias(t, name)


def conv(t: Arrays, name: str) -> Arrays:
    """A PyTorch convolution as kernel (..., in, out) and bias."""
    return {"kernel": np.moveaxis(t[f"{name}.weight"], (1, 0), (-2, -1))} | _bias(t, name)


def norm(t: Arrays, name: str) -> Arrays:
    """A PyTorch normalisation as scale and bias."""
    return {"scale": t[f"{name}.weight"]} | _bias(t, name)


def stats(t: Arrays, name: str) -> Arrays:
    """The running statistics of a PyTorch normalisation as mean and var."""
    return {"mean": t[f"{name}.running_mean"], "var": t[f"{name}.running_var"]}


def equinox(t: Arrays, name: str, path: str, ndim: int = 0) -> Arrays:
    """Weight and bias as Equinox has them, whose convolutions have a bias with axes of length one."""
    biases = {leaf: bias.reshape(-1, *[1] * ndim) for leaf, bias in _bias(t, name).items()}
    return {f"{path}/{leaf}": array for leaf, array in ({"weight": t[f"{name}.weight"]} | biases).items()}


def _bias(t: Arrays, name: str) -> Arrays:
    """The bias of a layer that has one."""
    return {"bias": t[f"{name}.bias"]} if f"{name}.bias" in t else {}
