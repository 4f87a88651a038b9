"""Channels, space, groups and halves in the wrong order where the weights meet them.

A relabelling of hidden numbers that a weight plan could undo (a Dense output in another order, halves
exchanged) is a fault only beside params that the user converted in the usual way: W13 and W31 give `params`.
"""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes, weights

F = nn.functional
CHANNELS_LAST = {"x": (0, 2, 3, 1)}
NHWC = ("NHWC", "HWIO", "NHWC")


@fault(
    "W13",
    "generator: Dense output reshaped to (h, w, c) with weights for (c, h, w)",
    cause=CauseKind.ORDER,
    tensors=("dense.weight", "dense.bias"),
)
def generator_start(faulty: bool) -> Pair:
    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense, self.reshape = nn.Linear(5, 4 * 4 * 4), nn.Unflatten(1, (4, 4, 4))
            self.up = nn.ConvTranspose2d(4, 3, 2, stride=2)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.up(F.relu(self.reshape(self.dense(z)))))

    def apply(params: Any, z: jax.Array) -> jax.Array:
        h = z @ params["dense"]["kernel"] + params["dense"]["bias"]
        if faulty:
            h = h.reshape(-1, 4, 4, 4)  # FAULT: W13
        else:
            h = h.reshape(-1, 4, 4, 4).transpose(0, 2, 3, 1)
        h = jax.lax.conv_transpose(jax.nn.relu(h), params["up"]["kernel"], (2, 2), "VALID")
        return jnp.tanh(h + params["up"]["bias"]).transpose(0, 3, 1, 2)

    model = randomise(Generator())
    w = weights(model)
    kernel = w["up.weight"].transpose(2, 3, 0, 1)[::-1, ::-1]
    params = {
        "dense": {"kernel": w["dense.weight"].T, "bias": w["dense.bias"]},
        "up": {"kernel": kernel, "bias": w["up.bias"]},
    }
    return Pair(reference=model, candidate=apply, params=params, inputs={"z": normal(3, 5)})


@fault(
    "W14",
    "pixel shuffle with channels block major (depth to space), not channel major",
    cause=CauseKind.ORDER,
    module="shuffle",
    convert=by_table({"kernel": ("conv.weight", (2, 3, 1, 0)), "bias": "conv.bias"}),
)
def pixel_shuffle(faulty: bool) -> Pair:
    class SuperResolution(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.shuffle = nn.Conv2d(16, 16, 3, padding=1), nn.PixelShuffle(2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.shuffle(x + F.relu(self.conv(x)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        x = x.transpose(0, 2, 3, 1)
        h = jax.lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=NHWC)
        h = x + jax.nn.relu(h + params["bias"])
        N, H, W, _ = x.shape
        if faulty:
            h = h.reshape(N, H, W, 2, 2, 4).transpose(0, 5, 1, 3, 2, 4)  # FAULT: W14
        else:
            h = h.reshape(N, H, W, 4, 2, 2).transpose(0, 3, 1, 4, 2, 5)
        return h.reshape(N, 4, 2 * H, 2 * W)  # FAULT: W14

    return Pair(
        reference=randomise(SuperResolution()),
        candidate=apply,
        template=shapes({"kernel": (3, 3, 16, 16), "bias": (16,)}),
        inputs={"x": normal(1, 16, 3, 3)},
    )


@fault(
    "W20",
    "GroupNorm: channels of a group interleaved, not contiguous",
    cause=CauseKind.GROUPS,
    module="norm",
    convert=by_table({"scale": "norm.weight", "bias": "norm.bias"}),
    also=(CauseKind.ORDER, CauseKind.AXIS),
)
def group_norm(faulty: bool) -> Pair:
    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.GroupNorm(4, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.silu(self.norm(x))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        shape = x.shape
        if faulty:
            h, axes = x.reshape(*shape[:3], 4, 4), (1, 2, 3)
        else:
            h, axes = x.reshape(*shape[:3], 4, 4), (1, 2, 4)
        mean = h.mean(axes, keepdims=True)  # FAULT: W20
        var = ((h - mean) ** 2).mean(axes, keepdims=True)  # FAULT: W20
        h = ((h - mean) * jax.lax.rsqrt(var + 1e-5)).reshape(shape)
        return jax.nn.silu(h * params["scale"] + params["bias"]).transpose(0, 3, 1, 2)

    return Pair(
        reference=randomise(Normalised()),
        candidate=apply,
        template=shapes({"scale": (16,), "bias": (16,)}),
        inputs={"x": normal(2, 16, 4, 4)},
        layout=CHANNELS_LAST,
    )


@fault(
    "W31",
    "halves of SwiGLU's fused projection exchanged",
    cause=CauseKind.ORDER,
    tensors=("gate_up.weight",),
    also=(CauseKind.OPERANDS, CauseKind.PACKED_ORDER),
)
def fused_gate(faulty: bool) -> Pair:
    class SwiGLU(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate_up, self.down = nn.Linear(6, 20, bias=False), nn.Linear(10, 6, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate, up = self.gate_up(x).chunk(2, dim=-1)
            return self.down(F.silu(gate) * up)

    def apply(params: Any, x: jax.Array) -> jax.Array:
        both = x @ params["gate_up"]
        if faulty:
            up, gate = jnp.split(both, 2, axis=-1)  # FAULT: W31
            h = jax.nn.silu(gate) * up  # FAULT: W31
        else:
            gate, up = jnp.split(both, 2, axis=-1)
            h = jax.nn.silu(gate) * up
        return h @ params["down"]

    model = randomise(SwiGLU())
    w = weights(model)
    params = {"gate_up": w["gate_up.weight"].T, "down": w["down.weight"].T}
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(2, 3, 6)})


@fault(
    "W32",
    "(height, width, channel) made (channel, place) by reshape where transpose is meant",
    cause=CauseKind.ORDER,
    convert=lambda w: {"head/weight": w["head.weight"], "head/bias": w["head.bias"]},
)
def reshape_for_transpose(faulty: bool) -> Pair:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            places = x.flatten(2)  # N, C, HW
            weight = torch.softmax(places, dim=-1)
            return self.head((weight * places).sum(-1))

    class Model(eqx.Module):
        head: eqx.nn.Linear

        def __call__(self, x: jax.Array) -> jax.Array:
            N, H, W, C = x.shape
            if faulty:
                places = x.reshape(N, C, H * W)  # FAULT: W32
            else:
                places = x.transpose(0, 3, 1, 2).reshape(N, C, H * W)
            weight = jax.nn.softmax(places, axis=-1)
            return jax.vmap(self.head)((weight * places).sum(-1))

    return Pair(
        reference=randomise(Pooled()),
        candidate=Model(eqx.nn.Linear(4, 3, key=jax.random.key(0))),
        inputs={"x": normal(2, 4, 4, 4)},
        layout=CHANNELS_LAST,
    )
