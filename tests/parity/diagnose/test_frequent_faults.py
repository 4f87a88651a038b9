"""Faults that ports have often: halves exchanged, a bias behind a function, another value, a whole sum."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity.diagnose import factors
from parity.diagnose.targets import Target
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

W = {"w": numbers(4, 4), "b": numbers(4), "film": numbers(4, 8), "start": numbers(1, 5, 4)}
X, Y = numbers(2, 5, 4), numbers(2, 4, seed=2)


def test_scale_and_shift_that_are_fitted_differently_are_exchanged() -> None:
    def reference(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        scale, shift = (y @ p["film"])[:, None].chunk(2, -1)
        return torch.sigmoid(x * (1 + scale) + shift)

    def candidate(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        shift, scale = jnp.split(y @ p["film"], 2, -1)
        return jax.nn.sigmoid(x * (1 + scale[:, None]) + shift[:, None])

    cause = cause_of(reference, candidate, {"film": W["film"]}, X, Y)
    assert cause is not None
    assert cause.name is CauseKind.PACKED_ORDER, cause


def test_a_bias_is_added_behind_a_function_of_many_operations() -> None:
    cause = cause_of(
        lambda p, x: torch.exp(-torch.nn.functional.softplus(x @ p["w"] + p["b"])),
        lambda p, x: jnp.exp(-(jax.nn.softplus(x @ p["w"]) + p["b"])),
        {"w": W["w"], "b": W["b"]},
        X,
    )
    assert cause is not None
    assert cause.name is CauseKind.ORDER, cause
    assert "computes add" in cause.text


def test_a_weight_is_added_where_what_is_computed_of_it_belongs() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        q = (p["start"] @ p["w"]).expand(2, 5, 4)
        return torch.tanh(q + torch.softmax(q @ x.mT, -1) @ x)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        start = jnp.tile(p["start"], (2, 1, 1))
        q = start @ p["w"]
        return jnp.tanh(start + jax.nn.softmax(q @ x.swapaxes(1, 2)) @ x)  # FAULT

    report = report_of(reference, candidate, {"w": W["w"], "start": W["start"]}, X)
    fault = report.divergences[0]
    assert fault.cause is not None, report
    assert fault.cause.name is CauseKind.OPERANDS, fault.cause
    assert "# FAULT" in fault.candidate[0].code


def test_the_whole_sum_is_read_where_the_running_one_belongs() -> None:
    cause = cause_of(
        lambda p, x: torch.tanh((x * torch.cumsum(x @ p["w"], 1)).sum(-1)),
        lambda p, x: jnp.tanh(jnp.einsum("btd,bd->bt", x, (x @ p["w"]).sum(1))),
        {"w": W["w"]},
        X,
    )
    assert cause is not None
    assert cause.name is CauseKind.REDUCTION, cause
    assert "entries so far along axis 1" in cause.text


def test_a_comparison_is_wrong_in_every_step_of_a_loop() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        steps = []
        for t in range(1, 6):
            scores = torch.softmax((x[:, t - 1 : t] @ p["w"] @ x[:, :t].mT), -1)
            steps.append(scores @ x[:, :t])
        return torch.cat(steps, 1)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def step(carry: Any, t: jax.Array) -> tuple[Any, jax.Array]:
            scores = jnp.einsum("bd,bsd->bs", x[:, t] @ p["w"], x)
            seen = (jnp.arange(5) < t) | (jnp.arange(5) == 0)  # FAULT
            return carry, jnp.einsum("bs,bsd->bd", jax.nn.softmax(jnp.where(seen, scores, -1e30)), x)

        return jax.lax.scan(step, None, jnp.arange(5))[1].swapaxes(0, 1)

    report = report_of(reference, candidate, {"w": W["w"]}, X)
    fault = report.divergences[0]
    assert fault.cause is not None, report
    assert "compares by <=" in fault.cause.text
    assert "# FAULT" in fault.candidate[0].code


def test_a_factor_is_told_plainly_where_a_constant_in_float32_blurs_it() -> None:
    actual = numbers(4).astype(np.float64)
    wanted = actual * 0.750000008999
    assert factors._plainer(0.750000008999, Target(0, wanted, actual, 1e-7)) == 0.75
    assert factors._plainer(0.750000008999, Target(0, wanted, actual, 1e-15)) != 0.75


def test_what_is_divided_is_told_from_what_divides() -> None:
    cause = cause_of(
        lambda p, x, y: torch.tanh((x @ p["w"]).sum((1, 2)) / y),
        lambda p, x, y: jnp.tanh((x @ p["w"]).sum((1, 2))),
        {"w": W["w"]},
        X,
        Y[:, 0],
    )
    assert cause is not None
    assert "PyTorch divides by the input" in cause.text, cause


def test_infinities_that_differ_are_told() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return (x @ p["w"]).masked_fill(x < 0, -torch.inf).amax(1)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jnp.where(x < 0, 0.0, x @ p["w"]).max(1)

    report = report_of(reference, candidate, {"w": W["w"]}, -abs(X) * [[[1], [1], [-1], [1], [1]]])
    assert "one side has infinities" in str(report), str(report)
