"""Kernels of convolutions in the wrong layout, or convolved with the wrong pixels and channels."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from parity.report.kinds import CauseKind, Stage
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes, weights

F = nn.functional
CHANNELS_LAST = {"x": (0, 2, 3, 1)}
NHWC = ("NHWC", "HWIO", "NHWC")
UP = (2, 3, 0, 1)  # PyTorch's (I, O, H, W) of a transposed convolution to JAX's; H and W are flipped, too


class ConvNet(linen.Module):
    """Two convolutions and a mean over space, NHWC."""

    width: int
    outputs: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.relu(linen.Conv(self.width, (3, 3), padding=1)(x))
        return jnp.mean(linen.Conv(self.outputs, (3, 3), padding=1)(x), axis=(1, 2))


def conv_pair(channels: int, width: int, axes: tuple[int, ...]) -> Pair:
    """A torch net with the same convolutions; the first kernel is transposed by `axes`."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.body = nn.Conv2d(channels, width, 3, padding=1), nn.Conv2d(width, 5, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(F.relu(self.stem(x))).mean(dim=(2, 3))

    model = randomise(Net())
    w = weights(model)
    layers = {
        "Conv_0": {"kernel": w["stem.weight"].transpose(axes), "bias": w["stem.bias"]},
        "Conv_1": {"kernel": w["body.weight"].transpose(2, 3, 1, 0), "bias": w["body.bias"]},
    }
    return Pair(
        reference=model,
        candidate=ConvNet(width, 5),
        params={"params": layers},
        inputs={"x": normal(2, channels, 6, 6)},
        layout={"x": (0, 2, 3, 1)},
    )


@fault(
    "W04",
    "OIHW to HWIO with inputs and outputs exchanged",
    cause=CauseKind.KERNEL_LAYOUT,
    stage=Stage.WEIGHTS,
    module="stem",
    tensors=("stem.weight",),
    also=(CauseKind.TRANSPOSED_KERNEL,),
)
def conv_in_out(faulty: bool) -> Pair:
    return conv_pair(4, 4, (2, 3, 0, 1) if faulty else (2, 3, 1, 0))


@fault(
    "W05",
    "OIHW to HWIO with height and width exchanged",
    cause=CauseKind.KERNEL_LAYOUT,
    stage=Stage.WEIGHTS,
    module="stem",
    tensors=("stem.weight",),
    also=(CauseKind.TRANSPOSED_KERNEL,),
)
def conv_height_width(faulty: bool) -> Pair:
    return conv_pair(3, 4, (3, 2, 1, 0) if faulty else (2, 3, 1, 0))


@fault(
    "W07",
    "ConvTranspose: PyTorch's padding 1 copied, where JAX needs kernel - 1 - padding",
    cause=CauseKind.PADDING,
    module="up",
    convert=lambda w: {
        "up/kernel": w["up.weight"].transpose(UP)[::-1, ::-1],
        "up/bias": w["up.bias"],
        "head/kernel": w["head.weight"].T,
        "head/bias": w["head.bias"],
    },
)
def transposed_padding(faulty: bool) -> Pair:
    class Upsampler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.ConvTranspose2d(3, 4, 4, stride=2, padding=1)
            self.head = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(F.relu(self.up(x)).mean(dim=(2, 3)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        kernel, bias = params["up"]["kernel"], params["up"]["bias"]
        pads = [(1, 1), (1, 1)] if faulty else [(2, 2), (2, 2)]
        h = jax.lax.conv_transpose(x, kernel, (2, 2), pads)  # FAULT: W07
        h = jnp.mean(jax.nn.relu(h + bias), axis=(1, 2))
        return h @ params["head"]["kernel"] + params["head"]["bias"]

    up, head = {"kernel": (4, 4, 3, 4), "bias": (4,)}, {"kernel": (4, 2), "bias": (2,)}
    return Pair(
        reference=randomise(Upsampler()),
        candidate=apply,
        template=shapes({"up": up, "head": head}),
        inputs={"x": normal(2, 3, 5, 5)},
        layout=CHANNELS_LAST,
    )


@fault(
    "W08",
    "ConvTranspose with SAME for padding 1 and output padding 1: shifted by one pixel",
    cause=CauseKind.PADDING,
    module="0",
    convert=lambda w: {
        "up/kernel": w["0.weight"].transpose(UP)[::-1, ::-1],
        "up/bias": w["0.bias"],
    },
    also=(CauseKind.SHIFT,),
)
def transposed_same(faulty: bool) -> Pair:
    class Upsample(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            padding = "SAME" if faulty else ((1, 2), (1, 2))
            self.up = nnx.ConvTranspose(4, 3, (3, 3), strides=(2, 2), padding=padding, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.up(x.transpose(0, 2, 3, 1))  # FAULT: W08
            return jax.nn.sigmoid(h).transpose(0, 3, 1, 2)

    up = nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1, output_padding=1)
    return Pair(
        reference=randomise(nn.Sequential(up, nn.Sigmoid())),
        candidate=Upsample(nnx.Rngs(0)),
        inputs={"x": normal(1, 4, 4, 4)},
    )


@fault(
    "W10",
    "depthwise convolution with multiplier: outputs in order (multiplier, channel)",
    cause=CauseKind.ORDER,
    module="depthwise",
    convert=by_table({"depthwise": ("depthwise.weight", (2, 3, 0, 1)), "bias": "depthwise.bias"}),
)
def depthwise_multiplier(faulty: bool) -> Pair:
    class Depthwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.depthwise = nn.Conv2d(4, 16, 3, groups=4, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.depthwise(x)).mean(dim=(2, 3))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        kernel = params["depthwise"].reshape(3, 3, 4, 4)  # height, width, channel, multiplier
        padded = jnp.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        height, width = x.shape[1:3]
        h = jnp.zeros((*x.shape, 4), x.dtype)
        for i in range(3):
            for j in range(3):
                h += padded[:, i : i + height, j : j + width, :, None] * kernel[i, j]
        if faulty:
            h = h.swapaxes(3, 4).reshape(*x.shape[:3], 16)  # FAULT: W10
        else:
            h = h.reshape(*x.shape[:3], 16)
        return jnp.mean(jax.nn.relu(h + params["bias"]), axis=(1, 2))  # FAULT: W10

    return Pair(
        reference=randomise(Depthwise()),
        candidate=apply,
        template=shapes({"depthwise": (3, 3, 16, 1), "bias": (16,)}),
        inputs={"x": normal(2, 4, 5, 5)},
        layout=CHANNELS_LAST,
    )


@fault(
    "W11",
    "grouped convolution: groups taken interleaved, not as contiguous blocks",
    cause=CauseKind.ORDER,
    module="0",
    convert=by_table({"kernel": ("0.weight", (2, 3, 1, 0)), "bias": "0.bias"}),
    also=(CauseKind.GROUPS,),
)
def interleaved_groups(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        if faulty:
            x = x.reshape(*x.shape[:3], 4, 4).swapaxes(3, 4).reshape(x.shape)  # FAULT: W11
        h = jax.lax.conv_general_dilated(  # FAULT: W11
            x, params["kernel"], (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=4
        )
        return jnp.mean(jax.nn.relu(h + params["bias"]), axis=(1, 2))

    model = nn.Sequential(
        nn.Conv2d(16, 16, 3, groups=4, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    return Pair(
        reference=randomise(model),
        candidate=apply,
        template=shapes({"kernel": (3, 3, 4, 16), "bias": (16,)}),
        inputs={"x": normal(2, 16, 4, 4)},
        layout=CHANNELS_LAST,
    )
