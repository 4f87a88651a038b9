"""What one side computes at once and the other in the runs of a loop, with a fault inside."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from parity.report.divergences import Divergence, once_each
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import numbers, report_of

WEIGHTS = {"w": numbers(4, 4), "v": numbers(4, 4, seed=1), "u": numbers(4, seed=2)}
X = numbers(6, 4, seed=3)


def fault_of(reference: Any, candidate: Any, *inputs: Any) -> Divergence:
    """The only fault of a pair."""
    report = report_of(reference, candidate, WEIGHTS, *(inputs or (X,)))
    assert len(once_each(report.divergences)) == 1, str(report)
    return report.divergences[0]


def at_once(p: Any, x: torch.Tensor) -> torch.Tensor:
    """Two layers of all rows at once."""
    h = torch.nn.functional.gelu(x @ p["w"] + p["u"])
    return torch.tanh(h @ p["v"]) * 0.5


def layers(p: Any, x: jax.Array, approximate: bool = False, scale: float = 0.5) -> jax.Array:
    """The same of some rows."""
    h = jax.nn.gelu(x @ p["w"] + p["u"], approximate=approximate)  # ACTIVATION
    return jnp.tanh(h @ p["v"]) * scale  # SCALE


def in_a_map(p: Any, x: jax.Array, **fault: Any) -> jax.Array:
    """A row at a time."""
    return jax.lax.map(lambda row: layers(p, row, **fault), x)


def in_chunks_of_python(p: Any, x: jax.Array, **fault: Any) -> jax.Array:
    """Two rows at a time, in a loop of Python's."""
    return jnp.concatenate([layers(p, x[i : i + 2], **fault) for i in range(0, 6, 2)])


def backwards(p: Any, x: jax.Array, **fault: Any) -> jax.Array:
    """A row at a time, the last one first."""
    return jax.lax.scan(lambda carry, row: (carry, layers(p, row, **fault)), 0, x, reverse=True)[1]


WAYS = [in_a_map, in_chunks_of_python, backwards]


@pytest.mark.parametrize("way", WAYS)
def test_an_activation_in_a_loop(way: Any) -> None:
    fault = fault_of(at_once, lambda p, x: way(p, x, approximate=True))
    assert "# ACTIVATION" in fault.candidate[0].code, fault
    assert fault.cause is not None
    assert fault.cause.name is CauseKind.ACTIVATION, fault.cause


@pytest.mark.parametrize("way", WAYS)
def test_a_number_in_a_loop(way: Any) -> None:
    fault = fault_of(at_once, lambda p, x: way(p, x, scale=0.25))
    assert "# SCALE" in fault.candidate[0].code, fault
    assert fault.cause is not None
    assert fault.cause.name in (CauseKind.SCALE, CauseKind.CONSTANT), fault.cause


def test_a_loop_of_the_reference() -> None:
    """PyTorch computes a head at a time, JAX all of them."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        heads = []
        for q, k, v in zip((x @ p["w"]).split(2, -1), (x @ p["v"]).split(2, -1), x.split(2, -1), strict=True):
            scores = (q @ k.mT / 2**0.5).softmax(-1)
            heads.append(scores @ v)
        return torch.cat(heads, -1)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        q, k, v = (a.reshape(6, 2, 2).swapaxes(0, 1) for a in (x @ p["w"], x @ p["v"], x))
        scores = jax.nn.softmax(q @ k.mT / 2, -1)  # SCALE
        return (scores @ v).swapaxes(0, 1).reshape(6, 4)

    fault = fault_of(reference, candidate)
    assert "# SCALE" in fault.candidate[0].code, fault
    assert fault.cause is not None
    assert fault.cause.name in (CauseKind.SCALE, CauseKind.CONSTANT), fault.cause


def test_a_loop_inside_a_loop() -> None:
    """Both layers run on the same line, and each of them row by row."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        for name in ("w", "v"):
            x = x + torch.nn.functional.silu(x @ p[name]) * p["u"]
        return x

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        for name in ("w", "v"):
            x = jax.lax.map(lambda row, w=p[name]: row + jax.nn.sigmoid(row @ w) * p["u"], x)  # ACTIVATION
        return x

    report = report_of(reference, candidate, WEIGHTS, X)
    fault = report.divergences[0]
    assert len(once_each(report.divergences)) == 1, str(report)
    assert "# ACTIVATION" in fault.candidate[0].code, fault
    assert fault.cause is not None


def test_a_term_that_a_loop_lacks() -> None:
    """What is missing is a part of a value that PyTorch computes at once."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(x @ p["w"])
        return torch.sin((h @ p["v"]) + h * p["u"])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def row(x: jax.Array) -> jax.Array:
            h = jnp.tanh(x @ p["w"])
            return jnp.sin(h @ p["v"])  # TERM

        return jax.lax.map(row, x)

    fault = fault_of(reference, candidate)
    assert "# TERM" in fault.candidate[0].code, fault
    assert fault.cause is not None
    assert fault.cause.name is CauseKind.MISSING_TERM, fault.cause


def test_a_recurrence_is_no_loop_over_parts() -> None:
    """A step reads what the one before came to: what is wrong is looked for step by step."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        state, out = torch.zeros(4, dtype=x.dtype), []
        for row in x:
            state = torch.tanh(row @ p["w"] + state @ p["v"])
            out.append(state)
        return torch.stack(out) * p["u"]

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def step(state: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
            state = jnp.tanh(row @ p["w"] - state @ p["v"])  # STEP
            return state, state

        return jax.lax.scan(step, jnp.zeros(4, x.dtype), x)[1] * p["u"]

    fault = fault_of(reference, candidate)
    assert "# STEP" in fault.candidate[0].code, fault
    assert fault.cause is not None
    assert "adds where JAX has sub" in fault.cause.text, fault.cause


def test_a_loop_along_the_wrong_axis() -> None:
    """Each run computes what it should, but of a column: what the loop reads is at fault."""

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(4, dtype=x.dtype)
        for row in x @ p["w"]:
            h = torch.tanh(row + h * p["u"])
        return h

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        def step(h: jax.Array, row: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(row + h * p["u"]), None

        rows = jnp.swapaxes(x @ p["w"], 0, 1)  # EXCHANGED
        return jax.lax.scan(step, jnp.zeros(4, x.dtype), rows)[0]

    fault = fault_of(reference, candidate, numbers(4, 4, seed=3))
    assert any("# EXCHANGED" in place.code for place in fault.candidate), fault
    assert fault.cause is not None
    assert fault.cause.name is CauseKind.ORDER, fault.cause
