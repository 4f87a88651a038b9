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
CHANGES, DRAWN = "It changes something when it runs", "random numbers of Python or NumPy"


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
        (lambda model: 1 + 0.05 * random.random(), DRAWN),
        (lambda model: 1 + 0.05 * np.random.rand(), DRAWN),  # noqa: NPY002
        (lambda model: 1 + 0.05 * np.random.default_rng().random(), DRAWN),
        (lambda model: 1 + 0.05 * DRAWS.random(), CHANGES),
        (counting, CHANGES),
    ],
    ids=["python", "numpy", "fresh", "global", "counter"],
)
def test_runs_of_a_reference_that_differ(factor: Callable[[Any], float], reason: str) -> None:
    with pytest.raises(ValueError, match="two runs of the same PyTorch model differ in `output`") as caught:
        check(Around(factor))
    assert reason in str(caught.value)


def test_random_numbers_of_pytorch_repeat_themselves() -> None:
    report = check(Around(lambda model: 1 + 0.05 * torch.rand(()).item()))
    assert report.verdict is parity.Verdict.FAIL
    assert any("PyTorch draws uniform numbers of shape ()" in text for text in report.findings)


def test_numbers_of_pytorch_do_not_excuse_those_of_python() -> None:
    with pytest.raises(ValueError, match="two runs of the same PyTorch model differ in `output`") as caught:
        check(Around(lambda model: random.random() + torch.rand(()).item()))
    assert DRAWN in str(caught.value)


def test_a_cache_that_changes_nothing_is_no_reason() -> None:
    model = Around(remembered)
    assert check(model).verdict is parity.Verdict.PASS
    assert model.cache is None


class Counting:
    """A JAX function with a counter."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, params: Any, x: jax.Array) -> jax.Array:
        self.calls += 1
        return port(params, x) * (1 + 0.01 * self.calls)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (
            lambda params, x: port(params, x) * (1 + 0.05 * random.random()),
            DRAWN,
        ),
        (lambda params, x: port(params, x) + np.random.rand(4, 2), DRAWN),  # noqa: NPY002
        (
            lambda params, x: port(params, x) * (1 + 0.05 * DRAWS.random()),
            CHANGES,
        ),
        (Counting(), CHANGES),
    ],
    ids=["python", "numpy", "global", "counter"],
)
def test_runs_of_a_candidate_that_differ(candidate: Callable[..., jax.Array], reason: str) -> None:
    with pytest.raises(ValueError, match="two runs of the same JAX model differ in `output`") as caught:
        check(Around(lambda model: 1.0), candidate)
    assert reason in str(caught.value)
    assert not isinstance(candidate, Counting) or candidate.calls == 0


def test_a_jax_model_that_only_counts_is_judged() -> None:
    seen: list[Any] = []

    def logged(params: Any, x: jax.Array) -> jax.Array:
        seen.append(x.shape)
        return port(params, x)

    assert check(Around(lambda model: 1.0), logged).verdict is parity.Verdict.PASS
    assert seen == []


def test_keys_of_jax_repeat_themselves() -> None:
    def drawn(params: Any, x: jax.Array) -> jax.Array:
        return port(params, x) * (1 + 0 * jax.random.normal(jax.random.key(0), (4, 2)))

    assert check(Around(lambda model: 1.0), drawn).verdict is parity.Verdict.PASS
