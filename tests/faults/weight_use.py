"""Parameters that are dropped, broadcast, rescaled or indexed wrongly where they are used."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import integers, normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

F = nn.functional


@fault(
    "W19",
    "scale of BatchNorm dropped (fixed at 1)",
    cause=CauseKind.MISSING_TERM,
    module="norm",
    convert=by_table(
        {
            "conv/kernel": ("conv.weight", (2, 3, 1, 0)),
            "norm/scale": "norm.weight",
            "norm/bias": "norm.bias",
            "norm/mean": "norm.running_mean",
            "norm/var": "norm.running_var",
        }
    ),
)
def fixed_gamma(faulty: bool) -> Pair:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.relu(self.norm(self.conv(x)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        dims, norm = ("NHWC", "HWIO", "NHWC"), params["norm"]
        kernel = params["conv"]["kernel"]
        x = x.transpose(0, 2, 3, 1)
        h = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=dims)
        h = (h - norm["mean"]) * jax.lax.rsqrt(norm["var"] + 1e-5)
        if faulty:
            h = h + norm["bias"]  # FAULT: W19
        else:
            h = h * norm["scale"] + norm["bias"]
        return jax.nn.relu(h).transpose(0, 3, 1, 2)

    norm = dict.fromkeys(("scale", "bias", "mean", "var"), (6,))
    return Pair(
        reference=randomise(Block()),
        candidate=apply,
        template=shapes({"conv": {"kernel": (3, 3, 3, 6)}, "norm": norm}),
        inputs={"x": normal(2, 3, 5, 5)},
    )


@fault(
    "W22",
    "spectral norm: one more power iteration in eval than the ported u and v have seen",
    cause=CauseKind.RECURRENCE,
    module="0.parametrizations.weight.0",
    convert=by_table(
        {
            "kernel": ("0.parametrizations.weight.original", (1, 0)),
            "bias": "0.bias",
            "u": "0.parametrizations.weight.0._u",
            "v": "0.parametrizations.weight.0._v",
        }
    ),
    also=(CauseKind.EXTRA_TERM,),
)
def spectral_norm(faulty: bool) -> Pair:
    def apply(params: Any, x: jax.Array) -> jax.Array:
        weight, u, v = params["kernel"].T, params["u"], params["v"]
        if faulty:
            v = v + weight.T @ u  # FAULT: W22
            v = v / jnp.linalg.norm(v)  # FAULT: W22
        sigma = u @ (weight @ v)
        return jnp.tanh(x @ (weight / sigma).T + params["bias"])

    model = randomise(nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 6)), nn.Tanh()))
    return Pair(
        reference=model,
        candidate=apply,
        template=shapes({"kernel": (8, 6), "bias": (6,), "u": (6,), "v": (8,)}),
        inputs={"x": normal(4, 8)},
    )


@fault(
    "W23",
    "PReLU's slopes per channel broadcast along the width",
    cause=CauseKind.BROADCAST,
    module="1",
    convert=by_table({"conv/kernel": ("0.weight", (2, 3, 1, 0)), "conv/bias": "0.bias", "slope": "1.weight"}),
    also=(CauseKind.AXIS,),
)
def prelu(faulty: bool) -> Pair:
    class Model(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.conv = nnx.Conv(3, 4, (3, 3), padding=1, rngs=rngs)
            self.slope = nnx.Param(jnp.full((4,), 0.25))

        def __call__(self, x: jax.Array) -> jax.Array:
            h = self.conv(x.transpose(0, 2, 3, 1))
            if faulty:
                h = jnp.where(h >= 0, h, self.slope[...][:, None] * h)  # FAULT: W23
            else:
                h = jnp.where(h >= 0, h, self.slope[...] * h)
            return h.transpose(0, 3, 1, 2)

    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.PReLU(4))
    return Pair(
        reference=randomise(model),
        candidate=Model(nnx.Rngs(0)),
        inputs={"x": normal(2, 3, 4, 4)},
    )


@fault(
    "W25",
    "tied head misses the rescaling by one over the root of the width",
    cause=CauseKind.SCALE,
    module="",
    convert=by_table({"shared": "embedding.weight", "proj": ("proj.weight", (1, 0))}),
    also=(CauseKind.MISSING_TERM,),
)
def tied_head(faulty: bool) -> Pair:
    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(11, 16)
            self.proj = nn.Linear(16, 16, bias=False)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            h = torch.tanh(self.proj(self.embedding(tokens)))
            return F.linear(h * 16**-0.5, self.embedding.weight)

    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        h = jnp.tanh(params["shared"][tokens] @ params["proj"])
        if faulty:
            return h @ params["shared"].T  # FAULT: W25
        return (h * 16**-0.5) @ params["shared"].T

    return Pair(
        reference=randomise(Decoder()),
        candidate=apply,
        template=shapes({"shared": (11, 16), "proj": (16, 16)}),
        inputs={"tokens": integers(11, 2, 6)},
    )


@fault(
    "W26",
    "RMSNorm multiplies by w, where the reference (Gemma) multiplies by 1 + w",
    cause=CauseKind.MISSING_TERM,
    module="norm",
    convert=by_table({"params/norm_scale": "norm.weight", "params/Dense_0/kernel": ("head.weight", (1, 0))}),
    also=(CauseKind.CONSTANT,),
)
def rms_offset(faulty: bool) -> Pair:
    class GemmaNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(12))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * (1 + self.weight)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = GemmaNorm(), nn.Linear(12, 5, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.norm(x))

    class Port(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            scale = self.param("norm_scale", linen.initializers.zeros, (12,))
            x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + 1e-6)
            if faulty:
                x = x * scale  # FAULT: W26
            else:
                x = x * (1 + scale)
            return linen.Dense(5, use_bias=False)(x)

    inputs = {"x": normal(2, 3, 12)}
    template = jax.eval_shape(Port().init, jax.random.key(0), inputs["x"])
    return Pair(
        reference=randomise(Block()),
        candidate=Port(),
        template=template,
        inputs=inputs,
    )


@fault(
    "W28",
    "RoBERTa's positions start at 0, not behind the padding index",
    cause=CauseKind.SHIFT,
    module="positions",
    convert=by_table({"tokens": "tokens.weight", "positions": "positions.weight"}),
    also=(CauseKind.SELECTION,),
)
def position_offset(faulty: bool) -> Pair:
    class Embeddings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(13, 6), nn.Embedding(16, 6)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            kept = (tokens != 1).long()
            places = kept.cumsum(1) * kept + 1
            return F.layer_norm(self.tokens(tokens) + self.positions(places), (6,))

    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        kept = (tokens != 1).astype(tokens.dtype)
        if faulty:
            places = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)  # FAULT: W28
        else:
            places = jnp.cumsum(kept, axis=1) * kept + 1
        h = params["tokens"][tokens] + params["positions"][places]  # FAULT: W28
        h = h - h.mean(-1, keepdims=True)
        return h * jax.lax.rsqrt(jnp.mean(h**2, axis=-1, keepdims=True) + 1e-5)

    tokens = np.array([[5, 9, 2, 12, 7, 3], [4, 6, 8, 10, 1, 1]])
    return Pair(
        reference=randomise(Embeddings()),
        candidate=apply,
        template=shapes({"tokens": (13, 6), "positions": (16, 6)}),
        inputs={"tokens": tokens},
    )
