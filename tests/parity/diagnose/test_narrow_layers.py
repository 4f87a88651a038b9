"""A layer that casts its inputs and its weights to a narrow dtype is one fault, with that cause."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch import nn

import parity
from parity.report.kinds import CauseKind
from tests.parity.diagnose.diagnosed import numbers


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.nn.functional.silu(self.a(x)))


class Port(linen.Module):
    narrow: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = linen.Dense(8, name="a", dtype=self.narrow)(x)  # narrow
        return linen.Dense(3, name="b", dtype=jnp.float32)(linen.silu(h))


@pytest.mark.parametrize("narrow", ["float32", "bfloat16", "float16"])
def test_a_layer_in_a_narrow_dtype(narrow: str) -> None:
    port = Port(narrow)
    template = port.init(jax.random.key(0), np.zeros((1, 6), np.float32))
    report = parity.check(Network(), port, (numbers(4, 6),), weights=parity.Weights(template=template))
    if narrow == "float32":
        assert report.verdict is parity.Verdict.PASS, str(report)
        return
    first = report.divergences[0]
    assert "# narrow" in first.candidate[0].code, str(report)
    assert first.cause is not None, str(report)
    assert first.cause.name is CauseKind.DTYPE
    assert f"in {narrow}" in first.cause.text
