"""Pools whose windows lie in the wrong place, or count what lies outside."""

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional
NHWC = ("NHWC", "HWIO", "NHWC")
HWIO = (2, 3, 1, 0)


@fault(
    "P02",
    "max pool, stride 2, with SAME for padding 1",
    cause=CauseKind.PADDING,
    module="pool",
    convert=by_table(
        {
            "stem/kernel": ("stem.weight", HWIO),
            "stem/bias": "stem.bias",
            "head/kernel": ("head.weight", (1, 0)),
            "head/bias": "head.bias",
        }
    ),
)
def pool_same(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.pool = nn.Conv2d(3, 5, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)
            self.head = nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(torch.tanh(self.pool(self.stem(x))).mean(dim=(2, 3)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        x = x.transpose(0, 2, 3, 1)
        h = jax.lax.conv_general_dilated(x, params["stem"]["kernel"], (1, 1), "SAME", dimension_numbers=NHWC)
        h = h + params["stem"]["bias"]
        if faulty:
            h = linen.max_pool(h, (3, 3), strides=(2, 2), padding="SAME")  # FAULT: P02
        else:
            h = linen.max_pool(h, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        h = jnp.tanh(h).mean(axis=(1, 2))
        return h @ params["head"]["kernel"] + params["head"]["bias"]

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes(
            {
                "stem": {"kernel": (3, 3, 3, 5), "bias": (5,)},
                "head": {"kernel": (5, 3), "bias": (3,)},
            }
        ),
        inputs={"x": normal(2, 3, 8, 8)},
    )


@fault(
    "P04",
    "average pool that leaves the padding out of its counts",
    cause=CauseKind.POOL_COUNT,
    module="pool",
    convert=by_table({"kernel": ("mix.weight", HWIO), "bias": "mix.bias"}),
)
def pool_count(faulty: bool) -> Pair:
    pads = ((1, 1), (1, 1))
    layers = OrderedDict(mix=nn.Conv2d(4, 4, 1), act=nn.Sigmoid(), pool=nn.AvgPool2d(3, 1, padding=1))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jnp.einsum("nchw,co->nhwo", x, params["kernel"][0, 0]) + params["bias"]
        h = jax.nn.sigmoid(h)
        h = linen.avg_pool(h, (3, 3), padding=pads, count_include_pad=not faulty)  # FAULT: P04
        return h.transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=apply,
        template=shapes({"kernel": (1, 1, 4, 4), "bias": (4,)}),
        inputs={"x": normal(2, 4, 6, 6)},
    )


@fault(
    "P05",
    "ceil_mode dropped, and the size mended by padding in front",
    cause=CauseKind.PADDING,
    module="pool",
    also=(CauseKind.POOL_MODE,),
    convert=by_table({"weight": "scale.weight", "bias": "scale.bias"}),
)
def ceil_mode(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.pool = nn.Linear(6, 8), nn.MaxPool2d(3, stride=2, ceil_mode=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(self.pool(self.scale(x)))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ params["weight"].T + params["bias"]
        low, high = (1, 0) if faulty else (0, 1)
        pads = ((0, 0), (0, 0), (low, high), (low, high))
        h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2), pads)  # FAULT: P05
        return jnp.sin(h)

    return Pair(
        reference=randomise(Network()),
        candidate=apply,
        template=shapes({"weight": (8, 6), "bias": (8,)}),
        inputs={"x": normal(2, 3, 8, 6)},
    )
