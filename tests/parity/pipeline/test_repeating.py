"""A model whose runs differ is an error before anything is judged; one that only counts is judged."""

import random
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity

X = {"x": np.random.default_rng(4).normal(size=(4, 3)).astype(np.float32)}
DRAWS = np.random.default_rng(1)


class Around(nn.Module):
    """A layer, and a factor that some function of the module gives."""

    def __init__(self, factor: Callable[[Any], float]) -> None:
        super().__init__()
        self.layer, self.factor = nn.Linear(3, 2), factor
        self.calls, self.cache = 0, None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.factor(self)


def port(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["w"] + params["b"]


def check(model: nn.Module, candidate: Callable[..., jax.Array] = port) -> parity.Report:
    template = {"w": jnp.zeros((3, 2)), "b": jnp.zeros(2)}
    return parity.check(model.eval(), candidate, X, weights=parity.Weights(template=template))


def counting(model: Any) -> float:
    model.calls += 1
    return 1 + 0.01 * model.calls


def remembered(model: Any) -> float:
    if model.cache is None:
        model.cache = 1.0
    return float(model.cache)


@pytest.mark.parametrize(
    ("factor", "reason"),
    [
        (lambda model: 1 + 0.05 * random.random(), "random numbers of Python or NumPy"),
        (lambda model: 1 + 0.05 * np.random.rand(), "random numbers of Python or NumPy"),  # noqa: NPY002
        (lambda model: 1 + 0.05 * np.random.default_rng().random(), "random numbers of Python or NumPy"),
        (lambda model: 1 + 0.05 * DRAWS.random(), "It changes something when it runs"),
        (lambda model: 1 + 0.05 * torch.rand(()).item(), "draws random numbers: rand"),
        (counting, "It changes something when it runs"),
    ],
    ids=["python", "numpy", "fresh", "global", "torch", "counter"],
)
def test_runs_of_a_reference_that_differ(factor: Callable[[Any], float], reason: str) -> None:
    with pytest.raises(ValueError, match="two runs of the same PyTorch model differ in `output`") as caught:
        check(Around(factor))
    assert reason in str(caught.value)


def test_a_cache_that_changes_nothing_is_no_reason() -> None:
    model = Around(remembered)
    assert check(model).verdict is parity.Verdict.PASS
    assert model.cache is None
