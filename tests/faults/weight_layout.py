"""Weights that the user converted himself, into the wrong layout; every shape check passes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import torch
from flax import linen
from torch import nn

from parity.report.kinds import CauseKind, Stage
from tests.faults.declare import fault
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, weights

F = nn.functional


@fault(
    "W01",
    "square Linear kernel copied without its transpose",
    cause=CauseKind.TRANSPOSED_KERNEL,
    stage=Stage.WEIGHTS,
    module="0",
    tensors=("0.weight",),
)
def linear(faulty: bool) -> Pair:
    model = randomise(nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
        return h @ params["output"]["kernel"] + params["output"]["bias"]

    w = weights(model)
    params = {
        "hidden": {"kernel": w["0.weight"] if faulty else w["0.weight"].T, "bias": w["0.bias"]},
        "output": {"kernel": w["2.weight"].T, "bias": w["2.bias"]},
    }
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(5, 6)})


class Conv1D(nn.Module):
    """GPT-2's linear layer, whose weight already is (in, out)."""

    def __init__(self, num_in: int, num_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_in, num_out))
        self.bias = nn.Parameter(torch.zeros(num_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class TransformerMLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc, self.c_proj, self.head = Conv1D(8, 8), Conv1D(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x + self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")))


@fault(
    "W02",
    "square weight of a Conv1D transposed as if it were a Linear's",
    cause=CauseKind.TRANSPOSED_KERNEL,
    stage=Stage.WEIGHTS,
    module="c_proj",
    tensors=("c_proj.weight",),
)
def conv1d(faulty: bool) -> Pair:
    model = randomise(TransformerMLP())

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.gelu(x @ params["c_fc.w"] + params["c_fc.b"])
        x = x + h @ params["c_proj.w"] + params["c_proj.b"]
        return x @ params["head.w"] + params["head.b"]

    w = weights(model)
    params = {f"{name}.b": w[f"{name}.bias"] for name in ("c_fc", "c_proj", "head")}
    params |= {"c_fc.w": w["c_fc.weight"], "head.w": w["head.weight"].T}
    params["c_proj.w"] = w["c_proj.weight"].T if faulty else w["c_proj.weight"]
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(2, 3, 8)})


class TorchAttention(nn.Module):
    """Self-attention by PyTorch's own module."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


@fault(
    "W16",
    "rows of q and k exchanged in the packed projection",
    cause=CauseKind.PACKED_ORDER,
    stage=Stage.WEIGHTS,
    module="attention",
    tensors=("attention.in_proj_weight", "attention.in_proj_bias"),
    also=(CauseKind.SWAPPED_WEIGHTS,),
)
def packed_projection(faulty: bool) -> Pair:
    class SelfAttention(eqx.Module):
        """Not used as a model of its own: params come as a module of this class."""

        qkv: Any
        out: Any

        def __call__(self, x: jax.Array) -> jax.Array:
            packed = x @ self.qkv["w"].T + self.qkv["b"]
            q, k, v = packed.reshape(*x.shape[:2], 3, 2, 4).transpose(2, 0, 3, 1, 4)
            scores = q @ k.swapaxes(2, 3) / jnp.sqrt(q.shape[-1]).astype(q.dtype)
            mixed = (jax.nn.softmax(scores) @ v).swapaxes(1, 2).reshape(x.shape)
            return mixed @ self.out["w"].T + self.out["b"]

    def apply(params: SelfAttention, x: jax.Array) -> jax.Array:
        return params(x)

    model = randomise(TorchAttention(8, 2))
    w = weights(model.attention)

    def packed(rows: Any) -> Any:
        order = [*range(8, 16), *range(8), *range(16, 24)] if faulty else list(range(24))
        return rows[order]

    params = SelfAttention(
        qkv={"w": packed(w["in_proj_weight"]), "b": packed(w["in_proj_bias"])},
        out={"w": w["out_proj.weight"], "b": w["out_proj.bias"]},
    )
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(2, 5, 8)})


@fault(
    "W17",
    "attention's output projection reshaped to (heads, head, d) without the transpose",
    cause=CauseKind.KERNEL_LAYOUT,
    stage=Stage.WEIGHTS,
    module="attention.out_proj",
    tensors=("attention.out_proj.weight",),
    also=(CauseKind.TRANSPOSED_KERNEL,),
)
def output_projection(faulty: bool) -> Pair:
    class Attention(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return linen.MultiHeadDotProductAttention(num_heads=4, name="attention")(x, x)

    model = randomise(TorchAttention(16, 4))
    w = weights(model.attention)
    branches = dict(zip(("query", "key", "value"), split_thirds(w), strict=True))
    out = w["out_proj.weight"] if faulty else w["out_proj.weight"].T
    branches["out"] = {"kernel": out.reshape(4, 4, 16), "bias": w["out_proj.bias"]}
    return Pair(
        reference=model,
        candidate=Attention(),
        params={"params": {"attention": branches}},
        inputs={"x": normal(2, 5, 16)},
    )


def split_thirds(w: Arrays) -> list[Arrays]:
    """q, k and v of a packed projection, as Flax wants them: (d, heads, head) and (heads, head)."""
    kernels, biases = w["in_proj_weight"].reshape(3, 16, 16), w["in_proj_bias"].reshape(3, 4, 4)
    return [{"kernel": k.T.reshape(16, 4, 4), "bias": b} for k, b in zip(kernels, biases, strict=True)]


@fault(
    "W29",
    "leaves sorted by key zipped with parameters in order of definition (layers_10 before layers_2)",
    cause=CauseKind.SWAPPED_WEIGHTS,
    stage=Stage.WEIGHTS,
    module="layers_2",
    tensors=tuple(f"layers_{i}.weight" for i in range(2, 12)),
)
def zipped_leaves(faulty: bool) -> Pair:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for i in range(12):
                self.add_module(f"layers_{i}", nn.Linear(4, 4, bias=False))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.children():
                x = x + torch.tanh(layer(x))
            return x

    def apply(params: Any, x: jax.Array) -> jax.Array:
        for i in range(12):
            x = x + jnp.tanh(x @ params[f"layers_{i}"]["kernel"])
        return x

    model = randomise(Deep())
    arrays = list(weights(model).values())
    names = [f"layers_{i}" for i in range(12)]
    names = sorted(names) if faulty else names
    params = {name: {"kernel": array.T} for name, array in zip(names, arrays, strict=True)}
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(3, 4)})
