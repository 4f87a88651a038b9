"""Long convolutions by Fourier transforms: shorter ones than the reference's wrap around."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import cause_of, named_fault, numbers, report_of

PARAMS = {"h": numbers(8, 3), "gain": numbers(3, seed=1)}
X = numbers(2, 8, 3)


def convolved_in_torch(size: int, *, real: bool) -> Any:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        there, back = (torch.fft.rfft, torch.fft.irfft) if real else (torch.fft.fft, torch.fft.ifft)
        product = there(x, n=size, dim=1) * there(p["h"], n=size, dim=0)
        made = back(product, n=size, dim=1)[:, :8]
        return p["gain"] * torch.tanh(made if real else made.real)

    return reference


def convolved(size: int, *, real: bool) -> Any:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        there, back = (jnp.fft.rfft, jnp.fft.irfft) if real else (jnp.fft.fft, jnp.fft.ifft)
        first = there(x, n=size, axis=1)  # FAULT
        made = back(first * there(p["h"], n=size, axis=0), n=size, axis=1)[:, :8]
        return p["gain"] * jnp.tanh(made if real else made.real)

    return candidate


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize(("there", "here"), [(16, 8), (8, 16), (16, 12)])
def test_another_length_of_the_transforms(there: int, here: int, real: bool) -> None:
    pair = convolved_in_torch(there, real=real), convolved(here, real=real)
    cause = named_fault(report_of(*pair, PARAMS, X))
    assert cause.name is CauseKind.PADDING, cause
    assert f"have length {here} in JAX and {there} in PyTorch" in cause.text, cause


def test_another_fault_beside_transforms_is_not_their_length() -> None:
    def scaled(p: Any, x: jax.Array) -> jax.Array:
        return convolved(16, real=True)({**p, "h": 2 * p["h"]}, x)

    cause = cause_of(convolved_in_torch(16, real=True), scaled, PARAMS, np.abs(X))
    assert cause is not None
    assert cause.name is CauseKind.CONSTANT, cause
