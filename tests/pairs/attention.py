"""Right ports of attention: packed and split projections, on either side, with masks and cross attention."""

import math
from typing import Any

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from torch import nn

from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair, built, to_function
from tests.kit.weights import randomise, weights
from tests.pairs.ports import port

KEY = jax.random.key(0)
D, HEADS, SIZE = 6, 2, 3


class Packed(nn.Module):
    """PyTorch's own layer, whose three projections are one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(D, HEADS, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.attention(x, x, x, need_weights=False)[0]


class Split(nn.Module):
    """Four linear layers, causal."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(D, D) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, _ = x.shape
        q, k, v = (
            layer(x).view(n, t, HEADS, SIZE).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mask = torch.tril(torch.ones(t, t, dtype=torch.bool))
        out = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(out.transpose(1, 2).reshape(n, t, D))


X = {"x": normal(2, 4, D)}


def attend(q: jax.Array, k: jax.Array, v: jax.Array, causal: bool = False) -> jax.Array:
    """Attention on (N, T, heads, size)."""
    scores = jnp.einsum("nthd,nshd->nhts", q, k) / math.sqrt(q.shape[-1])
    if causal:
        scores = jnp.where(jnp.tril(jnp.ones(scores.shape[-2:], bool)), scores, -jnp.inf)
    return jnp.einsum("nhts,nshd->nthd", jax.nn.softmax(scores), v)


def heads(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:-1], HEADS, -1)


def merged(x: jax.Array) -> jax.Array:
    return x.reshape(*x.shape[:-2], -1)


def linear(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["kernel"] + p["bias"]


def split_packed(t: Any, name: str = "attention.") -> dict[str, Any]:
    """The three projections of a packed layer, and the output projection."""
    parts = {"query": 0, "key": 1, "value": 2}
    cut = {n: slice(i * D, (i + 1) * D) for n, i in parts.items()}
    params = {
        n: {"kernel": t[f"{name}in_proj_weight"][rows].T, "bias": t[f"{name}in_proj_bias"][rows]}
        for n, rows in cut.items()
    }
    return params | {"out": dense(t, f"{name}out_proj")}


def by_heads(params: Any) -> Any:
    """Kernels with an axis of heads, as in Flax."""
    split = {
        n: {
            "kernel": params[n]["kernel"].reshape(D, HEADS, SIZE),
            "bias": params[n]["bias"].reshape(HEADS, SIZE),
        }
        for n in ("query", "key", "value")
    }
    out = {"kernel": params["out"]["kernel"].reshape(HEADS, SIZE, D), "bias": params["out"]["bias"]}
    return split | {"out": out}


@port("attention/packed-to-split-plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = (heads(linear(p[name], x)) for name in ("query", "key", "value"))
        return x + linear(p["out"], merged(attend(q, k, v)))

    reference = randomise(Packed())
    return to_function(reference, apply, X, split_packed(weights(reference)))


@port("attention/packed-to-packed-plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = (heads(part) for part in jnp.split(linear(p["qkv"], x), 3, axis=-1))
        return x + linear(p["proj"], merged(attend(q, k, v)))

    reference = randomise(Packed())
    t = weights(reference)
    qkv = {"kernel": t["attention.in_proj_weight"].T, "bias": t["attention.in_proj_bias"]}
    return to_function(reference, apply, X, {"qkv": qkv, "proj": dense(t, "attention.out_proj")})


@port("attention/packed-to-stacked-plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = jnp.einsum("ntd,dchs->cnths", x, p["qkv"]) + p["qkv_bias"][:, None, None]
        return x + jnp.einsum("nths,hsd->ntd", attend(q, k, v), p["proj"]) + p["proj_bias"]

    reference = randomise(Packed())
    t = weights(reference)
    params = {
        "qkv": t["attention.in_proj_weight"].T.reshape(D, 3, HEADS, SIZE),
        "qkv_bias": t["attention.in_proj_bias"].reshape(3, HEADS, SIZE),
        "proj": t["attention.out_proj.weight"].T.reshape(HEADS, SIZE, D),
        "proj_bias": t["attention.out_proj.bias"],
    }
    return to_function(reference, apply, X, params)


@port("attention/split-to-packed-plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = (heads(part) for part in jnp.split(linear(p["c_attn"], x), 3, axis=-1))
        return linear(p["c_proj"], merged(attend(q, k, v, causal=True)))

    reference = randomise(Split())
    t = weights(reference)
    names = ("query", "key", "value")
    packed = {
        "kernel": np.concatenate([t[f"{n}.weight"].T for n in names], axis=1),
        "bias": np.concatenate([t[f"{n}.bias"] for n in names]),
    }
    return to_function(reference, apply, X, {"c_attn": packed, "c_proj": dense(t, "out")})


@port("attention/split-plain")
def _() -> Pair:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = (heads(linear(p[name], x)) for name in ("wq", "wk", "wv"))
        return linear(p["wo"], merged(attend(q, k, v, causal=True)))

    reference = randomise(Split())
    t = weights(reference)
    names = {"wq": "query", "wk": "key", "wv": "value", "wo": "out"}
    return to_function(reference, apply, X, {ours: dense(t, theirs) for ours, theirs in names.items()})


@port("attention/packed-nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.attention = nnx.MultiHeadAttention(HEADS, D, dropout_rate=0.1, decode=False, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return x + self.attention(x)

    reference = randomise(Packed())
    return Pair(reference, built(Net), X, {"attention": by_heads(split_packed(weights(reference)))})


@port("attention/split-nnx")
def _() -> Pair:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.attention = nnx.MultiHeadAttention(HEADS, D, decode=False, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.attention(x, mask=nnx.make_causal_mask(x[..., 0]))

    reference = randomise(Split())
    t = weights(reference)
    params = by_heads({n: dense(t, n) for n in ("query", "key", "value", "out")})
    return Pair(reference, built(Net), X, {"attention": params}, single=True)


@port("attention/packed-linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array, deterministic: bool = False) -> jax.Array:
            layer = linen.MultiHeadDotProductAttention(HEADS, dropout_rate=0.1, deterministic=deterministic)
            return x + layer(x)

    reference = randomise(Packed())
    params = {"MultiHeadDotProductAttention_0": by_heads(split_packed(weights(reference)))}
    return Pair(reference, Net(), X, {"params": params})


@port("attention/split-linen")
def _() -> Pair:
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return linen.MultiHeadDotProductAttention(HEADS)(x, mask=linen.make_causal_mask(x[..., 0]))

    reference = randomise(Split())
    t = weights(reference)
    params = {
        "MultiHeadDotProductAttention_0": by_heads({n: dense(t, n) for n in ("query", "key", "value", "out")})
    }
    return Pair(reference, Net(), X, {"params": params}, single=True)


EQUINOX = {"query": "query_proj", "key": "key_proj", "value": "value_proj", "out": "output_proj"}


def equinox_layer() -> eqx.nn.MultiheadAttention:
    biases = {f"use_{part}_bias": True for part in ("query", "key", "value", "output")}
    return eqx.nn.MultiheadAttention(HEADS, D, **biases, dropout_p=0.1, key=KEY)


def equinox_params(params: Any) -> dict[str, np.ndarray]:
    leaves = {}
    for name, path in EQUINOX.items():
        leaves[f"layer/{path}/weight"] = params[name]["kernel"].T
        leaves[f"layer/{path}/bias"] = params[name]["bias"]
    return leaves


@port("attention/packed-equinox")
def _() -> Pair:
    class Net(eqx.Module):
        layer: eqx.nn.MultiheadAttention

        def __call__(self, x: jax.Array) -> jax.Array:
            return x + self.layer(x, x, x)

    reference = randomise(Packed())
    return Pair(reference, Net(equinox_layer()), X, equinox_params(split_packed(weights(reference))))


@port("attention/split-equinox")
def _() -> Pair:
    class Net(eqx.Module):
        layer: eqx.nn.MultiheadAttention

        def __call__(self, x: jax.Array) -> jax.Array:
            mask = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))
            return jax.vmap(lambda one: self.layer(one, one, one, mask))(x)

    reference = randomise(Split())
    t = weights(reference)
    params = equinox_params({n: dense(t, n) for n in EQUINOX})
    return Pair(reference, Net(equinox_layer()), X, params)


@port("attention/cross-with-padding")
def _() -> Pair:
    """Two inputs and a boolean mask; PyTorch masks where it is true, the port where it is false."""

    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(D, HEADS, kdim=4, vdim=5, batch_first=True)

        def forward(
            self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, padding: torch.Tensor
        ) -> tuple[torch.Tensor, torch.Tensor]:
            return self.attention(query, key, value, key_padding_mask=padding)

    def apply(p: Any, query: jax.Array, key: jax.Array, value: jax.Array, padding: jax.Array) -> Any:
        q, k, v = (heads(linear(p[n], x)) for n, x in (("q", query), ("k", key), ("v", value)))
        scores = jnp.einsum("nthd,nshd->nhts", q, k) / math.sqrt(SIZE)
        weights = jax.nn.softmax(jnp.where(padding[:, None, None], -jnp.inf, scores))
        out = merged(jnp.einsum("nhts,nshd->nthd", weights, v))
        return linear(p["o"], out), weights.mean(axis=1)

    reference = randomise(Cross())
    t = weights(reference)
    bias = np.split(t["attention.in_proj_bias"], 3)
    params = {
        n: {"kernel": t[f"attention.{n}_proj_weight"].T, "bias": b} for n, b in zip("qkv", bias, strict=True)
    }
    padding = np.array([[False, False, False, True, True], [False, False, False, False, False]])
    inputs = {"query": normal(2, 3, D), "key": normal(2, 5, 4, seed=2), "value": normal(2, 5, 5, seed=3)}
    return to_function(
        reference, apply, inputs | {"padding": padding}, params | {"o": dense(t, "attention.out_proj")}
    )


@port("attention/pytorch-encoder-layer")
def _() -> Pair:
    """PyTorch's whole encoder layer, whose fast path the port does not know of."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(
                D, HEADS, 8, batch_first=True, activation="gelu", norm_first=True
            )
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.encoder(x)

    def normed(p: Any, x: jax.Array) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt(jnp.mean(x**2, -1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    def apply(params: Any, x: jax.Array) -> jax.Array:
        for p in params["layers"]:
            q, k, v = (heads(linear(p[name], normed(p["norm1"], x))) for name in ("query", "key", "value"))
            x = x + linear(p["out"], merged(attend(q, k, v)))
            h = jax.nn.gelu(linear(p["linear1"], normed(p["norm2"], x)), approximate=False)
            x = x + linear(p["linear2"], h)
        return x

    reference = randomise(Net())
    t = weights(reference)

    def layer(i: int) -> Any:
        name = f"encoder.layers.{i}."
        linears = {n: dense(t, f"{name}{n}") for n in ("linear1", "linear2")}
        norms = {
            n: {"scale": t[f"{name}{n}.weight"], "bias": t[f"{name}{n}.bias"]} for n in ("norm1", "norm2")
        }
        return split_packed(t, f"{name}self_attn.") | linears | norms

    return to_function(reference, apply, X, {"layers": [layer(0), layer(1)]})
