"""Gated layers, rotary positions, recurrences, capped logits."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import linen
from jax import lax

from tests.roundings.declare import F32, Cast, Family, Params, Port, Tensors, back, narrow, wide

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
    rates = 1.0 / 100.0 ** (jnp.arange(0, 8, 2, dtype=narrow()) / 8)
    angles = jnp.outer(jnp.arange(x.shape[1], dtype=narrow()), rates)
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

    start = jnp.zeros((x.shape[0], p["h"].shape[0]), narrow())
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
        logits = (pool(x) * jnp.asarray(factor, narrow())) @ p["w"]
        return wide(jax.nn.log_softmax(5.0 * jnp.tanh(enter(logits) / 5.0)))

    return run


def narrow_sum(x: jax.Array) -> jax.Array:
    total, _ = lax.scan(lambda s, row: (s + row, None), jnp.zeros_like(x[:, 0]), jnp.swapaxes(x, 0, 1))
    return total / x.shape[1]


FAMILIES = {
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
}
