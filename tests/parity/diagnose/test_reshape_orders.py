"""Heads that are split or joined in another order, of several operands alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

WEIGHTS = {name: numbers(12, 12, seed=seed) for seed, name in enumerate("qkvo")}
X = numbers(2, 5, 12)
HEADS = 3


def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
    q, k, v = ((x @ p[name]).unflatten(-1, (HEADS, 4)).transpose(1, 2) for name in "qkv")
    weights = torch.softmax(q @ k.transpose(-1, -2) / 2, dim=-1)
    return (weights @ v).transpose(1, 2).flatten(2) @ p["o"]


def joined(x: jax.Array) -> jax.Array:
    return x.swapaxes(1, 2).reshape(2, 5, 12)


def attention(
    p: Any, x: jax.Array, split: Callable[..., jax.Array], join: Callable[..., jax.Array]
) -> jax.Array:
    q, k, v = (split(x @ p[name]) for name in "qkv")
    return join(jax.nn.softmax(q @ k.swapaxes(-1, -2) / 2) @ v) @ p["o"]


def entries_first(x: jax.Array) -> jax.Array:
    return x.reshape(2, 5, 4, HEADS).transpose(0, 3, 1, 2)  # FAULT


def without_transpose(x: jax.Array) -> jax.Array:
    return x.reshape(2, HEADS, 5, 4)  # FAULT


@pytest.mark.parametrize(
    ("split", "said"),
    [
        (entries_first, "PyTorch's order is reshape to (2, 5, 3, 4), transpose to (0, 1, 3, 2)"),
        (without_transpose, "PyTorch's order is reshape to (2, 5, 3, 4), transpose to (0, 2, 1, 3)"),
    ],
)
def test_a_helper_that_splits_queries_keys_and_values(split: Callable[..., jax.Array], said: str) -> None:
    def faulty(p: Any, x: jax.Array) -> jax.Array:
        return attention(p, x, split, joined)

    cause = named_fault(report_of(reference, faulty, WEIGHTS, X))
    assert cause.name is CauseKind.ORDER
    assert said in cause.text


def test_the_same_written_three_times() -> None:
    def faulty(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
        q = q.reshape(2, HEADS, 5, 4)
        k = k.reshape(2, HEADS, 5, 4)
        v = v.reshape(2, HEADS, 5, 4)
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / 2)
        return joined(weights @ v) @ p["o"]

    report = report_of(reference, faulty, WEIGHTS, X)
    (divergence,) = report.divergences
    assert divergence.cause is not None
    assert divergence.cause.name is CauseKind.ORDER
    assert divergence.candidate[0].code.startswith("q = ")


def test_heads_that_are_joined_without_a_transpose() -> None:
    def faulty(p: Any, x: jax.Array) -> jax.Array:
        def split(x: jax.Array) -> jax.Array:
            return x.reshape(2, 5, HEADS, 4).swapaxes(1, 2)

        def join(x: jax.Array) -> jax.Array:
            return x.reshape(2, 5, 12)  # FAULT

        return attention(p, x, split, join)

    cause = named_fault(report_of(reference, faulty, WEIGHTS, X))
    assert cause.name is CauseKind.ORDER


SQUARES = {name: numbers(12, 12, seed=seed) for seed, name in enumerate("ab")}
IMAGES = numbers(2, 6, 6, 12)


def grouped(p: Any, x: torch.Tensor) -> torch.Tensor:
    return F.group_norm((x @ p["a"]).permute(0, 3, 1, 2), 3).permute(0, 2, 3, 1) @ p["b"]


def grouped_otherwise(p: Any, x: jax.Array) -> jax.Array:
    y = x @ p["a"]
    groups = y.reshape(2, 6, 6, 4, 3)  # FAULT
    mean, variance = groups.mean((1, 2, 3), keepdims=True), groups.var((1, 2, 3), keepdims=True)
    return ((groups - mean) / jnp.sqrt(variance + 1e-5)).reshape(y.shape) @ p["b"]


def gated(p: Any, x: torch.Tensor) -> torch.Tensor:
    value, gate = (x @ p["a"]).chunk(2, dim=-1)
    return value * torch.sigmoid(gate)


def gated_by_neighbours(p: Any, x: jax.Array) -> jax.Array:
    parts = (x @ p["a"]).reshape(2, 6, 6, 6, 2)  # FAULT
    return parts[..., 0] * jax.nn.sigmoid(parts[..., 1])


def patches(p: Any, x: torch.Tensor) -> torch.Tensor:
    parts = torch.tanh(x @ p["a"])[..., :3].reshape(2, 3, 2, 3, 2, 3)
    return torch.tanh(parts.permute(0, 1, 3, 2, 4, 5).reshape(2, 9, 12) @ p["b"])


def patches_channels_first(p: Any, x: jax.Array) -> jax.Array:
    parts = jnp.tanh(x @ p["a"])[..., :3].reshape(2, 3, 2, 3, 2, 3)
    flat = parts.transpose(0, 1, 3, 5, 2, 4).reshape(2, 9, 12)  # FAULT
    return jnp.tanh(flat @ p["b"])


def shared_keys(p: Any, x: torch.Tensor) -> torch.Tensor:
    q = (x[:, 0] @ p["a"]).unflatten(-1, (4, 3)).transpose(1, 2)
    k = (x[:, 0] @ p["b"])[..., :6].unflatten(-1, (2, 3)).transpose(1, 2).repeat_interleave(2, 1)
    return torch.softmax(q @ k.transpose(-1, -2), dim=-1)


def shared_keys_of_the_other_heads(p: Any, x: jax.Array) -> jax.Array:
    q, k = (x[:, 0] @ p[name] for name in "ab")
    q = q.reshape(2, 6, 2, 2, 3)  # FAULT
    k = k[..., :6].reshape(2, 6, 2, 3)
    return jax.nn.softmax(jnp.einsum("btrgd,bsgd->brgts", q, k)).reshape(2, 4, 6, 6)


@pytest.mark.parametrize(
    ("reference", "faulty"),
    [
        (grouped, grouped_otherwise),
        (gated, gated_by_neighbours),
        (patches, patches_channels_first),
        (shared_keys, shared_keys_of_the_other_heads),
    ],
)
def test_parts_in_another_order(reference: Any, faulty: Any) -> None:
    report = report_of(reference, faulty, SQUARES, IMAGES)
    assert len(report.divergences) == 1, report
    assert named_fault(report).name is CauseKind.ORDER
