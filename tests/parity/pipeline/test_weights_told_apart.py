"""Weights that names leave open, told apart by gradients: gates, heads, experts, in separate leaves.

The leaves are called after nothing and come in an order that says nothing. Beside each right port stands a
wrong one, which no assignment may excuse.
"""

from collections.abc import Callable, Sequence
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

Apply = Callable[[Any, jax.Array], jax.Array]

QUICK = parity.Settings(finite_differences=False, localise=False)


def checked(module: nn.Module, apply: Apply, template: Any, x: Any) -> Report:
    weights = parity.Weights(template=shapes(template))
    return parity.check(randomise(module), apply, {"x": x}, weights=weights, settings=QUICK)


def said(report: Report) -> str:
    return "\n".join(report.findings)


def unnamed(apply: Apply, template: dict[str, tuple[int, ...]], seed: int) -> tuple[Apply, Any]:
    """The port and its template with names that say nothing, in an order that says nothing."""
    order = np.random.default_rng(seed).permutation(len(template))
    names = {name: f"leaf_{order[number]}" for number, name in enumerate(template)}
    hidden = {names[name]: template[name] for name in sorted(template, key=names.__getitem__)}
    return lambda p, x: apply({name: p[own] for name, own in names.items()}, x), hidden


class Recurrent(nn.Module):
    def __init__(self, kind: Any) -> None:
        super().__init__()
        self.rnn = kind(5, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0]


def lstm(order: str = "ifgo", *, computed: str = "ifgo", squash: Any = jnp.tanh) -> Apply:
    """A layer of LSTM whose gates have kernels of their own, called after `order`, used as i, f, g, o."""

    def apply(p: Any, x: jax.Array) -> jax.Array:
        def step(state: Any, now: jax.Array) -> Any:
            h, c = state
            gates = {k: now @ p[f"i{k}"] + h @ p[f"h{k}"] + p[f"b{k}"] for k in computed}
            i, f, g, o = (gates[k] for k in order)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * squash(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zero = jnp.zeros((x.shape[0], 4))
        return jax.lax.scan(step, (zero, zero), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    return apply


GATES = {f"{part}{k}": shape for k in "ifgo" for part, shape in (("i", (5, 4)), ("h", (4, 4)), ("b", (4,)))}


@pytest.mark.parametrize("computed", ["gifo", "ogfi", "fogi"])
def test_the_gates_of_an_lstm(computed: str) -> None:
    port = unnamed(lstm(computed=computed), GATES, seed=1)
    report = checked(Recurrent(nn.LSTM), *port, normal(2, 3, 5))
    assert report.verdict is Verdict.PASS
    assert "of the first plan" in said(report) or "the first plan is varied" in said(report)


def test_a_wrong_layer_fails_whatever_its_gates_are_called() -> None:
    port = unnamed(lstm(computed="gifo", squash=jax.nn.sigmoid), GATES, seed=1)
    assert checked(Recurrent(nn.LSTM), *port, normal(2, 3, 5)).verdict is Verdict.FAIL


@pytest.mark.parametrize("order", ["figo", "gfio", "fgoi"])
def test_gates_that_names_tell_are_not_exchanged(order: str) -> None:
    assert checked(Recurrent(nn.LSTM), lstm(order), GATES, normal(2, 3, 5)).verdict is Verdict.FAIL


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.out((torch.softmax(q @ k.mT / 2, -1) @ v).transpose(1, 2).flatten(2))


def attention(p: Any, x: jax.Array, heads: int = 2) -> jax.Array:
    def cut(name: str) -> jax.Array:
        h = x @ p[name] + p[f"{name}_bias"]
        return h.reshape(*h.shape[:2], heads, -1).swapaxes(1, 2)

    v, k, q = cut("v"), cut("k"), cut("q")
    h = jax.nn.softmax(q @ k.mT / 2, -1) @ v
    return h.swapaxes(1, 2).reshape(x.shape) @ p["o"] + p["o_bias"]


def exchanged(p: Any, x: jax.Array) -> jax.Array:
    return attention({**p, "q": p["k"], "k": p["q"]}, x)


PROJECTIONS = {f"{n}{bias}": shape for n in "qkvo" for bias, shape in (("", (8, 8)), ("_bias", (8,)))}


@pytest.mark.parametrize("seed", range(3))
def test_the_projections_of_attention(seed: int) -> None:
    report = checked(Attention(8, 2), *unnamed(attention, PROJECTIONS, seed), normal(2, 5, 8))
    assert report.verdict is Verdict.PASS


def test_queries_and_keys_that_names_tell_are_not_exchanged() -> None:
    assert checked(Attention(8, 2), exchanged, PROJECTIONS, normal(2, 5, 8)).verdict is Verdict.FAIL


class Experts(nn.Module):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.router = nn.Linear(6, count, bias=False)
        self.up, self.down = (
            nn.ModuleList(nn.Linear(*ends, bias=False) for _ in range(count)) for ends in ((6, 9), (9, 6))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        experts = [down(torch.relu(up(x))) for up, down in zip(self.up, self.down, strict=True)]
        return (torch.stack(experts, -1) * torch.softmax(self.router(x), -1).unsqueeze(-2)).sum(-1)


def experts(p: Any, x: jax.Array, count: int = 5) -> jax.Array:
    shares = jax.nn.softmax(x @ p["router"], -1)
    return sum(shares[..., n, None] * (jax.nn.relu(x @ p[f"up{n}"]) @ p[f"down{n}"]) for n in (3, 0, 4, 2, 1))


def test_experts() -> None:
    template = {f"{n}{k}": s for k in range(5) for n, s in (("up", (6, 9)), ("down", (9, 6)))}
    port = unnamed(experts, {**template, "router": (6, 5)}, seed=0)
    assert checked(Experts(5), *port, normal(7, 6)).verdict is Verdict.PASS


class Branches(nn.Module):
    """Heads that are alike: any may be first, but what each reads and writes belongs together."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.first, self.second, self.third = (
            nn.ParameterList(nn.Parameter(torch.zeros(*ends)) for _ in range(count))
            for ends in ((6, 5), (5, 7), (7, 3))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ways = zip(self.first, self.second, self.third, strict=True)
        return torch.stack([torch.tanh(torch.tanh(x @ a) @ b) @ c for a, b, c in ways]).sum(0)


def test_branches_that_nothing_tells_apart_but_their_own_weights() -> None:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        ways = [jnp.tanh(jnp.tanh(x @ p[f"a{n}"]) @ p[f"b{n}"]) @ p[f"c{n}"] for n in range(4)]
        return jnp.stack(ways).sum(0)

    template = {f"{k}{n}": s for n in range(4) for k, s in (("a", (6, 5)), ("b", (5, 7)), ("c", (7, 3)))}
    port = unnamed(apply, template, seed=2)
    assert checked(Branches(4), *port, normal(5, 6)).verdict is Verdict.PASS


class Unnamed(nn.Module):
    """`Branches` as a PyTorch candidate, its parameters called after nothing."""

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        self.order = list(order)
        sizes = [ends for ends in ((6, 5), (5, 7), (7, 3)) for _ in range(4)]
        places = np.argsort(self.order)
        self.held = nn.ParameterList(nn.Parameter(torch.zeros(*sizes[place])) for place in places)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p = [self.held[number] for number in self.order]
        return sum(torch.tanh(torch.tanh(x @ p[n]) @ p[4 + n]) @ p[8 + n] for n in (2, 0, 3, 1))


def test_the_same_of_two_modules_of_pytorch() -> None:
    candidate = Unnamed(np.random.default_rng(5).permutation(12))
    report = parity.check(randomise(Branches(4)), candidate, {"x": normal(5, 6)}, settings=QUICK)
    assert report.verdict is Verdict.PASS


def test_the_same_of_a_jax_reference() -> None:
    def apply(p: Any, x: jax.Array) -> jax.Array:
        ways = [jnp.tanh(jnp.tanh(x @ p["a"][n]) @ p["b"][n]) @ p["c"][n] for n in range(4)]
        return jnp.stack(ways).sum(0)

    params = {
        k: [normal(*s, seed=n) for n in range(4)] for k, s in (("a", (6, 5)), ("b", (5, 7)), ("c", (7, 3)))
    }
    candidate = Unnamed(np.random.default_rng(5).permutation(12))
    weights = parity.Weights(reference_params=params)
    report = parity.check(apply, candidate, {"x": normal(5, 6)}, weights=weights, settings=QUICK)
    assert report.verdict is Verdict.PASS
