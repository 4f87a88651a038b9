"""Triangular systems: another setting than the reference's is named."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

FACTOR = {"w": numbers(5, 5), "y": numbers(5, 2)}


def solved_in_torch(p: Any, x: torch.Tensor) -> torch.Tensor:
    """A system of the lower triangle of a matrix, and one of its transpose."""
    matrix = p["w"] + 3 * torch.eye(5, dtype=x.dtype)
    first = torch.linalg.solve_triangular(matrix.tril(), p["y"] * x, upper=False)
    return torch.linalg.solve_triangular(matrix.tril().T, first, upper=True)


def solved(**settings: Any) -> Callable[..., jax.Array]:
    """The same with a fault in the second system."""

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        matrix = p["w"] + 3 * jnp.eye(5, dtype=x.dtype)
        first = jax.scipy.linalg.solve_triangular(matrix, p["y"] * x, lower=True)
        right = {"trans": 1, "lower": True} | settings
        return jax.scipy.linalg.solve_triangular(matrix, first, **right)  # FAULT

    return candidate


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trans": 0}, "solves with the factor transposed"),
        ({"lower": False}, "solves with the lower triangle"),
        ({"unit_diagonal": True}, "solves with the factor's own diagonal"),
    ],
)
def test_another_setting_of_a_triangular_system_is_named(settings: dict[str, Any], said: str) -> None:
    cause = named_fault(report_of(solved_in_torch, solved(**settings), FACTOR, numbers(5, 2, seed=2)))
    assert said in cause.text, cause
