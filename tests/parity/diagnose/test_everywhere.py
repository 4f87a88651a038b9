"""Code that runs more than once: a cause must explain every execution, and may need to."""

from typing import Any

import jax
import jax.numpy as jnp
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

W = {"w": numbers(4, 4), "v": numbers(4, 4), "u": numbers(4, 4)}


def test_a_sum_that_is_subtracted_in_every_round_is_not_one_that_is_turned_round() -> None:
    """After the last round alone, `s - total` would do as well as `total + s` in all of them."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        total: Any = 0.0
        for name in ("w", "v", "u"):
            s = torch.tanh(x @ p[name])
            total = total + s.sum(-1)
            x = x * s.exp()
        return total + x.sum(-1)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        total: Any = 0.0
        for name in ("w", "v", "u"):
            s = jnp.tanh(x @ p[name])
            total = total - s.sum(-1)  # FAULT
            x = x * jnp.exp(s)
        return total + x.sum(-1)

    report = report_of(reference, candidate, W, numbers(5, 4))
    assert len(report.divergences) == 1, report
    first = report.divergences[0]
    assert "# FAULT" in first.candidate[0].code, report
    assert first.cause is not None
    assert "adds where JAX has sub" in first.cause.text, first.cause


def test_a_number_of_a_function_that_is_called_twice_is_changed_in_both_calls() -> None:
    """What is wrong with both calls cancels in their difference: one call alone cannot be mended."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        def net(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            return 0.25 / (x.square().mean() + 0.5) * x + torch.tanh(x @ w)

        a, b = net(x, p["w"]), net(x, p["v"])
        return b + 2.5 * (a - b)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def net(x: jax.Array, w: jax.Array) -> jax.Array:
            return 0.3 / (jnp.square(x).mean() + 0.5) * x + jnp.tanh(x @ w)  # FAULT

        a, b = net(x, p["w"]), net(x, p["v"])
        return b + 2.5 * (a - b)

    report = report_of(reference, candidate, W, numbers(5, 4))
    first = report.divergences[0]
    assert "# FAULT" in first.candidate[0].code, report
    assert first.cause is not None, report
    assert first.cause.name is CauseKind.CONSTANT, first.cause
    assert all(number in first.cause.text for number in ("0.3", "0.25")), first.cause


def test_what_explains_the_first_step_alone_is_no_cause() -> None:
    """The state is zero at first: there the gate outside and the gate inside the bracket are the same."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        state, out = torch.zeros(5, 4), []
        for t in range(3):
            gate = torch.sigmoid(x[:, t] @ p["w"])
            state = gate * state + x[:, t] @ p["v"]
            out.append(torch.tanh(state))
        return torch.stack(out, 1)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
            gate = jax.nn.sigmoid(x @ p["w"])
            state = gate * (state + x @ p["v"])  # FAULT
            return state, jnp.tanh(state)

        return jax.lax.scan(step, jnp.zeros((5, 4)), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    report = report_of(reference, candidate, {"w": W["w"], "v": W["v"]}, numbers(5, 3, 4))
    first = report.divergences[0]
    assert "# FAULT" in first.candidate[0].code, report
    assert first.cause is None or first.cause.name is CauseKind.ORDER, first.cause


def test_the_same_function_with_another_setting_elsewhere_stays_as_it_is() -> None:
    """Only the second of two calls is wrong: changing the first, which is right, would mend nothing."""

    def norm(x: torch.Tensor, eps: float) -> torch.Tensor:
        return torch.nn.functional.layer_norm(x, (4,), eps=eps)

    def normalised(x: jax.Array) -> jax.Array:
        return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)

    cause = cause_of(
        lambda p, x: norm(torch.tanh(norm(x, 1e-5) @ p["w"]), 1e-2),
        lambda p, x: normalised(jnp.tanh(normalised(x) @ p["w"])),
        {"w": W["w"]},
        numbers(5, 4),
    )
    assert cause is not None
    assert cause.name is CauseKind.EPSILON, cause
