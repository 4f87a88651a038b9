"""Rotary positions: which entries form a pair, and in which precision the angles are."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes

HEAD = {"out": ("out.weight", (1, 0))}


class Rotary(nn.Module):
    """Attention of given queries, keys and values with rotary positions, entries paired half by half."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 8, bias=False)

    def rotate(self, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        half = x.shape[-1] // 2
        frequencies = 100.0 ** (-torch.arange(half, dtype=x.dtype) / half)
        angles = positions[:, None].to(x.dtype) * frequencies
        cos, sin = angles.cos().tile(2), angles.sin().tile(2)
        return x * cos + torch.cat([-x[..., half:], x[..., :half]], -1) * sin

    def forward(self, q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        scores = self.rotate(q, positions) @ self.rotate(k, positions).mT * q.shape[-1] ** -0.5
        return self.out(scores.softmax(-1) @ k)


def rotary_inputs(start: int) -> dict[str, np.ndarray]:
    return {"q": normal(2, 6, 8), "k": normal(2, 6, 8, seed=2), "positions": np.arange(start, start + 6)}


@fault(
    "T08",
    "rotary embedding of neighbouring pairs, where the reference rotates halves",
    cause=CauseKind.ORDER,
    convert=by_table(HEAD),
    also=(CauseKind.PACKED_ORDER, CauseKind.OPERANDS),
)
def interleaved_pairs(faulty: bool) -> Pair:
    def rotate(x: jax.Array, positions: jax.Array) -> jax.Array:
        half = x.shape[-1] // 2
        angles = positions[:, None].astype(x.dtype) * 100.0 ** (-jnp.arange(half, dtype=x.dtype) / half)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        if faulty:
            a, b = x[..., ::2], x[..., 1::2]  # FAULT: T08
            return jnp.stack([a * cos - b * sin, b * cos + a * sin], -1).reshape(x.shape)  # FAULT: T08
        a, b = x[..., :half], x[..., half:]
        return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    def apply(params: Any, q: jax.Array, k: jax.Array, positions: jax.Array) -> jax.Array:
        scores = rotate(q, positions) @ rotate(k, positions).swapaxes(1, 2) * q.shape[-1] ** -0.5
        return jax.nn.softmax(scores) @ k @ params["out"]

    return Pair(
        reference=randomise(Rotary()),
        candidate=apply,
        template=shapes({"out": (8, 8)}),
        inputs=rotary_inputs(0),
    )


@fault(
    "T10",
    "positions of a rotary embedding in bfloat16, inexact beyond 256",
    cause=CauseKind.DTYPE,
    convert=by_table(HEAD),
)
def narrow_positions(faulty: bool) -> Pair:
    def rotate(x: jax.Array, positions: jax.Array) -> jax.Array:
        half = x.shape[-1] // 2
        if faulty:
            places = positions.astype(jnp.bfloat16).astype(x.dtype)  # FAULT: T10
        else:
            places = positions.astype(x.dtype)
        angles = places[:, None] * 100.0 ** (-jnp.arange(half, dtype=x.dtype) / half)
        cos, sin = jnp.tile(jnp.cos(angles), 2), jnp.tile(jnp.sin(angles), 2)
        turned = jnp.concatenate([-x[..., half:], x[..., :half]], -1)
        return x * cos + turned * sin

    def apply(params: Any, q: jax.Array, k: jax.Array, positions: jax.Array) -> jax.Array:
        scores = rotate(q, positions) @ rotate(k, positions).swapaxes(1, 2) * q.shape[-1] ** -0.5
        return jax.nn.softmax(scores) @ k @ params["out"]

    return Pair(
        reference=randomise(Rotary()),
        candidate=apply,
        template=shapes({"out": (8, 8)}),
        inputs=rotary_inputs(254),
    )
