"""Convolutions whose windows lie in the wrong place."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from collections import OrderedDict
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
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
    "P01",
    "stride 2 with SAME, which pads (0, 1), for padding 1, which pads (1, 1)",
    cause=CauseKind.PADDING,
    module="stem",
    convert=by_table(
        {
            "params/stem/kernel": ("stem.weight", HWIO),
            "params/stem/bias": "stem.bias",
            "params/head/kernel": ("head.weight", (1, 0)),
            "params/head/bias": "head.bias",
        }
    ),
)
def strided_same(faulty: bool) -> Pair:
    padding: Any = "SAME" if faulty else 1

    class Classifier(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = linen.Conv(6, (3, 3), strides=2, padding=padding, name="stem")(x)  # FAULT: P01
            x = linen.silu(x).mean(axis=(1, 2))
            return linen.Dense(3, name="head")(x)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.silu(self.stem(x)).mean(dim=(2, 3)))

    layers = {
        "stem": {"kernel": (3, 3, 3, 6), "bias": (6,)},
        "head": {"kernel": (6, 3), "bias": (3,)},
    }
    return Pair(
        reference=randomise(Network()),
        candidate=Classifier(),
        template=shapes({"params": layers}),
        inputs={"x": normal(2, 3, 8, 8)},
        layout={"x": (0, 2, 3, 1)},
    )


@fault(
    "P07",
    "kernel dilation dropped under SAME padding",
    cause=CauseKind.DILATION,
    module="wide",
    convert=by_table(
        {
            "narrow/kernel": ("narrow.weight", (2, 1, 0)),
            "narrow/bias": "narrow.bias",
            "wide/kernel": ("wide.weight", (2, 1, 0)),
            "wide/bias": "wide.bias",
        }
    ),
)
def dilation(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.narrow = nn.Conv1d(3, 6, 3, padding=1)
            self.wide = nn.Conv1d(6, 4, 3, padding=2, dilation=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.wide(F.gelu(self.narrow(x)))

    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            step = 1 if faulty else 2
            self.narrow = nnx.Conv(3, 6, (3,), rngs=rngs)
            self.wide = nnx.Conv(6, 4, (3,), kernel_dilation=step, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = jax.nn.gelu(self.narrow(x.transpose(0, 2, 1)), approximate=False)
            h = self.wide(h)  # FAULT: P07
            return h.transpose(0, 2, 1)

    return Pair(
        reference=randomise(Network()),
        candidate=Port(nnx.Rngs(0)),
        inputs={"x": normal(2, 3, 12)},
    )


@fault(
    "P08",
    "border pixels repeated (symmetric) where they are mirrored without (reflect)",
    cause=CauseKind.PADDING,
    module="pad",
    convert=by_table({"stem/kernel": ("stem.weight", HWIO), "stem/bias": "stem.bias"}),
)
def reflect(faulty: bool) -> Pair:
    layers = OrderedDict(pad=nn.ReflectionPad2d(1), stem=nn.Conv2d(3, 4, 3), act=nn.ReLU())

    def apply(params: Any, x: jax.Array) -> jax.Array:
        around = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = x.transpose(0, 2, 3, 1)
        if faulty:
            x = jnp.pad(x, around, mode="symmetric")  # FAULT: P08
        else:
            x = jnp.pad(x, around, mode="reflect")
        h = jax.lax.conv_general_dilated(x, params["stem"]["kernel"], (1, 1), "VALID", dimension_numbers=NHWC)
        return jax.nn.relu(h + params["stem"]["bias"]).transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(nn.Sequential(layers)),
        candidate=apply,
        template=shapes({"stem": {"kernel": (3, 3, 3, 4), "bias": (4,)}}),
        inputs={"x": normal(2, 3, 7, 7)},
    )


@fault(
    "P10",
    "causal convolution padded on both sides: the future leaks",
    cause=CauseKind.PADDING,
    module="conv",
    also=(CauseKind.SHIFT,),
    convert=lambda w: {
        "conv/weight": w["conv.weight"],
        "conv/bias": w["conv.bias"][:, None],
        "out/weight": w["out.weight"],
        "out/bias": w["out.bias"][:, None],
    },
)
def causal(faulty: bool) -> Pair:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv1d(3, 8, 3, padding=2), nn.Conv1d(8, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.conv(x)[..., :-2]))

    class Port(eqx.Module):
        conv: eqx.nn.Conv1d
        out: eqx.nn.Conv1d

        def __init__(self, key: jax.Array) -> None:
            pads = ((1, 1),) if faulty else ((2, 0),)
            self.conv = eqx.nn.Conv1d(3, 8, 3, padding=pads, key=key)
            self.out = eqx.nn.Conv1d(8, 4, 1, key=key)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = jax.vmap(self.conv)(x)  # FAULT: P10
            return jax.vmap(self.out)(jnp.tanh(h))

    return Pair(
        reference=randomise(Causal()),
        candidate=Port(jax.random.key(0)),
        inputs={"x": normal(2, 3, 16)},
    )


@fault(
    "P11",
    "jnp.convolve turns the filter around, conv1d does not",
    cause=CauseKind.FLIPPED_KERNEL,
    convert=by_table({"taps": "taps", "gain": "gain"}),
)
def convolve(faulty: bool) -> Pair:
    class Smoother(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.taps, self.gain = nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            smooth = F.conv1d(x[:, None], self.taps[None, None], padding=2)[:, 0]
            return x - self.gain * smooth

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        taps = params["taps"] if faulty else params["taps"][::-1]
        smooth = jax.vmap(lambda row: jnp.convolve(row, taps, mode="same"))(x)  # FAULT: P11
        return x - params["gain"] * smooth

    return Pair(
        reference=randomise(Smoother()),
        candidate=apply,
        template=shapes({"taps": (5,), "gain": (16,)}),
        inputs={"x": normal(3, 16)},
    )


@fault(
    "P13",
    "padded with zeros before the normalisation, not after it (with the mean)",
    convert=by_table({"stem/kernel": ("stem.weight", HWIO), "stem/bias": "stem.bias"}),
)
def pad_then_normalise(faulty: bool) -> Pair:
    mean, std = np.float32([0.5, 0.25, 0.375]), np.float32([0.25, 0.5, 0.125])

    class Preprocessed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = (x - torch.from_numpy(mean)[:, None, None]) / torch.from_numpy(std)[:, None, None]
            return self.stem(F.pad(x, (1, 1, 1, 1)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        around = ((0, 0), (1, 1), (1, 1), (0, 0))
        if faulty:
            x = jnp.pad(x, around)  # FAULT: P13
            x = (x - mean) / std  # FAULT: P13
        else:
            x = jnp.pad((x - mean) / std, around)
        h = jax.lax.conv_general_dilated(x, params["stem"]["kernel"], (1, 1), "VALID", dimension_numbers=NHWC)
        return (h + params["stem"]["bias"]).transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(Preprocessed()),
        candidate=lambda params, x: apply(params, x.transpose(0, 2, 3, 1)),
        template=shapes({"stem": {"kernel": (3, 3, 3, 4), "bias": (4,)}}),
        inputs={"x": np.abs(normal(2, 3, 6, 6))},
    )
