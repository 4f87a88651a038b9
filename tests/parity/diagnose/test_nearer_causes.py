"""The nearer of two explanations: what a programmer would change, not what comes to the same by algebra."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

W = {"w": numbers(4, 9), "v": numbers(4, 4), "b": numbers(4)}
X = numbers(6, 5, 4)
Program = Callable[[Any, Any], Any]


def turned(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A matrix per example, with the identity added; without it x would be missing from the sum."""
    matrix = (x[:, :, 0] @ p["w"][:, :5].T) @ p["w"] / 3
    return torch.einsum("bni,bij->bnj", x[..., :3], matrix.view(-1, 3, 3) + torch.eye(3, dtype=x.dtype))


def turned_without_identity(p: Any, x: jax.Array) -> jax.Array:
    matrix = (x[:, :, 0] @ p["w"][:, :5].T) @ p["w"] / 3
    return jnp.einsum("bni,bij->bnj", x[..., :3], matrix.reshape(-1, 3, 3))  # FAULT


def covariance(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A product of two means, of which the square of one is there, too."""
    y = torch.tanh(x @ p["v"])
    mean_x, mean_y = x.mean(1), y.mean(1)
    return (x * y).mean(1) - mean_x * mean_y + (x.square().mean(1) - mean_x**2) / (1 + mean_y**2)


def covariance_of_one(p: Any, x: jax.Array) -> jax.Array:
    y = jnp.tanh(x @ p["v"])
    mean_x, mean_y = x.mean(1), y.mean(1)
    both = (x * y).mean(1) - mean_x * mean_x  # FAULT
    return both + (jnp.square(x).mean(1) - mean_x**2) / (1 + mean_y**2)


def pairs(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A factorisation machine: sums over the fields (axis 1) of the embeddings."""
    v = x * p["b"]
    return (v.sum(1) ** 2 - v.square().sum(1)).sum(1)


def pairs_over_the_embedding(p: Any, x: jax.Array) -> jax.Array:
    v = x * p["b"]
    return (v.sum(axis=2) ** 2 - jnp.square(v).sum(axis=2)).sum(1)  # FAULT


def quantiles(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Weights of every pair of two axes of the same length."""
    tau, value = torch.sigmoid(x[:, :4, 0]), x[:, :4, 1] * p["b"]
    off = value[:, None, :] - value[:, :, None] + x[:, 4, :1, None]
    return ((tau[:, :, None] - torch.sigmoid(9 * off)) * off).sum(1)


def quantiles_of_the_other_axis(p: Any, x: jax.Array) -> jax.Array:
    tau, value = jax.nn.sigmoid(x[:, :4, 0]), x[:, :4, 1] * p["b"]
    off = value[:, None, :] - value[:, :, None] + x[:, 4, :1, None]
    return ((tau[:, None, :] - jax.nn.sigmoid(9 * off)) * off).sum(1)  # FAULT


def rotated(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Angles that are worked out from constants alone."""
    angles = torch.outer(torch.arange(5.0, dtype=x.dtype), 50.0 ** (-torch.arange(2.0, dtype=x.dtype) / 2))
    a, b = (x @ p["v"]).chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def rotated_narrowly(p: Any, x: jax.Array) -> jax.Array:
    angles = jnp.outer(jnp.arange(5.0), 50.0 ** (-jnp.arange(2.0) / 2)).astype(jnp.bfloat16)  # FAULT
    cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    a, b = jnp.split(x @ p["v"], 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def coupling(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Two couplings with masks of their own: what the first keeps the second changes."""
    for flip in (0, 1):
        mask = (torch.arange(4) % 2 == flip).to(x.dtype)
        x = x * mask + (1 - mask) * (x + torch.tanh((x * mask) @ p["v"]))
    return x


def coupling_of_one_mask(p: Any, x: jax.Array) -> jax.Array:
    for _ in range(2):
        mask = jnp.asarray([1.0, 0.0, 1.0, 0.0], x.dtype)  # the mask
        x = x * mask + (1 - mask) * (x + jnp.tanh((x * mask) @ p["v"]))  # FAULT
    return x


@pytest.mark.parametrize(
    ("reference", "candidate", "kind", "said"),
    [
        (turned, turned_without_identity, CauseKind.MISSING_TERM, "the identity matrix of shape (3, 3)"),
        (covariance, covariance_of_one, CauseKind.OPERANDS, "one of its operands"),
        (pairs, pairs_over_the_embedding, CauseKind.AXIS, "over axes (2,)"),
        (quantiles, quantiles_of_the_other_axis, CauseKind.BROADCAST, "along axes 0, 1, not 0, 2"),
        (rotated, rotated_narrowly, CauseKind.DTYPE, "bfloat16"),
        (coupling, coupling_of_one_mask, CauseKind.MASK, "inverted"),
    ],
    ids=["an identity", "a square", "two sums", "the other axis", "narrow angles", "an inverted mask"],
)
def test_the_cause_is_what_to_change(
    reference: Program, candidate: Program, kind: CauseKind, said: str
) -> None:
    cause = named_fault(report_of(reference, candidate, W, X))
    assert cause.name is kind, cause
    assert said in cause.text, cause


def test_values_of_one_helper_are_told_apart_by_their_calls() -> None:
    """Both are made on the helper's line: what tells them apart is the line that calls it."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        first, second = torch.tanh(x @ p["v"]), torch.tanh(x.flip(-1) @ p["v"])
        return torch.exp(first) * second + torch.sin(first)

    def layer(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ p["v"])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        first = layer(p, x)
        second = layer(p, x[..., ::-1])
        return jnp.exp(first) * second + jnp.sin(second)  # FAULT

    cause = named_fault(report_of(reference, candidate, W, X))
    assert cause.name is CauseKind.OPERANDS, cause
    assert cause.text.count("(called from line ") == 2, cause


def test_the_stop_whose_gradient_is_lacking() -> None:
    """Of three stops the one at what lacks a gradient, on the line that gives it to the other operand."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        z, q = x @ p["v"], torch.tanh(p["b"]) + 0 * x
        loss = (q - z.detach()).square() + 0.25 * (q.detach() - z).square()
        return loss.mean() + (torch.sin(z + (q - z).detach()) * 3).mean()

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        stop = jax.lax.stop_gradient
        z, q = x @ p["v"], jnp.tanh(p["b"]) + 0 * x
        codes = jnp.square(q - stop(z))
        commit = jnp.square(q - stop(z))  # FAULT
        straight = z + stop(q - z)  # right
        return (codes + 0.25 * commit).mean() + (jnp.sin(straight) * 3).mean()

    report = report_of(reference, candidate, W, X)
    lacking = [d for d in report.divergences if d.cause is not None and "do not stop it" in d.cause.text]
    assert lacking, report
    assert "# FAULT" in lacking[0].candidate[0].code, report
