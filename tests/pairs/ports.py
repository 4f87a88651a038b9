"""How a right port is declared: both models, inputs, and the weights converted by hand."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from flax import nnx
from torch import nn


class Port(NamedTuple):
    """A PyTorch model and its right port.

    Attributes:
        torch_model: with random weights, biases and statistics, in eval mode.
        jax_model: what `parity.check` takes.
        inputs: arrays by argument name, in PyTorch's layout.
        params: the JAX model's leaves converted by hand: nested dicts, or leaves by path.
        template: params of a function, to be loaded.
        layout: input name -> permutation from PyTorch's axes to JAX's.
        outputs: as in `parity.check`, where the two return different things.
        single: whether the JAX model cannot run in float64, because it says float32 by name.
    """

    torch_model: nn.Module
    jax_model: Any
    inputs: dict[str, np.ndarray]
    params: Any
    template: Any = None
    layout: dict[str, tuple[int, ...]] | None = None
    outputs: Any = None
    single: bool = False

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `parity.check`, without any help from the weights converted by hand."""
        given = {"torch_model": self.torch_model, "jax_model": self.jax_model, "inputs": self.inputs}
        extra = {"template": self.template, "outputs": self.outputs}
        return given | {name: value for name, value in extra.items() if value is not None}


PORTS: dict[str, Callable[[], Port]] = {}
"""Every port by name; importing a module of this folder adds its own."""

NHWC = (0, 2, 3, 1)
NWC = (0, 2, 1)
NDHWC = (0, 2, 3, 4, 1)


def port(name: str) -> Callable[[Callable[[], Port]], Callable[[], Port]]:
    """Add a function that makes a port to `PORTS`."""

    def add(make: Callable[[], Port]) -> Callable[[], Port]:
        if name in PORTS:
            raise ValueError(f"there are two ports of the name {name}")
        PORTS[name] = make
        return make

    return add


def plain(
    torch_model: nn.Module,
    jax_model: Callable[..., Any],
    inputs: dict[str, np.ndarray],
    params: Any,
    **rest: Any,
) -> Port:
    """A port to a function `f(params, *inputs)`, whose template has the shapes of the params."""
    return Port(torch_model, jax_model, inputs, params, template=shapes(params), **rest)


def built(module: Callable[[nnx.Rngs], nnx.Module]) -> Any:
    """A Flax NNX module, initialised in one compiled program."""
    return nnx.jit(lambda: module(nnx.Rngs(0)))()


def shapes(params: Any) -> Any:
    """The shapes of a tree of arrays, in float32."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), "float32"), params)


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode, every weight, bias and statistic random and of a sensible size."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, size: float) -> torch.Tensor:
        return size * torch.randn(tensor.shape, generator=generator)

    def positive(tensor: torch.Tensor) -> torch.Tensor:
        return 0.5 + torch.rand(tensor.shape, generator=generator)

    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if not tensor.is_floating_point() or name not in module.state_dict():
                continue
            if name.endswith("running_var") or (tensor.ndim < 2 and name.endswith("weight")):
                tensor.copy_(positive(tensor))
            elif tensor.ndim < 2:
                tensor.copy_(normal(tensor, 0.3))
            else:
                tensor.copy_(normal(tensor, 1 / math.sqrt(math.prod(tensor.shape[1:]))))
    return module.eval()


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    """The state dict as NumPy arrays, in float64 so that sums of biases are exact."""
    return {name: tensor.detach().double().numpy() for name, tensor in module.state_dict().items()}


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    """Random inputs."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(high: int, *shape: int, seed: int = 2) -> np.ndarray:
    """Random indices below `high`."""
    return np.random.default_rng(seed).integers(0, high, shape)


def dense(t: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A PyTorch linear layer as kernel (in, out) and bias."""
    layer = {"kernel": t[f"{name}.weight"].T}
    return layer | ({"bias": t[f"{name}.bias"]} if f"{name}.bias" in t else {})


def conv(t: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A PyTorch convolution as kernel (..., in, out) and bias."""
    layer = {"kernel": np.moveaxis(t[f"{name}.weight"], (1, 0), (-2, -1))}
    return layer | ({"bias": t[f"{name}.bias"]} if f"{name}.bias" in t else {})


def norm(t: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """A PyTorch normalisation as scale and bias."""
    layer = {"scale": t[f"{name}.weight"]}
    return layer | ({"bias": t[f"{name}.bias"]} if f"{name}.bias" in t else {})


def stats(t: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    """The running statistics of a PyTorch normalisation as mean and var."""
    return {"mean": t[f"{name}.running_mean"], "var": t[f"{name}.running_var"]}


def equinox(t: dict[str, np.ndarray], name: str, path: str, ndim: int = 0) -> dict[str, np.ndarray]:
    """Weight and bias as Equinox has them, whose convolutions have a bias with axes of length one."""
    layer = {f"{path}/weight": t[f"{name}.weight"]}
    if f"{name}.bias" in t:
        layer[f"{path}/bias"] = t[f"{name}.bias"].reshape(-1, *[1] * ndim)
    return layer
