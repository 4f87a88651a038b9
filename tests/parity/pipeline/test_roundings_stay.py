"""A value that the author casts below float32 and up again is rounded, on both sides and in every run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity

X = {"x": np.random.default_rng(5).standard_normal((6, 4)).astype(np.float32)}
TEMPLATE = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(3), "scale": jnp.zeros(3)}


class Scaled(nn.Module):
    """A layer whose scale may be rounded on the way."""

    def __init__(self, rounded: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.rand(3))
        self.rounded = rounded

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.rounded(self.scale)


def port(rounds: bool) -> Callable[..., jax.Array]:
    def forward(p: Any, x: jax.Array) -> jax.Array:
        scale = p["scale"]
        if rounds:
            scale = scale.astype(jnp.bfloat16).astype(jnp.float32)
        return (x @ p["w"] + p["b"]) * scale  # the use

    return forward


WAYS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "method": lambda scale: scale.bfloat16().float(),
    "to": lambda scale: scale.to(torch.bfloat16).to(torch.float32),
    "keyword": lambda scale: scale.to(dtype=torch.bfloat16).to(dtype=torch.float32),
    "type": lambda scale: scale.type(torch.bfloat16).float(),
    "like": lambda scale: scale.to(torch.zeros((), dtype=torch.bfloat16).dtype).float(),
}


def check(reference: nn.Module, candidate: Callable[..., jax.Array]) -> parity.Report:
    return parity.check(reference, candidate, X, weights=parity.Weights(template=TEMPLATE))


@pytest.mark.parametrize("way", ["method", "to", "keyword", "type"])
def test_a_port_that_rounds_alike_passes(way: str) -> None:
    torch.manual_seed(0)
    report = check(Scaled(WAYS[way]), port(rounds=True))
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert report.dtypes == ("float64", "float32")


@pytest.mark.parametrize("way", ["method", "keyword"])
def test_a_port_that_lacks_the_rounding_fails(way: str) -> None:
    torch.manual_seed(0)
    report = check(Scaled(WAYS[way]), port(rounds=False))
    assert report.verdict is parity.Verdict.FAIL
    assert "# the use" in report.divergences[0].candidate[0].code


def test_a_port_that_adds_one_fails() -> None:
    torch.manual_seed(0)
    report = check(Scaled(lambda scale: scale), port(rounds=True))
    assert report.verdict is parity.Verdict.FAIL


def test_both_in_float16_against_bfloat16_fail() -> None:
    torch.manual_seed(0)
    assert check(Scaled(lambda scale: scale.half().float()), port(rounds=True)).verdict is parity.Verdict.FAIL


def test_models_that_compute_in_bfloat16_are_judged_in_it() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.scale = nn.Linear(4, 3), nn.Parameter(torch.rand(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = nn.functional.linear(x.bfloat16(), self.layer.weight.bfloat16(), self.layer.bias.bfloat16())
            return (h * self.scale.bfloat16()).float()

    def narrow(p: Any, x: jax.Array) -> jax.Array:
        p = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), p)
        return ((x.astype(jnp.bfloat16) @ p["w"] + p["b"]) * p["scale"]).astype(jnp.float32)

    torch.manual_seed(0)
    report = check(Narrow(), narrow)
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert report.dtypes == ("float64", "bfloat16")
