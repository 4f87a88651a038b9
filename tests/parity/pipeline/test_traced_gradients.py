"""Gradients of leaves that pack several tensors, or parts of one, are searched for places like all others."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

import parity
from parity.pipeline.arguments import sorted_arguments
from parity.pipeline.traced_gradients import under_tensor_names
from parity.report.kinds import CauseKind
from parity.trace.graph import Node, NodeKind, Trace
from parity.weights import Plan, Transfer
from tests.parity.diagnose.diagnosed import numbers


def test_gradients_of_leaves_come_under_the_names_of_tensors() -> None:
    stacked, one, other = np.arange(4.0).reshape(2, 2), np.arange(2.0), np.arange(2.0) + 5
    nodes = [Node("g", NodeKind.OPERATION, (), value, backward=True) for value in (stacked, one, other)]
    trace = Trace(nodes, {"gradients": {"stack": 0, "one": 1, "other": 2}}, {}, {})
    layers = [Transfer(f"layer.{i}", "stack", (2,), (2, 2), put=(i,)) for i in (0, 1)]
    parts = [
        Transfer("packed", name, (4,), (2,), take=(slice(2 * i, 2 * i + 2),))
        for i, name in enumerate(("one", "other"))
    ]
    moves = under_tensor_names(trace, Plan((*layers, *parts)), [1.0, 2.0, 3.0])
    gradients = {name: trace.nodes[i].array for name, i in trace.outputs["gradients"].items()}
    np.testing.assert_array_equal(gradients["layer.1"], [2, 3])
    np.testing.assert_array_equal(gradients["packed"], [0, 1, 5, 6])
    assert moves == [1.0, 2.0, 3.0, 1.0, 1.0, 3.0]


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4, bias=False) for _ in range(3))
        for number, layer in enumerate(self.layers):
            layer.weight.data = torch.tensor(numbers(4, 4, seed=number))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def stopped(params: Any, x: jax.Array) -> jax.Array:
    def layer(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, None]:
        inner = jax.lax.stop_gradient(x @ kernel)  # STOP
        return x + jnp.tanh(inner), None

    return jax.lax.scan(layer, x, params["layers"])[0]


def test_a_gradient_that_is_stopped_in_stacked_layers_is_placed_and_named() -> None:
    options = {
        "template": {"layers": jax.ShapeDtypeStruct((3, 4, 4), jnp.float32)},
        "dtypes": ("float64",),
        "finite_differences": False,
        "moved_weights": False,
    }
    report = parity.check(Layers(), stopped, (numbers(5, 4),), **sorted_arguments(options))
    assert report.divergences, str(report)
    fault = report.divergences[0]
    assert "STOP" in fault.candidate[0].code
    assert fault.cause is not None
    assert fault.cause.name is CauseKind.GRADIENT_RULE
