"""What every layer adds to one sum, wrong in each: the place is the layer's line, not the sum at the end."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from tests.parity.diagnose.diagnosed import numbers

LAYERS, WIDTH = 3, 4


class Layers(torch.nn.Module):
    """Layers of one width."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))


class Flow(Layers):
    """Layers that each move some entries and add what that costs to a total."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.new_zeros(len(x))
        for number, layer in enumerate(self.layers):
            kept = (torch.arange(WIDTH) % 2 == number % 2).to(x.dtype)
            scale = torch.tanh(layer(x * kept))
            x = x * torch.exp((1 - kept) * scale)
            total = total + ((1 - kept) * scale).sum(1)
        return total - (x**2).sum(1)


def flow(p: Any, x: jax.Array, *, masked: bool) -> jax.Array:
    total = jnp.zeros(len(x))
    for number in range(LAYERS):
        kept = (np.arange(WIDTH) % 2 == number % 2).astype(np.float32)
        scale = jnp.tanh((x * kept) @ p[f"layers_{number}"]["kernel"] + p[f"layers_{number}"]["bias"])
        x = x * jnp.exp((1 - kept) * scale)
        cost = (1 - kept) * scale if masked else scale
        total = total + cost.sum(1)  # the cost
    return total - (x**2).sum(1)


@pytest.mark.parametrize("masked", [True, False])
def test_the_layer_is_the_place(masked: bool) -> None:
    layer = {"kernel": np.zeros((WIDTH, WIDTH), np.float32), "bias": np.zeros(WIDTH, np.float32)}
    report = parity.check(
        Flow(),
        lambda p, x: flow(p, x, masked=masked),
        (numbers(5, WIDTH),),
        weights=parity.Weights(template={f"layers_{number}": layer for number in range(LAYERS)}),
        settings=parity.Settings(dtypes=["float64"]),
    )
    if masked:
        assert report.verdict is parity.Verdict.PASS, str(report)
        return
    first = report.divergences[0]
    assert "# the cost" in first.candidate[0].code, str(report)
    assert "scale).sum(1)" in first.reference[0].code
    assert first.cause is not None
    assert "JAX reads the tanh" in first.cause.text


class Shifted(torch.nn.Module):
    """Two layers with a shifted function between them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers_0, self.layers_1 = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.layers_1(torch.nn.functional.softplus(self.layers_0(x)) - 0.5))


def dense(p: Any, x: jax.Array) -> jax.Array:
    return x @ p["kernel"] + p["bias"]


def test_of_a_helper_that_reads_what_lacks_an_operation_the_call_is_told() -> None:
    def port(p: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.softplus(dense(p["layers_0"], x))
        return jnp.sin(dense(p["layers_1"], h))  # the call

    layer = {"kernel": np.zeros((WIDTH, WIDTH), np.float32), "bias": np.zeros(WIDTH, np.float32)}
    report = parity.check(
        Shifted(),
        port,
        (numbers(5, WIDTH),),
        weights=parity.Weights(template={"layers_0": layer, "layers_1": layer}),
        settings=parity.Settings(dtypes=["float64"]),
    )
    (divergence,) = report.divergences
    assert "x @ p" in divergence.candidate[0].code, str(report)
    assert divergence.candidate[1].operation == "called from"
    assert "# the call" in divergence.candidate[1].code


class Stacked(Layers):
    """Layers in a loop, each of which keeps what it gets."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = torch.tanh(layer(1.5 * x) + x)
        return x


def test_a_fault_of_a_loop_is_told_once_though_what_it_reads_has_other_names() -> None:
    def port(p: Any, x: jax.Array) -> jax.Array:
        for number in range(LAYERS):
            x = jnp.tanh(dense(p[f"layers_{number}"], 1.5 * x))  # nothing kept
        return x

    layer = {"kernel": np.zeros((WIDTH, WIDTH), np.float32), "bias": np.zeros(WIDTH, np.float32)}
    report = parity.check(
        Stacked(),
        port,
        (numbers(5, WIDTH),),
        weights=parity.Weights(template={f"layers_{number}": layer for number in range(LAYERS)}),
        settings=parity.Settings(dtypes=["float64"]),
    )
    text = str(report)
    assert "first divergence" in text
    assert "divergence 2 of" not in text, text
    assert "of the run before to the dot_general of line" in " ".join(text.split())
