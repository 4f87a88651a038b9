"""Weights and state of several steps: narrow, mixed the wrong way round, reversed, frozen when traced."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.report.kinds import CauseKind, Stage
from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes, weights

F = nn.functional


@fault(
    "M08",
    "a coefficient that is annealed in Python, frozen when the step was traced",
    cause=CauseKind.CONSTANT,
    also=(CauseKind.SCALE, CauseKind.STALE_WEIGHTS),
    convert=by_table({"kernel": ("mix.weight", (1, 0)), "bias": "mix.bias"}),
)
def frozen_when_traced(faulty: bool) -> Pair:
    class Annealed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for step in range(3):
                x = x + 0.5**step * torch.tanh(self.mix(x))
            return x

    class Schedule:
        """Python state that a traced function must not read."""

        def __init__(self) -> None:
            self.step = 0

        def coefficient(self) -> float:
            return float(0.5**self.step)

    schedule = Schedule()

    @jax.jit
    def advance(params: dict[str, jax.Array], x: jax.Array, coefficient: Any) -> jax.Array:
        h = jnp.tanh(x @ params["kernel"] + params["bias"])
        if faulty:
            coefficient = schedule.coefficient()
        return x + coefficient * h  # FAULT: M08

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        for step in range(3):
            schedule.step = step
            x = advance(params, x, schedule.coefficient())  # FAULT: M08
        return x

    return Pair(
        reference=randomise(Annealed()),
        candidate=apply,
        template=shapes({"kernel": (6, 6), "bias": (6,)}),
        inputs={"x": normal(3, 6)},
    )


@fault(
    "M10",
    "params converted to bfloat16, where PyTorch keeps float32",
    cause=CauseKind.DTYPE,
    stage=Stage.WEIGHTS,
    module="up",
    tensors=("up.weight", "up.bias", "down.weight", "down.bias"),
)
def narrow_params(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(5, 12), nn.Linear(12, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down(F.relu(self.up(x)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.relu(x @ params["up"]["kernel"] + params["up"]["bias"])
        return h @ params["down"]["kernel"] + params["down"]["bias"]

    model = randomise(Network())
    w = weights(model)
    dtype = jnp.bfloat16 if faulty else jnp.float32
    params = {
        layer: {"kernel": w[f"{layer}.weight"].T.astype(dtype), "bias": w[f"{layer}.bias"].astype(dtype)}
        for layer in ("up", "down")
    }
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(4, 5)})


@fault(
    "M13",
    "target network: tau and 1 - tau exchanged",
    cause=CauseKind.OPERANDS,
    also=(CauseKind.CONSTANT, CauseKind.SCALE),
    convert=by_table(
        {
            f"{network}/{ours}": (f"{network}.{theirs}", axes)
            for network in ("online", "target")
            for ours, theirs, axes in (("kernel", "weight", (1, 0)), ("bias", "bias", (0,)))
        }
    ),
)
def target_network(faulty: bool) -> Pair:
    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online, self.target = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            kernel = torch.lerp(self.target.weight, self.online.weight, 0.05)
            bias = torch.lerp(self.target.bias, self.online.bias, 0.05)
            return {"value": self.online(x), "next_value": F.linear(x, kernel, bias)}

    def apply(params: Any, x: jax.Array) -> dict[str, jax.Array]:
        online, target = params["online"], params["target"]
        tau = 0.95 if faulty else 0.05
        kernel = tau * online["kernel"] + (1 - tau) * target["kernel"]  # FAULT: M13
        bias = tau * online["bias"] + (1 - tau) * target["bias"]  # FAULT: M13
        value = x @ online["kernel"] + online["bias"]
        return {"value": value, "next_value": x @ kernel + bias}

    layer = {"kernel": (5, 3), "bias": (3,)}
    return Pair(
        reference=randomise(Critic()),
        candidate=apply,
        template=shapes({"online": layer, "target": layer}),
        inputs={"x": normal(4, 5)},
    )


@fault(
    "M14",
    "layers stacked for a scan in reverse",
    cause=CauseKind.SWAPPED_WEIGHTS,
    stage=Stage.WEIGHTS,
    module="layers.0",
    tensors=tuple(f"layers.{i}.{kind}" for i in range(4) for kind in ("weight", "bias")),
    also=(CauseKind.ORDER,),
)
def stacked_layers(faulty: bool) -> Pair:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = x + torch.tanh(layer(x))
            return x

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        def block(x: jax.Array, layer: dict[str, jax.Array]) -> tuple[jax.Array, None]:
            return x + jnp.tanh(x @ layer["kernel"] + layer["bias"]), None

        return jax.lax.scan(block, x, params)[0]

    model = randomise(Deep())
    w = weights(model)
    order = (3, 2, 1, 0) if faulty else (0, 1, 2, 3)
    params = {
        "kernel": np.stack([w[f"layers.{i}.weight"].T for i in order]),
        "bias": np.stack([w[f"layers.{i}.bias"] for i in order]),
    }
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(3, 6)})
