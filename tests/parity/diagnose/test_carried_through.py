"""A cause must mend the outputs, and not the faulty value alone."""

from typing import Any

import jax
import jax.numpy as jnp
import torch

from parity.report.divergence_text import explained
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

W = {"w": numbers(4, 4), "v": numbers(4, seed=1)}
X = numbers(2, 6, 4)


def attended(p: Any, x: Any, mask: Any, library: Any) -> Any:
    """Scores of x with itself behind a mask, as sums of x."""
    return library.where(mask, library.exp(library.tanh(x @ p["w"] @ x.swapaxes(1, 2))), 0.0) @ x


def test_a_shift_that_cancels_elsewhere_is_no_cause() -> None:
    """The distance is compared twice: one more would be right for the upper bound and wrong for the lower."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        i = torch.arange(6)
        near = i[:, None] - i
        return attended(p, x, (near >= 0) & (near < 3), torch)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        i = jnp.arange(6)
        near = i[:, None] - i[None]
        within = (near >= 0) & (near <= 3)  # FAULT
        return attended(p, x, within, jnp)

    report = report_of(reference, candidate, {"w": W["w"]}, X)
    fault = report.divergences[0]
    assert fault.cause is not None, report
    assert fault.cause.name is CauseKind.MASK, fault.cause
    assert "compares by <" in fault.cause.text or "3" in fault.cause.text, fault.cause
    assert "# FAULT" in fault.candidate[0].code, fault


def test_the_meaning_of_a_value_is_not_changed() -> None:
    """Probabilities where the reference has their logarithms: both are right, a step is too many."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        move, state = p["w"].log_softmax(-1), p["v"].log_softmax(-1).expand(2, 4)
        for t in range(6):
            state = torch.logsumexp(state[:, :, None] + move, 1) if t else state
            state = state - x[:, t] ** 2
        return torch.logsumexp(state, -1)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        move, state = jax.nn.softmax(p["w"]), jnp.broadcast_to(jax.nn.softmax(p["v"]), (2, 4))
        for t in range(6):
            state = state @ move * jnp.exp(-(x[:, t] ** 2))  # FAULT
        return jnp.log(state.sum(-1))

    report = report_of(reference, candidate, W, X)
    for fault in report.divergences:
        assert fault.cause is None or fault.cause.name is not CauseKind.ACTIVATION, fault.cause


def test_of_two_faults_a_cause_speaks_of_its_place_alone() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.nn.functional.gelu(x @ p["w"]) @ p["w"] + p["v"])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.gelu(x @ p["w"], approximate=True)
        return jax.nn.sigmoid(h @ p["w"] + p["v"])

    report = report_of(reference, candidate, W, X)
    first, second = (fault.cause for fault in report.divergences)
    assert first is not None, report
    assert second is not None, report
    assert explained(first).endswith(" at this place")
    assert second.whole


def test_several_roundings_are_one_cause() -> None:
    """Softmax in bfloat16 is a softmax: what differs is the dtype."""
    cause = cause_of(
        lambda p, x: torch.softmax(x @ p["w"], -1) * p["v"],
        lambda p, x: jax.nn.softmax((x @ p["w"]).astype(jnp.bfloat16)).astype(x.dtype) * p["v"],
        W,
        X,
    )
    assert cause is not None
    assert cause.name is CauseKind.DTYPE, cause
    assert "in bfloat16" in cause.text


def test_a_long_computation_is_no_missing_step() -> None:
    """Columns before rows instead of rows before columns, time and again."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        c = x @ p["w"]
        for _ in range(4):
            c = c.log_softmax(2).log_softmax(1)
        return c

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        c = x @ p["w"]
        for _ in range(4):
            c = jax.nn.log_softmax(jax.nn.log_softmax(c, 1), 2)
        return c

    for fault in report_of(reference, candidate, {"w": W["w"]}, X).divergences:
        assert fault.cause is None or fault.cause.name is not CauseKind.MISSING_TERM, fault.cause
