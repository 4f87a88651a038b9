"""Faults of five fields that were found and named from the start, and must stay so."""
# ruff: noqa: SIM108 (a fault has a line of its own)

from typing import Any

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from parity.report.kinds import CauseKind
from tests.cases.declare import Case, cause, faulty_report, first, lines, require_pass, right_report, twins
from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair
from tests.kit.weights import Arrays, randomise, shapes

pytestmark = pytest.mark.filterwarnings("ignore")


def affine(params: Any, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


@twins(
    lambda t: {
        f"{name}/{leaf}": t[f"{name}.{leaf}"]
        for name, leaves in {"gate": ("weight",), "head": ("weight", "bias")}.items()
        for leaf in leaves
    }
)
def balance(faulty: bool) -> Pair:
    """The balancing loss of a mixture: the faulty port takes the softmax of probabilities."""

    class Balance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.head = nn.Linear(5, 4, bias=False), nn.Linear(5, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            shares = self.gate(x).softmax(-1)
            best = nn.functional.one_hot(shares.argmax(-1), 4).to(x.dtype)
            return {"out": self.head(x), "balance": 4 * (best.mean(0) * shares.mean(0)).sum()}

    class Port(eqx.Module):
        gate: eqx.nn.Linear
        head: eqx.nn.Linear

        def __init__(self, key: jax.Array) -> None:
            self.gate = eqx.nn.Linear(5, 4, use_bias=False, key=key)
            self.head = eqx.nn.Linear(5, 3, key=key)

        def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
            logits = jax.vmap(self.gate)(x)
            shares = jax.nn.softmax(logits)
            best = jax.nn.one_hot(shares.argmax(-1), 4, dtype=x.dtype)
            if faulty:
                logits = shares  # FAULT: balance
            again = jax.nn.softmax(logits)  # USE: balance
            return {"out": jax.vmap(self.head)(x), "balance": 4 * (best.mean(0) * again.mean(0)).sum()}

    return Pair(randomise(Balance()), Port(jax.random.key(0)), {"x": normal(7, 5)})


@twins(
    lambda t: {
        name: {"inner": dense(t, f"{name}.0"), "outer": dense(t, f"{name}.2")} for name in ("one", "two")
    }
)
def flow(faulty: bool) -> Pair:
    """Two couplings of a normalising flow: the log-determinant enters the density with the wrong sign."""

    class Flow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, 4))
            self.two = nn.Sequential(nn.Linear(2, 7), nn.Tanh(), nn.Linear(7, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            still, moved = x.tensor_split(2, -1)
            volume = torch.zeros(len(x), dtype=x.dtype)
            for coupling in (self.one, self.two):
                scale, shift = coupling(still).tensor_split(2, -1)
                scale = scale.tanh()
                still, moved = (moved - shift) * torch.exp(-scale), still
                volume = volume - scale.sum(-1)
            z = torch.cat([still, moved], -1)
            return volume - 0.5 * (z.square() + np.log(2 * np.pi)).sum(-1)

    def port(params: Any, x: jax.Array) -> jax.Array:
        still, moved = jnp.split(x, 2, -1)
        volume = jnp.zeros(len(x), x.dtype)
        for name in ("one", "two"):
            h = jnp.tanh(affine(params[name]["inner"], still))
            scale, shift = jnp.split(affine(params[name]["outer"], h), 2, -1)
            scale = jnp.tanh(scale)
            still, moved = (moved - shift) * jnp.exp(-scale), still
            volume = volume + scale.sum(-1)  # USE: flow
        density = -0.5 * (jnp.square(jnp.concatenate([still, moved], -1)) + jnp.log(2 * jnp.pi)).sum(-1)
        if faulty:
            return density + volume  # FAULT: flow
        return density - volume

    coupling = {"inner": {"kernel": (2, 7), "bias": (7,)}, "outer": {"kernel": (7, 4), "bias": (4,)}}
    return Pair(
        randomise(Flow()), port, {"x": normal(6, 4)}, template=shapes({"one": coupling, "two": coupling})
    )


@twins(lambda t: {"inner": dense(t, "field.0"), "outer": dense(t, "field.2")})
def rendering(faulty: bool) -> Pair:
    """How much is seen of each sample along a ray: a product over those before it, shifted in the port."""

    class Rendering(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.field = nn.Sequential(nn.Linear(3, 7), nn.Tanh(), nn.Linear(7, 2))

        def forward(self, points: torch.Tensor) -> torch.Tensor:
            density, colour = self.field(points).unbind(-1)
            light = torch.exp(-0.3 * nn.functional.softplus(density))
            before = torch.cat([torch.ones_like(light[:, :1]), light[:, :-1]], -1)
            return ((1 - light) * before.cumprod(-1) * colour.sigmoid()).sum(-1)

    def port(params: Any, points: jax.Array) -> jax.Array:
        field = affine(params["outer"], jnp.tanh(affine(params["inner"], points)))
        density, colour = field[..., 0], field[..., 1]
        light = jnp.exp(-0.3 * jax.nn.softplus(density))
        before = light if faulty else jnp.concatenate([jnp.ones_like(light[:, :1]), light[:, :-1]], -1)
        seen = jnp.cumprod(before, -1)  # FAULT: rendering
        return ((1 - light) * seen * jax.nn.sigmoid(colour)).sum(-1)  # USE: rendering

    template = {"inner": {"kernel": (3, 7), "bias": (7,)}, "outer": {"kernel": (7, 2), "bias": (2,)}}
    return Pair(randomise(Rendering()), port, {"points": normal(4, 6, 3)}, template=shapes(template))


@twins(lambda t: {"inner": dense(t, "inner"), "outer": dense(t, "outer")})
def harmonics(faulty: bool) -> Pair:
    """Spherical harmonics up to degree one of directions, with the factors of another normalisation."""

    class Basis(nn.Module):
        def forward(self, edge: torch.Tensor) -> torch.Tensor:
            unit = edge / edge.norm(dim=-1, keepdim=True)
            return torch.cat([torch.ones_like(unit[:, :1]), 3**0.5 * unit], -1)

    class Harmonics(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.basis, self.inner, self.outer = Basis(), nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, edge: torch.Tensor) -> torch.Tensor:
            return self.outer(self.inner(self.basis(edge)).tanh())

    factors = np.array([1, 3**0.5, 3**0.5, 3**0.5])
    if faulty:
        factors = factors / np.sqrt(4 * np.pi)

    def port(params: Any, edge: jax.Array) -> jax.Array:
        unit = edge / jnp.linalg.norm(edge, axis=-1, keepdims=True)
        basis = jnp.concatenate([jnp.ones_like(unit[:, :1]), unit], -1)  # USE: harmonics
        basis = basis * jnp.asarray(factors, edge.dtype)  # FAULT: harmonics
        return affine(params["outer"], jnp.tanh(affine(params["inner"], basis)))

    template = {"inner": {"kernel": (4, 6), "bias": (6,)}, "outer": {"kernel": (6, 2), "bias": (2,)}}
    return Pair(randomise(Harmonics()), port, {"edge": normal(8, 3)}, template=shapes(template))


def scanned_params(t: Arrays) -> Any:
    layers = {n: {"w": t[f"{n}.weight"].T, "b": t[f"{n}.bias"]} for n in ("step", "head")}
    return layers | {"read": {"w": t["read.weight"].T}, "~": {"decay": t["decay"]}}


@twins(scanned_params)
def padded(faulty: bool) -> Pair:
    """A state space over padded sequences: the mask belongs on the step, not on what the step is made of."""

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.step, self.read = nn.Linear(3, 3), nn.Linear(3, 3, bias=False)
            self.decay, self.head = nn.Parameter(torch.zeros(3)), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
            step = nn.functional.softplus(self.step(x)) * there[..., None].to(x.dtype)
            state, read = torch.zeros_like(x[:, 0]), self.read(x)
            for t in range(x.shape[1]):
                state = torch.exp(-step[:, t] * self.decay.exp()) * state + step[:, t] * read[:, t]
            return self.head(state)

    def forward(x: jax.Array, there: jax.Array) -> jax.Array:
        mask, layer = there[..., None].astype(x.dtype), hk.Linear(3, name="step")
        if faulty:
            step = jax.nn.softplus(layer(x * mask))  # FAULT: padded
        else:
            step = jax.nn.softplus(layer(x)) * mask
        read = hk.Linear(3, with_bias=False, name="read")(x)
        decay = jnp.exp(hk.get_parameter("decay", (3,), init=jnp.zeros))

        def one(state: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            step, read = at
            return jnp.exp(-step * decay) * state + step * read, None

        along = (step.swapaxes(0, 1), read.swapaxes(0, 1))
        return hk.Linear(2, name="head")(jax.lax.scan(one, jnp.zeros_like(x[:, 0]), along)[0])

    model = hk.without_apply_rng(hk.transform(forward))
    inputs = {"x": normal(3, 5, 3), "there": np.arange(5) < np.array([[5], [3], [2]])}
    template = jax.eval_shape(model.init, jax.random.key(0), *inputs.values())
    return Pair(randomise(Padded()), model, inputs, template=template)


NAMED = {
    balance: (CauseKind.ACTIVATION, "softmax along axis 1"),
    flow: (CauseKind.OPERANDS, ""),
    rendering: (CauseKind.SHIFT, "axis 1"),
    harmonics: (CauseKind.SCALE, "3.5449"),
    padded: (CauseKind.MASK, ""),
}


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case.id)
def test_the_right_port_passes(case: Case) -> None:
    require_pass(right_report(case))


@pytest.mark.parametrize("case", NAMED, ids=lambda case: case.id)
def test_the_fault_is_placed_and_named(case: Case) -> None:
    fault = first(faulty_report(case))
    assert lines(fault)[0] in case.use
    name, text = NAMED[case]
    assert cause(fault).name is name
    assert text in cause(fault).text
