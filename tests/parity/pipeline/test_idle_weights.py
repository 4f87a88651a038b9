"""Weights whose gradient is zero on both sides: a pass says little of them, and says so."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

import parity
from parity.report.results import Verdict

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
TEMPLATE = {"first": np.zeros((4, 3)), "second": np.zeros((4, 3))}


class Smaller(torch.nn.Module):
    """The smaller of two products, of which the second is always the larger."""

    def __init__(self) -> None:
        super().__init__()
        first = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        self.first, self.second = torch.nn.Parameter(first), torch.nn.Parameter(first + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.minimum(x @ self.first, x @ self.second + 100)


def port(params: Any, x: jax.Array) -> jax.Array:
    return jnp.minimum(x @ params["first"], x @ params["second"] + 100)


def test_a_pass_names_the_weights_that_did_nothing() -> None:
    weights = parity.Weights(template=TEMPLATE, pins={"first": "first", "second": "second"})
    report = parity.check(Smaller(), port, {"x": X}, weights=weights)
    assert report.verdict is Verdict.PASS, str(report)
    (line,) = [line for line in report.not_checked if line.startswith("weight ")]
    assert line.startswith("weight second: its gradient is zero on both sides")
