"""Kernels, directions and layers in one array, also where there is one of them alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.report.results import Report, Verdict
from tests.kit.inputs import normal
from tests.kit.weights import randomise, shapes

HIDDEN = 4
WIDTH = 2 * HIDDEN


class Recurrent(nn.Module):
    """An LSTM of some layers and directions, and a head."""

    def __init__(self, layers: int, *, both: bool) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, HIDDEN, layers, bidirectional=both, batch_first=True)
        self.out = nn.Linear(HIDDEN * (1 + both), 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.rnn(x)[0])


def checked(module: nn.Module, candidate: Any, template: Any, x: np.ndarray) -> Report:
    weights = parity.Weights(template=shapes(template))
    settings = parity.Settings(finite_differences=False, localise=False)
    return parity.check(randomise(module), candidate, {"x": x}, weights=weights, settings=settings)


def run(kernel: jax.Array, bias: jax.Array, x: jax.Array, *, reverse: bool) -> jax.Array:
    """One direction of one layer, its gates i, f, g and o."""

    def step(carry: Any, x: jax.Array) -> Any:
        h, c = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h], -1) @ kernel + bias, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zero = jnp.zeros((len(x), HIDDEN), x.dtype)
    return jax.lax.scan(step, (zero, zero), x.swapaxes(0, 1), reverse=reverse)[1].swapaxes(0, 1)


def apply(p: Any, x: jax.Array) -> jax.Array:
    """Kernels of shape (layers, directions, inputs + hidden, 4 hidden)."""
    for kernels, biases in zip(p["kernel"], p["bias"], strict=True):
        both = zip(kernels, biases, strict=True)
        ways = [run(kernel, bias, x, reverse=i == 1) for i, (kernel, bias) in enumerate(both)]
        x = jnp.concatenate(ways, -1)
    return x @ p["out"]["kernel"] + p["out"]["bias"]


def wrong(p: Any, x: jax.Array) -> jax.Array:
    return apply(p, 1.1 * x)


@pytest.mark.parametrize(("candidate", "verdict"), [(apply, Verdict.PASS), (wrong, Verdict.FAIL)])
@pytest.mark.parametrize(("layers", "directions"), [(1, 2), (2, 2), (3, 2), (1, 1)])
def test_kernels_directions_and_layers_in_one_array(
    layers: int, directions: int, candidate: Any, verdict: Verdict
) -> None:
    template = {
        "kernel": jnp.zeros((layers, directions, WIDTH + HIDDEN, 4 * HIDDEN)),
        "bias": jnp.zeros((layers, directions, 4 * HIDDEN)),
        "out": {"kernel": jnp.zeros((HIDDEN * directions, 3)), "bias": jnp.zeros(3)},
    }
    report = checked(Recurrent(layers, both=directions == 2), candidate, template, normal(2, 5, WIDTH))
    assert report.verdict is verdict, str(report)
