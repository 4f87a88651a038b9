"""A float32 constant is taken for what the other side says, or for what makes the outputs agree."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.trace.computed_constants import Computed, settled_by

X = {"x": np.random.default_rng(2).standard_normal((4, 6))}


class Scaled(nn.Module):
    """A norm of numbers that are scaled by two factors; a port may hold their product."""

    def __init__(self, factors: tuple[float, ...]) -> None:
        super().__init__()
        self.norm, self.factors = nn.LayerNorm(6), factors

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for factor in self.factors:
            x = x * factor
        return torch.sin(300 * x) + self.norm(x)


def port(number: float, eps: float = 1e-5) -> Callable[..., jax.Array]:
    def forward(p: Any, x: jax.Array) -> jax.Array:
        x = x * jnp.float32(number)
        h = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + eps)  # the eps
        return jnp.sin(300 * x) + h * p["scale"] + p["bias"]

    return forward


def check(candidate: Callable[..., jax.Array], factors: tuple[float, ...] = (1.1, 1.3)) -> parity.Report:
    template = {"scale": jnp.zeros(6), "bias": jnp.zeros(6)}
    weights = parity.Weights(template=template)
    return parity.check(Scaled(tuple(map(math.exp, factors))), candidate, X, weights=weights)


def test_a_product_that_one_side_holds_is_solved_for() -> None:
    report = check(port(math.exp(2.4)))
    assert report.verdict is parity.Verdict.PASS, str(report)
    (note,) = [finding for finding in report.findings if "is taken for" in finding]
    assert f"{math.exp(2.4):.12g}" in note
    assert max(q.rho for q in report.select("forward", "float64")) < 1


def test_a_fault_beside_such_a_constant_is_found() -> None:
    report = check(port(math.exp(2.4), eps=1e-6))
    assert report.verdict is parity.Verdict.FAIL


def test_a_constant_the_other_side_holds_needs_no_solution() -> None:
    report = check(port(math.exp(2.4)), factors=(2.4,))
    assert report.verdict is parity.Verdict.PASS
    assert not [finding for finding in report.findings if "is taken for" in finding]
    report = check(port(math.exp(2.4), eps=1e-6), factors=(2.4,))
    assert report.verdict is parity.Verdict.FAIL
    assert "# the eps" in report.divergences[0].candidate[0].code


def test_what_a_share_lacks_to_one_needs_no_solution() -> None:
    share = math.exp(-1.7)

    class Averaged(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(300 * torch.lerp(torch.tanh(x), x, share))

    def port(p: Any, x: jax.Array) -> jax.Array:
        return jnp.sin(300 * (share * x + (1 - share) * jnp.tanh(x)))

    report = parity.check(Averaged(), port, X, weights=parity.Weights(template={}))
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert "is taken for" not in str(report.findings)
    assert max(q.rho for q in report.select("forward", "float64")) < 1


@pytest.mark.parametrize("ulps", [40, -1000])
def test_another_constant_is_a_fault(ulps: int) -> None:
    assert check(port(math.exp(2.4) * (1 + ulps * 2.0**-23))).verdict is parity.Verdict.FAIL


def test_what_the_other_side_says() -> None:
    exact = 1 / 10000 ** (np.arange(8) / 8)
    narrow = exact.astype(np.float32)
    others = [Computed(exact + 1, (exact + 1).astype(np.float32)), Computed(exact.reshape(2, 4), narrow)]
    found = settled_by(narrow * np.float32(1 + 2.0**-22), others)
    assert found is not None
    assert found.known
    assert np.array_equal(found.value, exact)
    assert settled_by(narrow * np.float32(1 + 2.0**-12), others) is None
    single = settled_by(narrow[3], others)
    assert single is not None
    assert single.value == exact[3]


class Windowed(nn.Module):
    """Frames under a window that PyTorch worked out in float32."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.register_buffer("window", torch.hann_window(6), persistent=False)
        self.out = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.sin(x * self.window.to(x.dtype)))


@pytest.mark.parametrize(("wrong", "verdict"), [(0.0, "pass"), (1e-3, "fail")])
def test_a_table_that_each_side_worked_out_for_itself_is_one(wrong: float, verdict: str) -> None:
    table = np.hanning(7)[:-1] + wrong

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return jnp.sin(x * table) @ p["kernel"] + p["bias"]

    assert not np.array_equal(np.float32(np.hanning(7)[:-1]), torch.hann_window(6).numpy())
    template = {"kernel": jnp.zeros((6, 3)), "bias": jnp.zeros(3)}
    report = parity.check(Windowed(), candidate, X, weights=parity.Weights(template=template))
    assert str(report.verdict) == verdict, str(report)


class Binned(nn.Module):
    """Soft counts in bins at even distances, by position; the bins' middles are a buffer in float32."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("middles", torch.linspace(-2, 2, bins), persistent=False)
        self.out = nn.Linear(6, bins)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        count = len(self.middles)
        position = (x.clamp(-2, 2) + 2) / (4 / (count - 1))
        shares = (1 - (position[..., None] - torch.arange(count, dtype=x.dtype)).abs()).clamp(min=0)
        return (self.out(x).softmax(-1) * self.middles.to(x.dtype) * shares.mean(1)).sum(-1)


@pytest.mark.parametrize("bins", [11, 70])
@pytest.mark.parametrize(("wider", "verdict"), [(0.0, "pass"), (1e-3, "fail")])
def test_a_table_at_even_distances_meets_a_formula(bins: int, wider: float, verdict: str) -> None:
    """The port finds the shares from the table, in float32 on both sides; the other from the ends."""
    table = np.linspace(-2, 2 + wider, bins)

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        middles = jnp.asarray(table, x.dtype)
        off = jnp.abs(jnp.clip(x, -2, 2)[..., None] - middles) / (4 / (bins - 1))
        shares = jnp.clip(1 - off, 0, 1).mean(1)
        return (jax.nn.softmax(x @ p["kernel"] + p["bias"]) * middles * shares).sum(-1)

    template = {"kernel": jnp.zeros((6, bins)), "bias": jnp.zeros(bins)}
    report = parity.check(Binned(bins), candidate, X, weights=parity.Weights(template=template))
    assert str(report.verdict) == verdict, report
