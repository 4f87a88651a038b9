"""Attention: a softmax in float32, or inside a kernel of PyTorch."""

import jax
import jax.numpy as jnp
import torch
import torch.nn.functional as F
from flax import linen

from tests.roundings.declare import F32, Cast, Family, Params, Port, Tensors, back, wide

# Attention, softmax in float32


def t_attention(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (x @ p[name] for name in "qkv")
    scores = q @ k.transpose(-1, -2) / 3.0
    return F.softmax(scores, dim=-1, dtype=torch.float32).to(x.dtype) @ v


def attention(softmax: Cast, factor: float = 3.0) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        q, k, v = (x @ p[name] for name in "qkv")
        return softmax(q @ jnp.swapaxes(k, -1, -2) / factor) @ v

    return run


def by_hand(s: jax.Array) -> jax.Array:
    e = jnp.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def j_attention_fused(p: Params, x: jax.Array) -> jax.Array:
    q, k, v = jnp.split(x @ jnp.concatenate([p["q"], p["k"], p["v"]], axis=-1), 3, axis=-1)
    weights = jax.nn.softmax(wide(jnp.einsum("btd,bsd->bts", q, k) / 3.0))
    return jnp.einsum("bts,bsd->btd", back(weights), v)


def j_attention_wide_scores(p: Params, x: jax.Array) -> jax.Array:
    q, k, v = (x @ p[name] for name in "qkv")
    scores = jnp.einsum("btd,bsd->bts", q, k, preferred_element_type=F32) / 3.0
    return back(jax.nn.softmax(scores)) @ v


def j_attention_wide_weights(p: Params, x: jax.Array) -> jax.Array:
    q, k, v = (x @ p[name] for name in "qkv")
    weights = jax.nn.softmax(wide(q @ jnp.swapaxes(k, -1, -2) / 3.0))
    mixed = weights @ wide(v)
    return back(mixed * 1.0 / jnp.sum(weights, -1, keepdims=True))


# Softmax as PyTorch's kernel has it


def t_plain_attention(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    q, k, v = (x @ p[name] for name in "qkv")
    return F.softmax(q @ k.transpose(-1, -2) / 3.0, dim=-1) @ v


SQUARE = dict.fromkeys("qkv", (9, 9))
IN_FLOAT32 = {
    "library": lambda s: back(jax.nn.softmax(wide(s))),
    "by hand": lambda s: back(by_hand(wide(s))),
    "by logarithm": lambda s: back(jnp.exp(jax.nn.log_softmax(wide(s)))),
}


FAMILIES = {
    "attention": Family(
        t_attention,
        SQUARE,
        (2, 5, 9),
        {name: attention(softmax) for name, softmax in IN_FLOAT32.items()} | {"fused": j_attention_fused},
        {
            "narrow softmax": attention(jax.nn.softmax),
            "narrow by hand": attention(by_hand),
            "wide scores": j_attention_wide_scores,
            "wide weights": j_attention_wide_weights,
            "no factor": attention(IN_FLOAT32["library"], 1.0),
        },
    ),
    "attention of the kernel": Family(
        t_plain_attention,
        SQUARE,
        (2, 5, 9),
        {
            "narrow": attention(jax.nn.softmax),
            "float32": attention(IN_FLOAT32["library"]),
            "by hand": attention(by_hand),
            "flax": attention(linen.softmax),
            "by logarithm": attention(lambda s: jnp.exp(jax.nn.log_softmax(s))),
        },
        {"other factor": attention(jax.nn.softmax, 3.2)},
    ),
}
