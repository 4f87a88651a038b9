"""Models in training mode: both sides get the same masks, and what differs in them is found."""

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import flax.linen as linen
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.report.kinds import CauseKind, Kind
from tests.kit.weights import randomise, shapes

KEY = jax.random.key(7)
RATE = 0.25
QUICK = parity.Settings(dtypes=("float64", "float32"), finite_differences=False, moved_weights=False)
UNPLACED = parity.Settings(dtypes=("float64",), finite_differences=False, moved_weights=False, localise=False)
X = {"x": np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)}


def passes(reference: object, candidate: object, inputs: Any = X, template: Any = None) -> parity.Report:
    weights = None if template is None else parity.Weights(template=template)
    report = parity.check(reference, candidate, inputs, weights=weights, settings=QUICK)
    assert report.verdict is parity.Verdict.PASS, str(report)
    return report


def fails(
    reference: object, candidate: object, *said: str, inputs: Any = X, template: Any = None
) -> parity.Report:
    weights = None if template is None else parity.Weights(template=template)
    report = parity.check(reference, candidate, inputs, weights=weights, settings=UNPLACED)
    assert report.verdict is parity.Verdict.FAIL, str(report)
    told = "\n".join(report.findings)
    for text in said:
        assert text in told, told
    return report


def network(rate: float = RATE) -> nn.Module:
    layers = [
        nn.Linear(6, 8),
        nn.Dropout(rate),
        nn.GELU(),
        nn.Linear(8, 8),
        nn.Dropout(rate),
        nn.Linear(8, 3),
    ]
    return randomise(nn.Sequential(*layers)).train()


NAMES = ("a", "b", "c")
TEMPLATE = {
    name: {"kernel": jnp.zeros(shape), "bias": jnp.zeros(shape[1])}
    for name, shape in zip(NAMES, ((6, 8), (8, 8), (8, 3)), strict=True)
}


def dense(params: Mapping[str, Any], x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def dropout(key: jax.Array, x: jax.Array, rate: float = RATE) -> jax.Array:
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


def port_with(
    drop: Callable[[jax.Array, jax.Array], jax.Array] = dropout,
    keys: Callable[[], Any] = lambda: jax.random.split(KEY),
) -> Callable[..., jax.Array]:
    def port(params: Any, x: jax.Array) -> jax.Array:
        first, second = keys()
        x = jax.nn.gelu(drop(first, dense(params["a"], x)), approximate=False)
        return dense(params["c"], drop(second, dense(params["b"], x)))

    return port


class Linen(linen.Module):
    rate: float = RATE

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = linen.Dropout(self.rate)(linen.Dense(8, name="a")(x), deterministic=not train)
        x = linen.Dense(8, name="b")(linen.gelu(x, approximate=False))
        return linen.Dense(3, name="c")(linen.Dropout(self.rate)(x, deterministic=not train))


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, rate: float = RATE) -> None:
        self.a, self.b, self.c = (
            nnx.Linear(one, other, rngs=rngs) for one, other in ((6, 8), (8, 8), (8, 3))
        )
        self.first, self.second = nnx.Dropout(rate, rngs=rngs), nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.gelu(self.first(self.a(x)), approximate=False)
        return self.c(self.second(self.b(x)))


class Equinox(eqx.Module):
    a: eqx.nn.Linear
    b: eqx.nn.Linear
    c: eqx.nn.Linear
    drop: eqx.nn.Dropout

    def __init__(self, rate: float = RATE) -> None:
        self.a, self.b, self.c = (
            eqx.nn.Linear(one, other, key=KEY) for one, other in ((6, 8), (8, 8), (8, 3))
        )
        self.drop = eqx.nn.Dropout(rate)

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        first, second = (None, None) if key is None else jax.random.split(key)
        x = jax.nn.gelu(self.drop(self.a(x), key=first), approximate=False)
        return self.c(self.drop(self.b(x), key=second))


def haiku_network(x: jax.Array, is_training: bool) -> jax.Array:
    rate = RATE if is_training else 0.0
    x = hk.dropout(hk.next_rng_key(), rate, hk.Linear(8)(x)) if is_training else hk.Linear(8)(x)
    x = hk.Linear(8)(jax.nn.gelu(x, approximate=False))
    x = hk.dropout(hk.next_rng_key(), rate, x) if is_training else x
    return hk.Linear(3)(x)


def linen_bound() -> tuple[object, Any]:
    model = Linen()
    template = model.init(KEY, X["x"])
    return lambda params, x: model.apply(params, x, train=True, rngs={"dropout": KEY}), template


def equinox_bound() -> tuple[object, Any]:
    def batch(model: Equinox, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda one, key: model(one, key=key))(x, jax.random.split(KEY, len(x)))

    return batch, Equinox()


@pytest.mark.parametrize(
    "made",
    [
        lambda: (port_with(), TEMPLATE),
        linen_bound,
        lambda: (Linen(), None),
        lambda: (Nnx(nnx.Rngs(1)), None),
        equinox_bound,
        lambda: (Equinox(), None),
        lambda: (hk.transform(haiku_network), None),
    ],
    ids=["function", "linen bound", "linen", "nnx", "equinox bound", "equinox", "haiku"],
)
def test_dropout_of_every_library(made: Callable[[], tuple[object, Any]]) -> None:
    candidate, template = made()
    report = passes(network(), candidate, template=template)
    assert "2 random draws were shared: 2 Bernoulli masks" in report.findings
    assert not any("training mode" in text or "switch it off" in text for text in report.findings)


def test_the_jax_side_may_be_the_reference() -> None:
    passes(Nnx(nnx.Rngs(1)), network())
    fails(Nnx(nnx.Rngs(1), rate=0.5), network(), "JAX draws a Bernoulli mask of probability 0.5")


def test_two_pytorch_modules_in_training_mode() -> None:
    module = network()
    passes(module, network())
    fails(module, network(0.5), "the candidate one of probability 0.5")


def test_in_inference_mode_nothing_is_drawn_and_nothing_said() -> None:
    report = passes(network().eval(), Nnx(nnx.Rngs(1)))
    assert not any("draw" in text for text in report.findings)
    assert any("deterministic=True" in text for text in report.findings)


def test_another_rate() -> None:
    fails(
        network(),
        port_with(lambda key, x: dropout(key, x, 0.5)),
        "PyTorch draws a Bernoulli mask of probability 0.75 and shape (5, 8)",
        "JAX one of probability 0.5",
        template=TEMPLATE,
    )


def test_the_probability_of_dropping_taken_for_that_of_keeping() -> None:
    def faulty(key: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, RATE, x.shape), x / (1 - RATE), 0.0)

    fails(network(), port_with(faulty), "JAX one of probability 0.25", template=TEMPLATE)


def test_a_mask_of_what_is_dropped_is_the_same_mask() -> None:
    def right(key: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, RATE, x.shape), 0.0, x / (1 - RATE))

    passes(network(), port_with(right), template=TEMPLATE)


def test_kept_numbers_that_are_not_scaled() -> None:
    def faulty(key: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.where(jax.random.bernoulli(key, 1 - RATE, x.shape), x, 0.0)

    fails(network(), port_with(faulty), template=TEMPLATE)


def test_a_mask_by_comparing_uniform_numbers() -> None:
    def right(key: jax.Array, x: jax.Array) -> jax.Array:
        return x * (jax.random.uniform(key, x.shape) >= RATE) / (1 - RATE)

    passes(network(), port_with(right), template=TEMPLATE)


def test_dropout_on_one_side_only() -> None:
    fails(
        network(),
        port_with(lambda key, x: x),
        "PyTorch draws a Bernoulli mask of probability 0.75 and shape (5, 8)",
        "for which JAX draws nothing at all; if this is dropout, switch it off in PyTorch (`model.eval()`",
        template=TEMPLATE,
    )
    fails(
        network(),
        port_with(lambda key, x: dropout(key, x) if key is not None else x, lambda: (None, KEY)),
        "for which JAX draws nothing: 2 draws against 1",
        template=TEMPLATE,
    )


def test_one_key_for_two_masks() -> None:
    fails(
        network(),
        port_with(keys=lambda: (KEY, KEY)),
        "JAX uses the same key for draws 1 and 2",
        template=TEMPLATE,
    )


def test_one_mask_for_all_samples() -> None:
    def batch(model: Equinox, x: jax.Array) -> jax.Array:
        return jax.vmap(lambda one: model(one, key=KEY))(x)

    fails(network(), batch, "shape (5, 8)", "shape (8,)", template=Equinox())


def test_dropout_before_and_after_a_residual() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.drop = nn.Linear(6, 6), nn.Dropout(RATE)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.drop(self.layer(x))

    template = shapes({"kernel": (6, 6), "bias": (6,)})
    module = randomise(Residual()).train()
    passes(module, lambda params, x: x + dropout(KEY, dense(params, x)), template=template)
    fails(module, lambda params, x: dropout(KEY, x + dense(params, x)), template=template)


PLACED = parity.Settings(dtypes=("float64",), finite_differences=False, moved_weights=False)


def test_a_divergence_says_in_what_the_draws_differ() -> None:
    weights = parity.Weights(template=TEMPLATE)
    faulty = port_with(lambda key, x: dropout(key, x, 0.5))
    report = parity.check(network(), faulty, X, weights=weights, settings=PLACED)
    first, second = report.divergences
    assert (first.kind, first.cause, first.formulas) == (Kind.DRAWS, None, None)
    assert first.reference[0].module == "1"
    assert second.reference[0].module == "4"
    assert "(layer `1`), JAX one of probability 0.5" in first.detail
    assert "the two sides draw other random numbers here" in str(report)


@pytest.mark.parametrize("reversed_sides", [False, True])
def test_another_fault_is_placed_and_named_as_without_dropout(reversed_sides: bool) -> None:
    class Tanh(Nnx):
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nnx.gelu(self.first(self.a(x)), approximate=True)
            return self.c(self.second(self.b(x)))

    sides = [network(), Tanh(nnx.Rngs(1))]
    report = parity.check(*(sides[::-1] if reversed_sides else sides), X, settings=PLACED)
    (found,) = report.divergences
    assert found.cause is not None, str(report)
    assert found.cause.name is CauseKind.ACTIVATION
    places = found.candidate if reversed_sides else found.reference
    assert places[0].module == "2"


def test_training_step_by_step() -> None:
    rng = np.random.default_rng(3)
    batches = [
        ({"x": rng.normal(size=(5, 6)).astype(np.float32)}, {"y": rng.normal(size=(5, 3)).astype(np.float32)})
        for _ in range(2)
    ]
    losses = (lambda out, y: ((out - y) ** 2).mean(), lambda out, y: jnp.mean((out - y) ** 2))
    how: Any = {"weights": parity.Weights(template=TEMPLATE), "settings": UNPLACED, "loss": losses}
    module = network()
    sgd = torch.optim.SGD(module.parameters(), 0.1)
    report = parity.check_training(module, port_with(), batches, optimizer=sgd, **how)
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert "2 random draws were shared: 2 Bernoulli masks" in report.findings
    faulty = port_with(lambda key, x: dropout(key, x, 0.5))
    report = parity.check_training(module, faulty, batches, optimizer=sgd, **how)
    assert report.verdict is parity.Verdict.FAIL
    assert report.parting is not None
    assert report.parting.step == 0
