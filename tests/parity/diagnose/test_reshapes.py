"""Heads that are split or joined in another order, of several operands alike."""

from collections.abc import Callable
from typing import Any

import jax
import pytest
import torch

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
        (entries_first, "PyTorch reshapes to (2, 5, 3, 4) and transposes by (0, 1, 3, 2)"),
        (without_transpose, "PyTorch reshapes to (2, 5, 3, 4) and transposes by (0, 2, 1, 3)"),
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
