"""A transformer of any size, in PyTorch on the meta device and in JAX as a scan over its layers.

The environment says how large it is and where its weights lie: `python -m tests.streaming` sets it.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F


class Sizes(NamedTuple):
    """How large the model is."""

    layers: int
    width: int
    hidden: int
    words: int
    heads: int
    tokens: int
    dtype: str

    @property
    def count(self) -> int:
        """Its parameters."""
        layer = 4 * self.width**2 + 3 * self.width * self.hidden + 2 * self.width
        return self.layers * layer + 2 * self.words * self.width + self.width


def sizes() -> Sizes:
    numbers = [int(number) for number in os.environ["PARITY_SIZES"].split(",")]
    return Sizes(*numbers, dtype=os.environ["PARITY_DTYPE"])


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Layer(nn.Module):
    def __init__(self, size: Sizes) -> None:
        super().__init__()
        self.heads = size.heads
        for name in ("q", "k", "v", "out"):
            self.add_module(name, nn.Linear(size.width, size.width, bias=False))
        self.gate = nn.Linear(size.width, size.hidden, bias=False)
        self.up = nn.Linear(size.width, size.hidden, bias=False)
        self.down = nn.Linear(size.hidden, size.width, bias=False)
        self.attention_norm, self.mlp_norm = Norm(size.width), Norm(size.width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        h = self.attention_norm(x)
        q, k, v = (p(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in (self.q, self.k, self.v))
        scores = q @ k.transpose(-1, -2) / (q.shape[-1] ** 0.5)
        attention = torch.softmax(scores.masked_fill(mask, -1e4), -1) @ v
        x = x + self.out(attention.transpose(1, 2).flatten(2))
        h = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Transformer(nn.Module):
    def __init__(self, size: Sizes) -> None:
        super().__init__()
        self.embed = nn.Embedding(size.words, size.width)
        self.layers = nn.ModuleList(Layer(size) for _ in range(size.layers))
        self.norm, self.head = Norm(size.width), nn.Linear(size.width, size.words, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        count = tokens.shape[1]
        mask = torch.ones(count, count, dtype=torch.bool).triu(1)
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(self.norm(x))


def norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale


def right_mlp(p: Any, h: jax.Array) -> jax.Array:
    return jax.nn.silu(h @ p["gate"]) * (h @ p["up"])


def wrong_mlp(p: Any, h: jax.Array) -> jax.Array:
    return (h @ p["gate"]) * jax.nn.silu(h @ p["up"])


def transformer(mlp: Any, heads: int) -> Any:
    def apply(params: Any, tokens: jax.Array) -> jax.Array:
        count = tokens.shape[1]
        mask = jnp.tril(jnp.ones((count, count), bool))

        def layer(x: jax.Array, p: Any) -> tuple[jax.Array, None]:
            h = norm(x, p["attention_norm"])
            q, k, v = ((h @ p[name]).reshape(*h.shape[:2], heads, -1) for name in "qkv")
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / (q.shape[-1] ** 0.5)
            weights = jax.nn.softmax(jnp.where(mask, scores, -1e4), axis=-1)
            x = x + jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape) @ p["out"]
            return x + mlp(p, norm(x, p["mlp_norm"])) @ p["down"], None

        x, _ = jax.lax.scan(layer, params["embed"][tokens], params["layers"])
        return norm(x, params["norm"]) @ params["head"]

    return apply


def template(size: Sizes) -> Any:
    def shape(*axes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(axes, size.dtype)

    square, n, d = (size.layers, size.width, size.width), size.layers, size.width
    layers = {name: shape(*square) for name in ("q", "k", "v", "out")}
    layers |= {name: shape(n, d, size.hidden) for name in ("gate", "up")}
    layers |= {"down": shape(n, size.hidden, d), "attention_norm": shape(n, d), "mlp_norm": shape(n, d)}
    return {
        "embed": shape(size.words, d),
        "layers": layers,
        "norm": shape(d),
        "head": shape(d, size.words),
    }


def pair(mlp: Any) -> dict[str, Any]:
    size = sizes()
    with torch.device("meta"):
        module = Transformer(size).eval()
    tokens = np.random.default_rng(1).integers(0, size.words, (1, size.tokens))
    return {
        "reference": module,
        "candidate": transformer(mlp, size.heads),
        "template": template(size),
        "inputs": {"tokens": tokens},
        "weights_file": os.environ["PARITY_WEIGHTS"],
    }


def right() -> dict[str, Any]:
    return pair(right_mlp)


def wrong() -> dict[str, Any]:
    return pair(wrong_mlp)


def write_weights(size: Sizes, where: Path) -> None:
    """Random weights, a file for each layer: never more than one in memory."""
    with torch.device("meta"):
        shapes = {name: tuple(p.shape) for name, p in Transformer(size).named_parameters()}
    torch.manual_seed(0)
    groups: dict[str, list[str]] = {}
    for name in shapes:
        groups.setdefault(".".join(name.split(".")[:2]), []).append(name)
    for group, names in groups.items():
        tensors = {}
        for name in names:
            numbers = torch.randn(shapes[name])
            if "norm" in name:
                numbers = 1 + 0.1 * numbers
            elif "embed" not in name:
                numbers /= shapes[name][1] ** 0.5
            tensors[name] = numbers.to(getattr(torch, size.dtype))
        save_file(tensors, where / f"{group}.safetensors")
