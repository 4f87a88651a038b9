"""Entries chosen by one value and read from another: before or behind the term or factor of a weight."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers

WEIGHTS = {"w": numbers(4, 6), "shift": numbers(6), "scale": numbers(6, seed=4), "v": numbers(2, 3)}
X = numbers(7, 4)

Function = Callable[[Any, Any], Any]


def gathered_torch(chosen_by: str, read: str) -> Function:
    def forward(p: Any, x: torch.Tensor) -> torch.Tensor:
        scores = torch.sigmoid(x @ p["w"])
        values = {"plain": scores, "shift": scores + p["shift"], "scale": scores * p["scale"]}
        chosen = values[chosen_by].topk(2).indices
        return torch.tanh(values[read].gather(-1, chosen) @ p["v"])

    return forward


def gathered_jax(chosen_by: str, read: str) -> Function:
    def port(p: Any, x: jax.Array) -> jax.Array:
        scores = jax.nn.sigmoid(x @ p["w"])
        values = {"plain": scores, "shift": scores + p["shift"], "scale": scores * p["scale"]}
        best, chosen = jax.lax.top_k(values[chosen_by], 2)
        if read != chosen_by:
            best = jnp.take_along_axis(values[read], chosen, -1)
        return jnp.tanh(best @ p["v"])

    return port


def extreme_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    scores = torch.sigmoid(x @ p["w"])
    chosen = (scores + p["shift"]).argmax(-1, keepdim=True)
    return torch.tanh(scores.gather(-1, chosen) * p["v"][0])


def extreme_jax(p: Any, x: jax.Array) -> jax.Array:
    corrected = jax.nn.sigmoid(x @ p["w"]) + p["shift"]
    return jnp.tanh(corrected.max(-1, keepdims=True) * p["v"][0])


def sorted_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    scores = torch.sigmoid(x @ p["w"])
    order = (scores + p["shift"]).sort(-1).indices
    return torch.tanh(scores.gather(-1, order) * p["scale"])


def sorted_jax(p: Any, x: jax.Array) -> jax.Array:
    corrected = jax.nn.sigmoid(x @ p["w"]) + p["shift"]
    return jnp.tanh(jnp.sort(corrected, -1) * p["scale"])


@pytest.mark.parametrize(
    ("reference", "candidate", "weight"),
    [
        (gathered_torch("shift", "plain"), gathered_jax("shift", "shift"), "shift"),
        (gathered_torch("scale", "plain"), gathered_jax("scale", "scale"), "scale"),
        (gathered_torch("shift", "shift"), gathered_jax("shift", "plain"), "shift"),
        (gathered_torch("scale", "scale"), gathered_jax("scale", "plain"), "scale"),
        (extreme_torch, extreme_jax, "shift"),
        (sorted_torch, sorted_jax, "shift"),
    ],
)
def test_what_is_read_with_a_term_and_belongs_without_is_told_with_its_weight(
    reference: Function, candidate: Function, weight: str
) -> None:
    cause = cause_of(reference, candidate, WEIGHTS, X)
    assert cause is not None
    assert cause.name is CauseKind.OPERANDS
    assert f"with {weight}" in cause.text
