"""Calls in another order: one function is applied before another where the reference has it behind."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

W = {
    "q": numbers(8, 8),
    "k": numbers(8, 8, seed=2),
    "g": 1 + numbers(4) ** 2,
    "h": 1 + numbers(4, seed=1) ** 2,
}
X = numbers(2, 6, 8)
ANGLES = numbers(6, 1, 2, seed=3)


def normed_in_torch(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)


def turned_in_torch(x: torch.Tensor) -> torch.Tensor:
    angle, (a, b) = torch.tensor(ANGLES, dtype=x.dtype), x.unflatten(-1, (2, 2)).unbind(-1)
    turned = a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()
    return torch.stack(turned, -1).flatten(-2)


def scores_in_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Queries and keys, normalised and then turned."""
    query, key = ((x @ p[name]).unflatten(-1, (2, 4)) for name in ("q", "k"))
    query, key = (
        turned_in_torch(normed_in_torch(query, p["g"])),
        turned_in_torch(normed_in_torch(key, p["h"])),
    )
    return torch.softmax(torch.einsum("bqhd,bkhd->bhqk", query, key), -1)


def normed(x: jax.Array, scale: jax.Array) -> jax.Array:
    return scale * x * jax.lax.rsqrt(jnp.mean(jnp.square(x), -1, keepdims=True) + 1e-6)


def turned(x: jax.Array) -> jax.Array:
    angle, pairs = jnp.asarray(ANGLES, x.dtype), x.reshape(*x.shape[:-1], 2, 2)
    a, b = pairs[..., 0], pairs[..., 1]
    both = jnp.stack(
        [
            a * jnp.cos(angle) - b * jnp.sin(angle),
            a * jnp.sin(angle) + b * jnp.cos(angle),
        ],
        -1,
    )
    return both.reshape(x.shape)


def behind(x: jax.Array, scale: jax.Array) -> jax.Array:
    return normed(turned(x), scale)  # FAULT


def before(x: jax.Array, scale: jax.Array) -> jax.Array:
    return turned(normed(x, scale))


Order = Callable[[jax.Array, jax.Array], jax.Array]


@pytest.mark.parametrize(("of_queries", "of_keys"), [(behind, before), (before, behind), (behind, behind)])
def test_a_rotation_before_a_norm_is_named(of_queries: Order, of_keys: Order) -> None:
    """The value between the two calls is rearranged first: the norm goes in before that."""

    def scores(p: Any, x: jax.Array) -> jax.Array:
        query, key = ((x @ p[name]).reshape(*x.shape[:-1], 2, 4) for name in ("q", "k"))
        query, key = of_queries(query, p["g"]), of_keys(key, p["h"])
        return jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key))

    cause = named_fault(report_of(scores_in_torch, scores, W, X))
    assert cause.name is CauseKind.ORDER, cause
    assert "computes a normalisation on" in cause.text, cause


def test_two_calls_of_one_function_have_each_other_s_weights() -> None:
    """They are in no other order: what each reads is another's."""

    def block_in_torch(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ kernel)

    def block(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jnp.tanh(x @ kernel)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        hidden = block(x, p["k"])
        return x + block(hidden, p["q"])

    report = report_of(
        lambda p, x: x + block_in_torch(block_in_torch(x, p["q"]), p["k"]),
        candidate,
        {name: W[name] for name in "qk"},
        X,
    )
    cause = report.divergences[0].cause
    assert cause is not None, report
    assert cause.name is CauseKind.SWAPPED_WEIGHTS, cause
