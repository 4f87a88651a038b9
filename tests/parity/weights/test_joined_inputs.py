"""A layer of two inputs that one side joins: its kernel is two leaves, one for each input."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity


class Cell(nn.Module):
    """Steps of a cell whose one matrix meets its input and its state, joined."""

    def __init__(self, width: int, hidden: int, state_first: bool) -> None:
        super().__init__()
        self.hidden, self.state_first = hidden, state_first
        self.gates = nn.Linear(width + hidden, 2 * hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[0], self.hidden, dtype=x.dtype)
        for step in x.unbind(1):
            joined = (state, step) if self.state_first else (step, state)
            gate, new = self.gates(torch.cat(joined, 1)).chunk(2, 1)
            state = torch.sigmoid(gate) * state + torch.tanh(new)
        return state


def cell(p: Any, x: jax.Array) -> jax.Array:
    """The same with a matrix for each, in a scan."""

    def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
        gate, new = jnp.split(x @ p["kernel_x"] + state @ p["kernel_h"] + p["bias"], 2, axis=1)
        return jax.nn.sigmoid(gate) * state + jnp.tanh(new), None

    start = jnp.zeros((x.shape[0], p["kernel_h"].shape[0]), x.dtype)
    return jax.lax.scan(step, start, x.swapaxes(0, 1))[0]


@pytest.mark.parametrize("state_first", [False, True])
@pytest.mark.parametrize(("width", "hidden"), [(3, 5), (4, 4)])
def test_a_matrix_of_two_inputs_is_two_kernels(width: int, hidden: int, state_first: bool) -> None:
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((2, 6, width)).astype("float32")
    shapes = {"kernel_x": (width, 2 * hidden), "kernel_h": (hidden, 2 * hidden), "bias": (2 * hidden,)}
    weights = parity.Weights(template={name: np.zeros(s, "float32") for name, s in shapes.items()})
    report = parity.check(Cell(width, hidden, state_first), cell, {"x": x}, weights=weights)
    assert report.verdict is parity.Verdict.PASS, report
