"""Slices from another entry on, signs and bounds that a number would imitate, picks that are no operation."""

from typing import Any

import jax.numpy as jnp
import pytest
import torch
from torch import nn

from tests.parity.diagnose.diagnosed import cause_of, numbers

F = nn.functional

PARAMS = {"w": numbers(6, 6), "table": numbers(9, 6), "gain": numbers(6)}
X = numbers(3, 5, 6)


def torch_norm(p: Any, x: Any) -> Any:
    return F.layer_norm(x @ p["w"], (6,)) * p["gain"]


def jax_norm(p: Any, x: Any, *, sign: int = 1, bound: Any = jnp.maximum) -> Any:
    h = x @ p["w"]
    mean = sign * (h.sum(-1, keepdims=True) / 6)
    var = bound((h * h).sum(-1, keepdims=True) / 6 - mean * mean, 0)
    return (h - mean) / jnp.sqrt(var + 1e-5) * p["gain"]


def table_of(first: int) -> Any:
    return lambda p, x: jnp.tanh(x @ p["w"] + p["table"][first : first + x.shape[1]])


def heads(p: Any, x: Any, *, first: int, second: int) -> Any:
    parts = (x @ p["w"]).reshape(3, 5, 3, 2)
    return jnp.tanh(parts[:, :, first]) * parts[:, :, second]


def torch_heads(p: Any, x: Any) -> Any:
    a, b, _ = (x @ p["w"]).reshape(3, 5, 3, 2).unbind(2)
    return torch.tanh(a) * b


def torch_steps(p: Any, x: Any) -> Any:
    state, out = torch.zeros(3, 6, dtype=x.dtype), []
    for step in x.unbind(1):
        state = torch.tanh(step @ p["w"] + state)
        out.append(state)
    return torch.stack(out)


def jax_steps(p: Any, x: Any) -> Any:
    state, out = jnp.zeros((3, 6), x.dtype), []
    for t in range(5):
        state = jnp.tanh(x[:, max(t, 1)] @ p["w"] + state)
        out.append(state)
    return jnp.stack(out)


@pytest.mark.parametrize(
    ("reference", "candidate", "names", "words"),
    [
        (lambda p, x: torch.tanh(x @ p["w"] + p["table"][:5]), table_of(2), {"shift"}, ["from 0 (of 9"]),
        (lambda p, x: torch.tanh(x @ p["w"] + p["table"][4:]), table_of(2), {"shift"}, ["from 4 (of 9"]),
        (torch_heads, lambda p, x: heads(p, x, first=0, second=2), {"selection"}, ["entry 1 alone"]),
        (torch_heads, lambda p, x: heads(p, x, first=1, second=1), {"selection"}, ["entry 0 alone"]),
        (
            lambda p, x: torch.tanh((x @ p["w"])[:, 1:3, 0:2]),
            lambda p, x: jnp.tanh((x @ p["w"])[:, 2:4, 3:5]),
            {"shift"},
            ["along axis 1", "along axis 2"],
        ),
        (torch_steps, jax_steps, {"selection"}, ["from 0 (of 5"]),
        (torch_norm, lambda p, x: jax_norm(p, x, bound=jnp.minimum), {"selection"}, ["takes the larger"]),
        (
            lambda p, x: torch.tanh(torch.clamp((x @ p["w"]).square() - 0.5, min=0)),
            lambda p, x: jnp.tanh(jnp.minimum((x @ p["w"]) ** 2 - 0.5, 0)),
            {"selection", "activation"},
            [],
        ),
        (
            lambda p, x: torch.tanh((x @ p["w"]).mean(-1)),
            lambda p, x: jnp.tanh(-(x @ p["w"]).sum(-1) / 6),
            {"operands"},
            ["keeps the sign"],
        ),
        (
            lambda p, x: torch.tanh((x @ p["w"]).mean(-1)),
            lambda p, x: jnp.tanh((x @ p["w"]).sum(-1) / 5),
            {"variance correction", "reduction", "constant"},
            ["use 6"],
        ),
        (
            lambda p, x: torch.tanh(-0.25 * (x @ p["w"])),
            lambda p, x: jnp.tanh(0.25 * (x @ p["w"])),
            {"constant", "scale"},
            ["-0.25"],
        ),
    ],
    ids=[
        "weight-too-far",
        "weight-too-near",
        "part-of-value",
        "same-part-twice",
        "along-two-axes",
        "time-step",
        "bound-of-variance",
        "bound-of-values",
        "negated-mean",
        "count",
        "sign-of-a-factor",
    ],
)
def test_the_change_itself_is_named(
    reference: Any, candidate: Any, names: set[str], words: list[str]
) -> None:
    cause = cause_of(reference, candidate, PARAMS, X)
    assert cause is not None
    assert cause.name in names, cause
    assert all(word in cause.text for word in words), cause
