"""Integers are judged as they are, and numbers too small for float32 are said to be."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import parity

PIXELS = np.arange(0, 252, 21, dtype=np.uint8).reshape(3, 4)


def check(reference: Callable[..., Any], candidate: Callable[..., Any], inputs: Any) -> parity.Report:
    weights = parity.Weights(template={"w": jnp.zeros(4)}, reference_params={"w": torch.ones(4)})
    return parity.check(reference, candidate, inputs, weights=weights)


def brightened(params: Any, x: torch.Tensor) -> torch.Tensor:
    return (x + 100) / 255 * params["w"]  # wraps in uint8


def test_bytes_that_wrap_on_both_sides_pass() -> None:
    def port(params: Any, x: jax.Array) -> jax.Array:
        return (x + jnp.uint8(100)) / 255 * params["w"]

    assert check(brightened, port, {"x": PIXELS}).verdict is parity.Verdict.PASS


def test_bytes_that_wrap_on_one_side_fail() -> None:
    def port(params: Any, x: jax.Array) -> jax.Array:
        return (x.astype(jnp.float32) + 100) / 255 * params["w"]  # the fault: bytes do not wrap here

    report = check(brightened, port, {"x": PIXELS})
    assert report.verdict is parity.Verdict.FAIL
    assert "# the fault" in report.divergences[0].candidate[0].code


def test_the_bits_in_which_integers_are_the_same_are_said() -> None:
    def hashed(params: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x * 2654435761, params["w"] * 2

    def port(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return x * jnp.asarray(2654435761 - 2**32), params["w"] * 2

    report = check(hashed, port, {"x": np.arange(5)})
    assert report.verdict is parity.Verdict.FAIL
    notes = [note for q in report.failures() for note in q.notes]
    assert any("modulo 2^32" in note for note in notes)


def test_integers_beyond_int32_are_said() -> None:
    def scaled(params: Any, x: torch.Tensor) -> torch.Tensor:
        return x.double().mean() * params["w"]

    def port(params: Any, x: jax.Array) -> jax.Array:
        return x.astype(float).mean() * params["w"]

    report = check(scaled, port, {"x": np.array([2**40, 5])})
    assert report.verdict is parity.Verdict.FAIL
    assert any(finding.startswith("x: integers beyond int32") for finding in report.findings)


def test_denormal_weights_are_no_fault_and_are_said() -> None:
    def tiny(params: Any, x: torch.Tensor) -> torch.Tensor:
        return x * params["w"]

    weights = parity.Weights(template={"w": jnp.zeros(4)}, reference_params={"w": torch.full((4,), 1e-42)})
    x = np.random.default_rng(0).standard_normal((3, 4))
    report = parity.check(tiny, lambda params, x: x * params["w"], {"x": x}, weights=weights)
    assert report.verdict is parity.Verdict.PASS, str(report)
    notes = [note for q in report.select("forward", "float32") for note in q.notes]
    assert any(note.startswith("denormal in float32") for note in notes)
