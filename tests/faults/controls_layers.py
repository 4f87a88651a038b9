"""Differences in convolutions and in one step of an optimiser that are no faults; `faulty` is ignored."""

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen
from torch import nn

from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional
NHWC = ("NHWC", "HWIO", "NHWC")


class Weight(nn.Module):
    """One weight, to be updated by gradients that are given."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(10))


def updated(model: nn.Module, port: Any, steps: int = 1) -> Pair:
    """A port of one optimiser."""
    return Pair(
        reference=randomise(model),
        candidate=port,
        template=shapes({"w": (10,)}),
        inputs={"g": normal(steps, 10)},
    )


@fault("K06", "AMSGrad's maximum taken after the bias correction, in the first step", benign=True)
def amsgrad(faulty: bool) -> Pair:
    class Step(Weight):
        def forward(self, g: torch.Tensor) -> torch.Tensor:
            highest = torch.clamp(0.001 * g[0] ** 2, min=0)
            return self.w - 0.01 * g[0] / (highest.sqrt() / 0.001**0.5 + 1e-8)

    def apply(params: dict[str, jax.Array], g: jax.Array) -> jax.Array:
        highest = jnp.maximum(0.001 * g[0] ** 2 / 0.001, 0)
        return params["w"] - 0.01 * g[0] / (jnp.sqrt(highest) + 1e-8)

    return updated(Step(), apply)


@fault("K07", "the learning rate inside the momentum buffer, while it is constant", benign=True)
def rate_in_buffer(faulty: bool) -> Pair:
    class Descent(Weight):
        def forward(self, g: torch.Tensor) -> torch.Tensor:
            w, buffer = self.w, torch.zeros_like(self.w)
            for row in g:
                buffer = 0.9 * buffer + row
                w = w - 0.05 * buffer
            return w

    def apply(params: dict[str, jax.Array], g: jax.Array) -> jax.Array:
        w, buffer = params["w"], jnp.zeros_like(params["w"])
        for row in g:
            buffer = 0.9 * buffer + 0.05 * row
            w = w - buffer
        return w

    return updated(Descent(), apply, steps=3)


@fault("K09", "max pool after ReLU, padded with zeros for minus infinity", benign=True)
def zero_padding(faulty: bool) -> Pair:
    layers = OrderedDict(fc=nn.Linear(6, 6), act=nn.ReLU(), pool=nn.MaxPool2d(3, stride=2, padding=1))
    model = randomise(nn.Sequential(layers))

    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jax.nn.relu(x @ p["fc.weight"].T + p["fc.bias"])
        h = jnp.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1)))
        return jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), "VALID")

    return Pair(
        reference=model,
        candidate=apply,
        template=shapes(model.state_dict()),
        inputs={"x": normal(2, 3, 6, 6)},
    )


@fault("K10", "a loss ten times as large under Adam, with a small epsilon", benign=True)
def scaled_loss(faulty: bool) -> Pair:
    def moments(g: Any) -> tuple[Any, Any]:
        first, second = 0.0, 0.0
        for row in g:
            first, second = 0.9 * first + 0.1 * row, 0.999 * second + 0.001 * row**2
        return first / (1 - 0.9**2), second / (1 - 0.999**2)

    class Adam(Weight):
        def forward(self, g: torch.Tensor) -> torch.Tensor:
            first, second = moments(g)
            return self.w - 0.01 * first / (second.sqrt() + 1e-20)

    def apply(params: dict[str, jax.Array], g: jax.Array) -> jax.Array:
        first, second = moments(10 * g)
        return params["w"] - 0.01 * first / (jnp.sqrt(second) + 1e-20)

    return updated(Adam(), apply, steps=2)


@fault(
    "K11",
    "a transposed convolution whose kernel of one pixel is not flipped",
    benign=True,
    convert=by_table({"up/kernel": ("up.weight", (2, 3, 0, 1)), "up/bias": "up.bias"}),
)
def one_pixel(faulty: bool) -> Pair:
    layers = OrderedDict(up=nn.ConvTranspose2d(3, 4, 1, stride=2), act=nn.Tanh())

    def apply(params: Any, x: jax.Array) -> jax.Array:
        kernel = params["up"]["kernel"]  # used as it is, where any other size would have to be flipped
        h = jax.lax.conv_general_dilated(
            x.transpose(0, 2, 3, 1), kernel, (1, 1), [(0, 0)] * 2, lhs_dilation=(2, 2), dimension_numbers=NHWC
        )
        return jnp.tanh(h + params["up"]["bias"]).transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=apply,
        template=shapes({"up": {"kernel": (1, 1, 3, 4), "bias": (4,)}}),
        inputs={"x": normal(2, 3, 4, 4)},
    )


@fault(
    "K14",
    "the bias of a convolution before BatchNorm left out, in training",
    benign=True,
    convert=by_table(
        {
            "params/conv/kernel": ("conv.weight", (2, 3, 1, 0)),
            "params/conv/bias": "conv.bias",
            "params/norm/scale": "norm.weight",
            "params/norm/bias": "norm.bias",
        }
    ),
)
def bias_before_norm(faulty: bool) -> Pair:
    class Port(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            kernel = self.param("kernel", linen.initializers.zeros, (3, 3, 3, 4))
            return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC)

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = Port(name="conv")(x)
            h = linen.BatchNorm(use_running_average=False, name="norm")(h)
            return linen.relu(h)

    def apply(variables: Any, x: jax.Array) -> jax.Array:
        y, _ = Network().apply(variables, x.transpose(0, 2, 3, 1), mutable=["batch_stats"])
        return y.transpose(0, 3, 1, 2)

    norm = nn.BatchNorm2d(4, track_running_stats=False)
    layers = OrderedDict(conv=nn.Conv2d(3, 4, 3, padding=1), norm=norm, act=nn.ReLU())
    params = {
        "conv": {"kernel": (3, 3, 3, 4), "bias": (4,)},
        "norm": {"scale": (4,), "bias": (4,)},
    }
    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=apply,
        template=shapes({"params": params}),
        inputs={"x": normal(2, 3, 5, 5)},
    )
