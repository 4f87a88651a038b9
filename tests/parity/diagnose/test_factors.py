"""A factor is called a sum for a mean where a sum of that many entries lies near, and a factor elsewhere."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

WEIGHTS = {"w": numbers(4, 4), "v": numbers(5, 4, seed=3)}
X = numbers(6, 4)


def nearest_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    h = x @ p["w"]
    chosen = (h[:, None] - p["v"]).square().sum(-1).argmin(-1)
    return torch.tanh(0.25 * h * p["v"][chosen])


def nearest_jax(p: Any, x: jax.Array) -> jax.Array:
    h = x @ p["w"]
    chosen = jnp.square(h[:, None] - p["v"]).sum(-1).argmin(-1)
    return jnp.tanh(h * p["v"][chosen])


def test_a_factor_is_no_mean_over_what_only_an_index_was_computed_from() -> None:
    cause = cause_of(nearest_torch, nearest_jax, WEIGHTS, X)
    assert cause is not None
    assert cause.name is CauseKind.SCALE
    assert "0.25" in cause.text


def test_a_mean_is_a_mean_where_the_other_side_adds_up() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh((x[:, :, None] * p["w"]).mean(1))

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ p["w"])

    cause = cause_of(reference, candidate, WEIGHTS, X)
    assert cause is not None
    assert "4" in cause.text
    assert cause.name is CauseKind.REDUCTION


def terms_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    h, code = x @ p["w"], torch.tanh(p["v"][:4].sum(0))
    pulled = (h - code.detach()).abs().sqrt().sum(-1)
    pushed = (h.detach() - code).abs().sqrt().sum(-1)
    return 2 * pulled + 0.5 * pushed


def terms_jax(p: Any, x: jax.Array) -> jax.Array:
    h, code = x @ p["w"], jnp.tanh(p["v"][:4].sum(0))
    pulled = jnp.sqrt(jnp.abs(h - jax.lax.stop_gradient(code))).sum(-1)
    pushed = jnp.sqrt(jnp.abs(jax.lax.stop_gradient(h) - code)).sum(-1)
    return 0.5 * pulled + 2 * pushed


def test_two_terms_with_each_others_factors_are_one_fault() -> None:
    (fault,) = report_of(terms_torch, terms_jax, WEIGHTS, X).divergences
    assert fault.cause is not None
    assert fault.cause.name is CauseKind.GRADIENT_RULE
    assert "exchanged" in fault.cause.text
    assert " 4 times" in fault.cause.text
    assert " 0.25 times" in fault.cause.text


def test_a_factor_of_a_loss_that_is_one_number() -> None:
    """No other term is near: the temperature's square is left out of a distillation loss."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        log = torch.log_softmax(x @ p["w"] / 3, -1)
        return torch.nn.functional.kl_div(log, torch.softmax(x, -1), reduction="batchmean") * 3**2

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        log, target = jax.nn.log_softmax(x @ p["w"] / 3), jax.nn.log_softmax(x)
        return jnp.mean(jnp.sum(jnp.exp(target) * (target - log), -1))

    cause = cause_of(reference, candidate, {"w": numbers(4, 4)}, numbers(5, 4, seed=1))
    assert cause is not None
    assert cause.name is CauseKind.SCALE, cause
    assert "9 times" in cause.text, cause


def test_twice_a_loss_is_no_term() -> None:
    """What the reference computes is not subtracted from itself."""
    cause = cause_of(
        lambda p, x: torch.nn.functional.huber_loss(x @ p["w"], x, delta=0.5),
        lambda p, x: jnp.mean(optax.huber_loss(x @ p["w"], x, delta=0.5)) * 2,
        {"w": numbers(4, 4)},
        numbers(5, 4, seed=1),
    )
    assert cause is not None
    assert cause.name is not CauseKind.MISSING_TERM, cause
