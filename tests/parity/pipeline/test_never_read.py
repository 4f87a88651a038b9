"""Weights that one side never reads are named: one module called twice, where two belong."""

from typing import Any

import jax
import jax.numpy as jnp
import torch

from tests.parity.diagnose.diagnosed import numbers, report_of

WEIGHTS = {"first": numbers(4, 4), "second": numbers(4, 4, seed=1)}


def two_layers(p: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(torch.tanh(x @ p["first"]) @ p["second"])


def test_a_weight_that_the_candidate_never_reads_is_named() -> None:
    def one_layer_twice(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(jnp.tanh(x @ p["first"]) @ p["first"])

    report = report_of(two_layers, one_layer_twice, WEIGHTS, numbers(5, 4, seed=2))
    said = [finding for finding in report.findings if "never reads" in finding]
    assert said == ["JAX never reads second: does another weight stand in its place?"], report.findings


def test_nothing_is_said_where_both_are_read() -> None:
    def another_activation(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(jnp.sin(x @ p["first"]) @ p["second"])

    report = report_of(two_layers, another_activation, WEIGHTS, numbers(5, 4, seed=2))
    assert not any("never reads" in finding for finding in report.findings), report.findings
