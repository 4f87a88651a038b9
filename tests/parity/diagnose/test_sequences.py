"""A sequence that a loop reads an entry at a time: shifted, reversed, another one."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from parity.report.divergences import Divergence, once_each
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import numbers, report_of

WEIGHTS = {"w": numbers(4, 4), "u": numbers(4, 4, seed=2)}
X, Y = numbers(6, 3, 4), numbers(6, 3, 4, seed=5)

Function = Callable[[Any, Any, Any], Any]


def unrolled(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Steps of a Python loop, each of which reads its entry twice."""
    h, found = torch.zeros_like(x[0]), []
    for t in range(len(x)):
        h = torch.tanh(x[t] @ p["w"] + h @ p["u"])
        h = h + 0.3 * x[t]
        found.append(h)
    return torch.stack(found)


def last(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return unrolled(p, x, y)[-1]


def backwards(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return unrolled(p, x.flip(0), y).flip(0)


def following(p: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    values, h, found = torch.cat([x, y[:1]]), torch.zeros_like(x[0]), []
    for t in range(len(x)):
        h = torch.tanh(values[t] @ p["w"] + h @ p["u"]) + 0.5 * values[t + 1]
        found.append(h)
    return torch.stack(found)


Two = Callable[[Any, Any], Any]


def scanned(change: Two, pick: Two = lambda h, out: out) -> Function:
    def port(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def step(h: jax.Array, entry: jax.Array) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(entry @ p["w"] + h @ p["u"])
            h = h + 0.3 * entry
            return h, h

        return pick(*jax.lax.scan(step, jnp.zeros_like(x[0]), change(x, y)))

    return port


def scanned_twice(first: int, second: int) -> Function:
    def port(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def step(h: jax.Array, entries: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(entries[0] @ p["w"] + h @ p["u"]) + 0.5 * entries[1]
            return h, h

        values = jnp.concatenate([x, y[:1]])
        read = values[first : first + len(x)], values[second : second + len(x)]
        return jax.lax.scan(step, jnp.zeros_like(x[0]), read)[1]

    return port


def loop_a_step_late(p: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    h, found = jnp.zeros_like(x[0]), []
    for t in range(len(x)):
        h = jnp.tanh(x[max(t - 1, 0)] @ p["w"] + h @ p["u"])
        h = h + 0.3 * x[t]
        found.append(h)
    return jnp.stack(found)


def only(reference: Function, candidate: Function) -> Divergence:
    report = report_of(reference, candidate, WEIGHTS, X, Y)
    faults = once_each(report.divergences)
    assert len(faults) == 1, str(report)
    return faults[0][0]


@pytest.mark.parametrize(
    ("reference", "candidate", "kind", "words"),
    [
        (unrolled, scanned(lambda x, y: jnp.roll(x, 1, 0)), CauseKind.SHIFT, "shifted by -1"),
        (last, scanned(lambda x, y: jnp.roll(x, -1, 0), lambda h, out: h), CauseKind.SHIFT, "shifted by +1"),
        (unrolled, scanned(lambda x, y: x[::-1]), CauseKind.ORDER, "reversed along axis 0"),
        (
            unrolled,
            scanned(lambda x, y: y),
            CauseKind.OPERANDS,
            "PyTorch of what is the input input_0",
        ),
        (backwards, scanned(lambda x, y: x), CauseKind.RECURRENCE, "from the other end"),
        (following, scanned_twice(0, 0), CauseKind.SHIFT, "shifted by -1"),
        (following, scanned_twice(1, 1), CauseKind.SHIFT, "shifted by +1"),
        (unrolled, loop_a_step_late, CauseKind.SHIFT, "shifted by -1"),
    ],
)
def test_a_sequence_that_is_read_wrongly_is_one_fault_with_its_order(
    reference: Function, candidate: Function, kind: CauseKind, words: str
) -> None:
    cause = only(reference, candidate).cause
    assert cause is not None
    assert (cause.name, words in cause.text) == (kind, True), cause.text


def test_two_sequences_that_are_read_for_each_other() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h, out = torch.zeros(4, dtype=x.dtype), []
        for a, b in zip(torch.sin(x @ p["w"]), torch.cos(x @ p["w"]), strict=True):
            h = torch.tanh(0.5 * h + a)
            out.append(h * b)
        return torch.stack(out)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def step(h: jax.Array, ab: Any) -> tuple[jax.Array, jax.Array]:
            h = jnp.tanh(0.5 * h + ab[0])
            return h, h * ab[1]

        b, a = jnp.sin(x @ p["w"]), jnp.cos(x @ p["w"])  # EXCHANGED
        return jax.lax.scan(step, jnp.zeros(4, x.dtype), (a, b))[1]

    report = report_of(reference, candidate, {"w": numbers(4, 4)}, numbers(6, 4, seed=1))
    fault = report.divergences[0]
    assert fault.cause is not None, str(report)
    assert fault.cause.name is CauseKind.OPERANDS, fault.cause
    assert "exchange them" in fault.cause.text, fault.cause
    assert any("# EXCHANGED" in place.code for place in fault.candidate), fault.candidate
