"""Convolutions that are padded by their reach on a line of their own: another dilation changes both."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import named_fault, numbers, report_of

PARAMS = {"w": numbers(4, 3, 2)}


def convolved_in_torch(low: float) -> Any:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        reach = 4
        padded = torch.nn.functional.pad(x, (int(low * reach), reach - int(low * reach)))
        return torch.tanh(torch.nn.functional.conv1d(padded, p["w"], dilation=4))

    return reference


def convolved(low: float) -> Any:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        reach = 2
        padded = jnp.pad(x, ((0, 0), (0, 0), (int(low * reach), reach - int(low * reach))))
        made = jax.lax.conv_general_dilated(padded, p["w"], (1,), "VALID", rhs_dilation=(2,))  # FAULT
        return jnp.tanh(made)

    return candidate


@pytest.mark.parametrize("low", [1.0, 0.5, 0.0])
def test_another_dilation_with_the_padding_that_belongs_to_it(low: float) -> None:
    cause = named_fault(report_of(convolved_in_torch(low), convolved(low), PARAMS, numbers(2, 3, 9)))
    assert cause.name is CauseKind.DILATION, cause
    assert "dilation is (2,) in JAX and (4,) is needed" in cause.text, cause
