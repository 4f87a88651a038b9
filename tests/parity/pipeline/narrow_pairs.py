"""Pairs that compute in bfloat16, each in several ways that are right and some that are not.

What is right rounds where the reference rounds, or a kernel of a framework does it inside. What is not loses
a step in float32 or has one too many, keeps a reduction narrow, casts too early, or lacks a factor.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import linen
from jax import lax

Tensors = Mapping[str, torch.Tensor]
Params = dict[str, Any]
Port = Callable[[Params, jax.Array], jax.Array]
Cast = Callable[[jax.Array], jax.Array]
F32, B16 = jnp.float32, jnp.bfloat16


class Family(NamedTuple):
    """One function of PyTorch with its ports.

    Attributes:
        reference: `f(params, x)`.
        shapes: of the params, which both sides name alike.
        x: shape of the input.
        right: ports that are right, by name.
        wrong: ports that differ by more than one rounding.
    """

    reference: Callable[[Tensors, torch.Tensor], torch.Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    x: tuple[int, ...]
    right: Mapping[str, Port]
    wrong: Mapping[str, Port]


def wide(x: jax.Array) -> jax.Array:
    return x.astype(F32)


def back(x: jax.Array) -> jax.Array:
    return x.astype(B16)


# Root mean square, in float32 inside


def t_rms(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    h = x.float()
    h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-6)
    return (p["w"] * h.to(x.dtype)) @ p["k"]


def j_rms(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    h = h * lax.rsqrt(jnp.mean(jnp.square(h), axis=-1, keepdims=True) + 1e-6)
    return (p["w"] * back(h)) @ p["k"]


def j_rms_by_root(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    h = back(h / jnp.sqrt((h * h).sum(-1, keepdims=True) / h.shape[-1] + 1e-6))
    return jnp.einsum("bd,de->be", h * p["w"], p["k"])


def j_rms_by_flax(p: Params, x: jax.Array) -> jax.Array:
    ones = {"params": {"scale": jnp.ones(x.shape[-1], F32)}}
    h = linen.RMSNorm(epsilon=1e-6, dtype=B16, param_dtype=F32).apply(ones, x)
    return (p["w"] * h) @ p["k"]


def j_rms_mapped(p: Params, x: jax.Array) -> jax.Array:
    return jax.vmap(lambda row: j_rms(p, row[None])[0])(x)


def j_rms_narrow(p: Params, x: jax.Array) -> jax.Array:
    h = x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return (p["w"] * h) @ p["k"]


def j_rms_early(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    scale = back(lax.rsqrt(back(jnp.mean(h * h, axis=-1, keepdims=True)) + 1e-6))
    return (p["w"] * (x * scale)) @ p["k"]


def j_rms_all_wide(p: Params, x: jax.Array) -> jax.Array:
    h = wide(x)
    h = h * lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-6)
    return back((wide(p["w"]) * h) @ wide(p["k"]))


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


# A norm of the library


def t_norm(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return F.gelu(F.layer_norm(x, x.shape[-1:], p["w"], p["b"])) @ p["k"]


def norm(h: jax.Array, p: Params) -> jax.Array:
    mean = h.mean(-1, keepdims=True)
    return (h - mean) * lax.rsqrt(jnp.mean(jnp.square(h - mean), -1, keepdims=True) + 1e-5) * p["w"] + p["b"]


def j_norm(p: Params, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(back(norm(wide(x), p)), approximate=False) @ p["k"]


def j_norm_by_flax(p: Params, x: jax.Array) -> jax.Array:
    own = {"params": {"scale": p["w"], "bias": p["b"]}}
    h = linen.LayerNorm(epsilon=1e-5, dtype=B16, param_dtype=B16, use_fast_variance=False).apply(own, x)
    return jax.nn.gelu(h, approximate=False) @ p["k"]


def j_norm_fast(p: Params, x: jax.Array) -> jax.Array:
    own = {"params": {"scale": p["w"], "bias": p["b"]}}
    h = linen.LayerNorm(epsilon=1e-5, dtype=B16, param_dtype=B16).apply(own, x)
    return linen.gelu(h, approximate=False) @ p["k"]


def j_norm_standard(p: Params, x: jax.Array) -> jax.Array:
    h = jax.nn.standardize(wide(x), epsilon=1e-5)
    return jax.nn.gelu(back(h * wide(p["w"]) + wide(p["b"])), approximate=False) @ p["k"]


def j_norm_narrow(p: Params, x: jax.Array) -> jax.Array:
    return jax.nn.gelu(norm(x, p), approximate=False) @ p["k"]


def j_norm_rounded_inside(p: Params, x: jax.Array) -> jax.Array:
    mean = back(wide(x).mean(-1, keepdims=True))
    spread = back(lax.rsqrt(wide(x).var(-1, keepdims=True) + 1e-5))
    return jax.nn.gelu((x - mean) * spread * p["w"] + p["b"], approximate=False) @ p["k"]


# A gated layer


def t_gated(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    return (F.silu(x @ p["g"]) * (x @ p["u"])) @ p["d"]


def j_gated(p: Params, x: jax.Array) -> jax.Array:
    return (jax.nn.silu(x @ p["g"]) * (x @ p["u"])) @ p["d"]


def j_gated_by_hand(p: Params, x: jax.Array) -> jax.Array:
    g = x @ p["g"]
    return jnp.dot(g * jax.nn.sigmoid(g) * (x @ p["u"]), p["d"])


def j_gated_in_one(p: Params, x: jax.Array) -> jax.Array:
    g, u = jnp.split(x @ jnp.concatenate([p["g"], p["u"]], -1), 2, -1)
    return linen.silu(g) * u @ p["d"]


def j_gated_accumulating(p: Params, x: jax.Array) -> jax.Array:
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return back(jnp.matmul(a, b, preferred_element_type=F32))

    return product(jax.nn.silu(product(x, p["g"])) * product(x, p["u"]), p["d"])


def j_gated_wide(p: Params, x: jax.Array) -> jax.Array:
    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, preferred_element_type=F32)

    return back(product(jax.nn.silu(product(x, p["g"])) * product(x, p["u"]), p["d"]))


def j_gated_promoted(p: Params, x: jax.Array) -> jax.Array:
    return back(
        (jax.nn.silu(x @ p["g"]) * wide(x @ p["u"]) * np.float32(1)) @ wide(p["d"]) + 0 * wide(x).sum()
    )


# Rotary positions: tables in float32, rounded before they are used


def t_rotary(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    rates = 1.0 / 100.0 ** (torch.arange(0, 8, 2, dtype=torch.float32) / 8)
    angles = torch.outer(torch.arange(x.shape[1], dtype=torch.float32), rates)
    cos, sin = (torch.cat([f(angles)] * 2, -1).to(x.dtype) for f in (torch.cos, torch.sin))
    h = x @ p["w"]
    turned = torch.cat([-h[..., 4:], h[..., :4]], -1)
    return h * cos + turned * sin


def rotary(tables: Cast, rest: Cast = lambda h: h) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        rates = 1.0 / 100.0 ** (jnp.arange(0, 8, 2, dtype=F32) / 8)
        angles = jnp.outer(jnp.arange(x.shape[1], dtype=F32), rates)
        cos, sin = (tables(jnp.concatenate([f(angles)] * 2, -1)) for f in (jnp.cos, jnp.sin))
        h = rest(x @ p["w"])
        turned = jnp.concatenate([-h[..., 4:], h[..., :4]], -1)
        return back(h * cos + turned * sin)

    return run


def j_rotary_in_halves(p: Params, x: jax.Array) -> jax.Array:
    angles = jnp.arange(x.shape[1], dtype=F32)[:, None] * 100.0 ** (-jnp.arange(4, dtype=F32) / 4)
    cos, sin = back(jnp.cos(angles)), back(jnp.sin(angles))
    a, b = jnp.split(x @ p["w"], 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def j_rotary_narrow_angles(p: Params, x: jax.Array) -> jax.Array:
    rates = 1.0 / 100.0 ** (jnp.arange(0, 8, 2, dtype=B16) / 8)
    angles = jnp.outer(jnp.arange(x.shape[1], dtype=B16), rates)
    cos, sin = (jnp.concatenate([f(angles)] * 2, -1) for f in (jnp.cos, jnp.sin))
    h = x @ p["w"]
    return h * cos + jnp.concatenate([-h[..., 4:], h[..., :4]], -1) * sin


# A recurrence whose state stays narrow


def t_recurrent(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    state = torch.zeros_like(x[:, 0] @ p["i"])
    for step in range(x.shape[1]):
        state = torch.tanh(x[:, step] @ p["i"] + state @ p["h"] + p["b"])
    return state


def recurrent(enter: Cast, leave: Cast) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
            return leave(jnp.tanh(enter(row @ p["i"]) + enter(state @ p["h"]) + p["b"])), None

        start = leave(enter(jnp.zeros((x.shape[0], p["h"].shape[0]), x.dtype)))
        return back(lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0])

    return run


def j_recurrent_unrolled(p: Params, x: jax.Array) -> jax.Array:
    state = jnp.zeros((x.shape[0], p["h"].shape[0]), x.dtype)
    for step in range(x.shape[1]):
        state = jnp.tanh(x[:, step] @ p["i"] + state @ p["h"] + p["b"])
    return state


def j_recurrent_from_bfloat16(p: Params, x: jax.Array) -> jax.Array:
    def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
        return jnp.tanh(row @ p["i"] + state @ p["h"] + p["b"]), None

    start = jnp.zeros((x.shape[0], p["h"].shape[0]), B16)
    return lax.scan(step, start, jnp.swapaxes(x, 0, 1))[0]


def j_recurrent_wide_state(p: Params, x: jax.Array) -> jax.Array:
    state = jnp.zeros((x.shape[0], p["h"].shape[0]), F32)
    for step in range(x.shape[1]):
        state = jnp.tanh(wide(x[:, step] @ p["i"]) + state @ wide(p["h"]) + p["b"])
    return back(state)


# Logits with a soft cap in float32, and a pool over time


def t_capped(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    pooled = x.float().mean(1).to(x.dtype)
    logits = (pooled * torch.tensor(6.0, dtype=x.dtype)) @ p["w"]
    return F.log_softmax(5.0 * torch.tanh(logits.float() / 5.0), -1)


def capped(
    pool: Cast,
    enter: Cast = wide,
    factor: float = 6.0,
) -> Port:
    def run(p: Params, x: jax.Array) -> jax.Array:
        logits = (pool(x) * jnp.asarray(factor, B16)) @ p["w"]
        return wide(jax.nn.log_softmax(5.0 * jnp.tanh(enter(logits) / 5.0)))

    return run


def narrow_sum(x: jax.Array) -> jax.Array:
    total, _ = lax.scan(lambda s, row: (s + row, None), jnp.zeros_like(x[:, 0]), jnp.swapaxes(x, 0, 1))
    return total / x.shape[1]


# A convolution with statistics kept in float32 beside weights in bfloat16


def t_convolution(p: Tensors, x: torch.Tensor) -> torch.Tensor:
    h = F.conv1d(x.transpose(1, 2), p["c"], padding=1)
    h = F.batch_norm(h, p["mean"].detach(), p["var"].detach() ** 2 + 0.5, p["w"], p["b"], eps=1e-3)
    return F.relu(h).mean(-1)


def fixed(p: Params) -> tuple[jax.Array, jax.Array]:
    mean, spread = lax.stop_gradient((p["mean"], p["var"]))
    return mean, spread**2 + 0.5


def convolved(p: Params, x: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, p["c"], (1,), [(1, 1)], dimension_numbers=("NTC", "OIT", "NTC"))


def j_convolution(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    h = (wide(convolved(p, x)) - mean) * (wide(p["w"]) * lax.rsqrt(wide(var) + 1e-3)) + wide(p["b"])
    return jax.nn.relu(back(h)).mean(1)


def j_convolution_cast_last(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    h = (wide(convolved(p, x)) - mean) / jnp.sqrt(wide(var) + 1e-3) * p["w"] + p["b"]
    return jnp.mean(back(jnp.maximum(h, 0)), axis=1)


def j_convolution_narrow(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    return jax.nn.relu((convolved(p, x) - mean) * lax.rsqrt(var + 1e-3) * p["w"] + p["b"]).mean(1)


def j_convolution_narrow_spread(p: Params, x: jax.Array) -> jax.Array:
    mean, var = fixed(p)
    spread = back(lax.rsqrt(wide(var) + 1e-3))
    return jax.nn.relu((convolved(p, x) - mean) * spread * p["w"] + p["b"]).mean(1)


SQUARE = dict.fromkeys("qkv", (9, 9))
IN_FLOAT32 = {
    "library": lambda s: back(jax.nn.softmax(wide(s))),
    "by hand": lambda s: back(by_hand(wide(s))),
    "by logarithm": lambda s: back(jnp.exp(jax.nn.log_softmax(wide(s)))),
}

FAMILIES: dict[str, Family] = {
    "root mean square": Family(
        t_rms,
        {"w": (16,), "k": (16, 5)},
        (4, 16),
        {"plain": j_rms, "root": j_rms_by_root, "flax": j_rms_by_flax, "mapped": j_rms_mapped},
        {"narrow": j_rms_narrow, "cast early": j_rms_early, "all wide": j_rms_all_wide},
    ),
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
    "layer norm": Family(
        t_norm,
        {"w": (16,), "b": (16,), "k": (16, 5)},
        (4, 16),
        {
            "by hand": j_norm,
            "jitted": jax.jit(j_norm),
            "flax": j_norm_by_flax,
            "fast": j_norm_fast,
            "standardize": j_norm_standard,
        },
        {"narrow": j_norm_narrow, "rounded inside": j_norm_rounded_inside},
    ),
    "gated": Family(
        t_gated,
        {"g": (12, 10), "u": (12, 10), "d": (10, 6)},
        (4, 12),
        {
            "plain": j_gated,
            "by hand": j_gated_by_hand,
            "in one": j_gated_in_one,
            "accumulating": j_gated_accumulating,
            "checkpointed": jax.checkpoint(j_gated),
        },
        {"wide": j_gated_wide, "promoted": j_gated_promoted},
    ),
    "rotary": Family(
        t_rotary,
        {"w": (12, 8)},
        (2, 6, 12),
        {
            "plain": rotary(back),
            "halves": j_rotary_in_halves,
            "jitted": jax.jit(rotary(back)),
            "checkpointed": jax.checkpoint(rotary(back)),
        },
        {
            "wide tables": rotary(wide),
            "all wide": rotary(wide, wide),
            "narrow angles": j_rotary_narrow_angles,
        },
    ),
    "recurrent": Family(
        t_recurrent,
        {"i": (6, 7), "h": (7, 7), "b": (7,)},
        (3, 5, 6),
        {
            "scan": recurrent(lambda x: x, lambda x: x),
            "from bfloat16": j_recurrent_from_bfloat16,
            "unrolled": j_recurrent_unrolled,
            "jitted": jax.jit(j_recurrent_unrolled),
            "mapped": lambda p, x: jax.vmap(lambda row: j_recurrent_unrolled(p, row[None])[0])(x),
        },
        {"wide state": j_recurrent_wide_state, "wide sums": recurrent(wide, back)},
    ),
    "capped": Family(
        t_capped,
        {"w": (12, 8)},
        (3, 300, 12),
        {
            "float32": capped(lambda x: back(wide(x).mean(1))),
            "dtype": capped(lambda x: back(jnp.mean(x, 1, dtype=F32))),
            "plain mean": capped(lambda x: jnp.mean(x, 1)),
            "summed": capped(lambda x: back(wide(x).sum(1) / x.shape[1])),
        },
        {
            "narrow sum": capped(narrow_sum),
            "narrow cap": capped(lambda x: jnp.mean(x, 1), lambda x: x),
            "no factor": capped(lambda x: jnp.mean(x, 1), wide, 1.0),
        },
    ),
    "convolution": Family(
        t_convolution,
        {"c": (6, 4, 3), "mean": (6,), "var": (6,), "w": (6,), "b": (6,)},
        (3, 7, 4),
        {
            "plain": j_convolution,
            "cast last": j_convolution_cast_last,
            "jitted": jax.jit(j_convolution),
            "mapped": lambda p, x: jax.vmap(lambda row: j_convolution(p, row[None])[0])(x),
        },
        {"narrow": j_convolution_narrow, "narrow spread": j_convolution_narrow_spread},
    ),
}
