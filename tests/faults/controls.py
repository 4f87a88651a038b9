"""Differences between ports that are no faults, in what the model computes; the verdict must never be fail.

A control has no right and faulty port: `faulty` is ignored, and the port is always the one that differs.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from tests.faults.declare import fault
from tests.kit.conversion import by_table
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import randomise, shapes, weights

F = nn.functional
DENSE = by_table({"kernel": ("fc.weight", (1, 0)), "bias": "fc.bias"})
LAYER = {"kernel": (8, 6), "bias": (6,)}


class Dense(nn.Module):
    """A linear layer; a subclass goes on from there."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 6)


def dense(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """The port of that layer."""
    return x @ params["kernel"] + params["bias"]


def pair(model: nn.Module, port: Any, *, scale: float = 1.0) -> Pair:
    """A port of a network that starts with the linear layer."""
    inputs = {"x": scale * normal(5, 8)}
    return Pair(reference=randomise(model), candidate=port, template=shapes(LAYER), inputs=inputs)


@fault("K01", "another order of summation, another formula of the variance", benign=True, convert=DENSE)
def summation(faulty: bool) -> Pair:
    class Normalised(Dense):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.layer_norm(self.fc(x), (6,))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        kernel = params["kernel"]
        h = params["bias"] + x[:, 5:] @ kernel[5:] + x[:, :5] @ kernel[:5]
        mean = h.mean(axis=1, keepdims=True)
        variance = (h**2).mean(axis=1, keepdims=True) - mean**2
        return (h - mean) * jax.lax.rsqrt(variance + 1e-5)

    return pair(Normalised(), apply)


@fault(
    "K02", "softplus without the identity beyond 20: 2e-9 there", benign=True, mode="float32", convert=DENSE
)
def softplus(faulty: bool) -> Pair:
    class Positive(Dense):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softplus(self.fc(x))

    return pair(Positive(), lambda params, x: jax.nn.softplus(dense(params, x)), scale=10)


@fault("K03", "eigenvectors of the other sign", benign=True, convert=by_table({"w": "w"}))
def signs(faulty: bool) -> Pair:
    class Principal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.zeros(5, 7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            top = torch.linalg.eigh(self.w @ self.w.T).eigenvectors[:, -2:]
            return x @ top @ top.T

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        top = -jnp.linalg.eigh(params["w"] @ params["w"].T)[1][:, -2:]
        return x @ top @ top.T

    return Pair(
        reference=randomise(Principal()),
        candidate=apply,
        template=shapes({"w": (5, 7)}),
        inputs={"x": normal(4, 5)},
    )


@fault("K04", "dropout left on: other random streams", benign=True, convert=DENSE)
def random_streams(faulty: bool) -> Pair:
    class Dropped(Dense):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.drop(torch.tanh(self.fc(x)))

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = jnp.tanh(dense(params, x))
        kept = jax.random.bernoulli(jax.random.key(0), 0.5, h.shape)
        return jnp.where(kept, h / 0.5, 0)

    declared = pair(Dropped(), apply)
    declared.reference.train()
    return declared


@fault(
    "K05",
    "a biased variance of a million numbers",
    benign=True,
    mode="float32",
    convert=by_table({"gain": "gain"}),
)
def large_batch(faulty: bool) -> Pair:
    class Statistics(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x * self.gain).repeat(128, 1).var()

    def apply(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.tile(x * params["gain"], (128, 1)).var()

    return Pair(
        reference=randomise(Statistics()),
        candidate=apply,
        template=shapes({"gain": (16,)}),
        inputs={"x": normal(512, 16)},
    )


@fault("K08", "GRU without biases: the candidate's is added outside the gate, and is 0", benign=True)
def gru_bias(faulty: bool) -> Pair:
    model = randomise(nn.GRUCell(5, 6, bias=False))

    def apply(p: dict[str, jax.Array], x: jax.Array, h: jax.Array) -> jax.Array:
        xr, xz, xn = jnp.split(x @ p["weight_ih"].T, 3, axis=-1)
        hr, hz, hn = jnp.split(h @ p["weight_hh"].T, 3, axis=-1)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        n = jnp.tanh(xn + r * hn + jnp.zeros(6, x.dtype))
        return (1 - z) * n + z * h

    return Pair(
        reference=model,
        candidate=apply,
        template=shapes(model.state_dict()),
        inputs={"x": normal(3, 5), "h": normal(3, 6, seed=2)},
    )


@fault("K12", "the rate taken for the probability to keep, at 0.5", benign=True, convert=DENSE)
def keep_half(faulty: bool) -> Pair:
    rate = 0.5

    class Masked(Dense):
        def forward(self, x: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * (u < 1 - rate) / (1 - rate)

    def apply(params: dict[str, jax.Array], x: jax.Array, u: jax.Array) -> jax.Array:
        return jnp.where(u < rate, dense(params, x) / rate, 0)

    declared = pair(Masked(), apply)
    declared.inputs["u"] = np.random.default_rng(0).random((5, 6), np.float32)
    return declared


@fault("K13", "Huber loss for smooth L1, at beta 1", benign=True, convert=DENSE)
def huber(faulty: bool) -> Pair:
    class Loss(Dense):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return F.smooth_l1_loss(self.fc(x), y, reduction="none").mean(dim=1)

    def apply(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        delta = 1.0
        error = jnp.abs(dense(params, x) - y)
        quadratic = jnp.minimum(error, delta)
        return (0.5 * quadratic**2 + delta * (error - quadratic)).mean(axis=1)

    declared = pair(Loss(), apply)
    declared.inputs["y"] = normal(5, 6, seed=2)
    return declared


@fault("K15", "a constant added to all logits", benign=True, convert=DENSE)
def softmax_shift(faulty: bool) -> Pair:
    class Probabilities(Dense):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.softmax(self.fc(x), dim=-1)

    return pair(Probabilities(), lambda params, x: jax.nn.softmax(dense(params, x) + 3.0))


@fault("K16", "hidden units permuted in all their weights", benign=True)
def hidden_units(faulty: bool) -> Pair:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 9), nn.Linear(9, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.down(torch.tanh(self.up(x)))

    def apply(params: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ params["up"]["kernel"] + params["up"]["bias"])
        return h @ params["down"]["kernel"] + params["down"]["bias"]

    model = randomise(Network())
    w = weights(model)
    units = np.random.default_rng(0).permutation(9)
    params = {
        "up": {"kernel": w["up.weight"].T[:, units], "bias": w["up.bias"][units]},
        "down": {"kernel": w["down.weight"].T[units], "bias": w["down.bias"]},
    }
    return Pair(reference=model, candidate=apply, params=params, inputs={"x": normal(5, 4)})
