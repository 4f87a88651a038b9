"""Batch normalisation in another mode on the other side."""

from typing import Any

import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from tests.parity.diagnose.diagnosed import numbers


class Torch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm = nn.Linear(4, 5), nn.BatchNorm1d(5)
        self.outer, self.last = nn.Linear(5, 6), nn.BatchNorm1d(6)

    def forward(self, x: Any) -> Any:
        return self.last(self.outer(self.norm(self.inner(x)).tanh()))


class Flax(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.inner, self.norm = nnx.Linear(4, 5, rngs=rngs), nnx.BatchNorm(5, epsilon=1e-5, rngs=rngs)
        self.outer, self.last = nnx.Linear(5, 6, rngs=rngs), nnx.BatchNorm(6, epsilon=1e-5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(self.outer(jnp.tanh(self.norm(self.inner(x)))))


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (
            (True, False),
            ["PyTorch's batch normalisation uses the statistics of the batch", "JAX's the run"],
        ),
        ((False, True), ["PyTorch's batch normalisation uses its running statistics", "JAX's those of the"]),
    ],
    ids=["reference-trains", "candidate-trains"],
)
def test_the_mode_is_named(train: tuple[bool, bool], words: list[str]) -> None:
    torch.manual_seed(0)
    reference, candidate = Torch().train(train[0]), Flax()
    (candidate.train if train[1] else candidate.eval)()
    report = parity.check(
        reference, candidate, [numbers(9, 4)], settings=parity.Settings(dtypes=("float64",))
    )
    cause = report.divergences[0].cause
    assert cause is not None, str(report)
    assert cause.name == "statistics", cause
    assert all(word in cause.text for word in words), cause.text
