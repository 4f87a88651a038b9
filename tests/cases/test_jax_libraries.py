"""Equinox, NNX and Linen: required keys, decoding with a cache, what they jit, and a gated unit."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
import torch
from flax import linen, nnx
from torch import nn

from parity.report.kinds import CauseKind
from tests.cases.declare import (
    Case,
    cause,
    faulty_report,
    first,
    lines,
    only,
    plain,
    require_pass,
    twins,
)
from tests.kit.checking import check
from tests.kit.conversion import dense
from tests.kit.inputs import normal
from tests.kit.pairs import Pair, built
from tests.kit.weights import Arrays, randomise

pytestmark = pytest.mark.filterwarnings("ignore")


def convolving(module: type[eqx.Module]) -> Pair:
    reference = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten())
    return Pair(randomise(reference), module(jax.random.key(0)), {"input": normal(4, 2, 6, 6)})


class WithKey(eqx.Module):
    """A module for single samples whose call requires a key."""

    conv: eqx.nn.Conv2d

    def __init__(self, key: jax.Array) -> None:
        self.conv = eqx.nn.Conv2d(2, 3, 3, key=key)

    def __call__(self, x: jax.Array, *, key: jax.Array) -> jax.Array:
        return jnp.tanh(self.conv(x, key=key)).ravel()


class WithInference(eqx.Module):
    """The same with a required switch."""

    conv: eqx.nn.Conv2d
    dropout: eqx.nn.Dropout

    def __init__(self, key: jax.Array) -> None:
        self.conv, self.dropout = eqx.nn.Conv2d(2, 3, 3, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x: jax.Array, *, inference: bool) -> jax.Array:
        return self.dropout(jnp.tanh(self.conv(x)), inference=inference).ravel()


class WithBoth(eqx.Module):
    """The same with both, the key beside the input."""

    conv: eqx.nn.Conv2d
    dropout: eqx.nn.Dropout

    def __init__(self, key: jax.Array) -> None:
        self.conv, self.dropout = eqx.nn.Conv2d(2, 3, 3, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x: jax.Array, key: jax.Array, *, inference: bool) -> jax.Array:
        return self.dropout(jnp.tanh(self.conv(x)), key=key, inference=inference).ravel()


@pytest.mark.parametrize("module", [WithKey, WithInference, WithBoth])
def test_a_module_for_single_samples_is_mapped_over_the_inputs_alone(module: type[eqx.Module]) -> None:
    report = check(convolving(module))
    require_pass(report)
    assert any("mapped over the first axis" in finding for finding in report.findings)


def attention_by_head(t: Arrays) -> Any:
    kernel, bias = t["attend.in_proj_weight"].reshape(3, 6, 6), t["attend.in_proj_bias"].reshape(3, 2, 3)
    attend: dict[str, Any] = {
        name: {"kernel": kernel[i].T.reshape(6, 2, 3), "bias": bias[i]}
        for i, name in enumerate(("query", "key", "value"))
    }
    attend["out"] = {
        "kernel": t["attend.out_proj.weight"].T.reshape(2, 3, 6),
        "bias": t["attend.out_proj.bias"],
    }
    return {"attend": attend, "head": dense(t, "head")}


@twins(attention_by_head, within=1e-6)
def decoding(faulty: bool) -> Pair:
    """Attention with a cache, a token at a time; the faulty port asks for a causal mask as well."""

    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
            return self.head(self.attend(x, x, x, attn_mask=later, need_weights=False)[0])

    class Decoding(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.attend = nnx.MultiHeadAttention(2, 6, decode=True, rngs=rngs)
            self.head = nnx.Linear(6, 4, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            self.attend.init_cache(x.shape, dtype=x.dtype)
            tokens = jnp.split(x, x.shape[1], axis=1)
            read = [self.attend(token, is_causal=faulty) for token in tokens]  # FAULT: decoding
            return self.head(jnp.concatenate(read, axis=1))

    return Pair(randomise(Causal()), Decoding(nnx.Rngs(0)), {"x": normal(2, 4, 6)})


@pytest.mark.whole
def test_decoding_token_by_token_passes() -> None:
    require_pass(check(decoding.right))


@pytest.mark.whole
def test_a_mask_that_every_decoded_token_has_is_placed_once() -> None:
    fault = only(faulty_report(decoding))
    assert lines(fault)[0] in decoding.fault
    assert fault.reference[0].module == "attend"


@pytest.mark.whole
def test_a_mask_that_every_decoded_token_has_is_named() -> None:
    assert cause(first(faulty_report(decoding))).name is CauseKind.MASK


class Dense(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer(nn.functional.gelu(self.inner(x)))


def jitted_by_equinox(faulty: bool) -> Pair:
    class Port(eqx.Module):
        inner: eqx.nn.Linear
        outer: eqx.nn.Linear

        def __init__(self) -> None:
            keys = jax.random.split(jax.random.key(0))
            self.inner, self.outer = eqx.nn.Linear(5, 6, key=keys[0]), eqx.nn.Linear(6, 3, key=keys[1])

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.jitted(x)

        @eqx.filter_jit
        def jitted(self, x: jax.Array) -> jax.Array:
            h = self.inner(x)
            h = jax.nn.gelu(h, approximate=faulty)  # FAULT: jitted_by_equinox
            return self.outer(h)

    return Pair(randomise(Dense()), Port(), {"x": normal(4, 5)})


def jitted_by_nnx(faulty: bool) -> Pair:
    class Port(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.inner, self.outer = nnx.Linear(5, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return jitted(self, x)

    @nnx.jit
    def jitted(model: Port, x: jax.Array) -> jax.Array:
        h = model.inner(x)
        h = nnx.gelu(h, approximate=faulty)  # FAULT: jitted_by_nnx
        return model.outer(h)

    return Pair(randomise(Dense()), built(Port), {"x": normal(4, 5)})


def jitted_by_linen(faulty: bool) -> Pair:
    class Port(linen.Module):
        @linen.jit
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            h = linen.Dense(6, name="inner")(x)
            h = linen.gelu(h, approximate=faulty)  # FAULT: jitted_by_linen
            return linen.Dense(3, name="outer")(h)

    return Pair(randomise(Dense()), Port(), {"x": normal(4, 5)})


JITTED = {
    pair.__name__: Case(pair.__name__, pair, None, twins=False)
    for pair in (jitted_by_equinox, jitted_by_nnx, jitted_by_linen)
}


@pytest.mark.parametrize("case", JITTED.values(), ids=JITTED)
def test_what_a_library_jits_passes(case: Case) -> None:
    require_pass(check(case.right))


@pytest.mark.parametrize(
    "case",
    [
        plain(JITTED["jitted_by_equinox"]),
        plain(JITTED["jitted_by_nnx"]),
        plain(JITTED["jitted_by_linen"]),
    ],
)
def test_a_fault_in_what_a_library_jits_has_its_own_line(case: Case) -> None:
    fault = only(faulty_report(case))
    assert lines(fault)[0] in case.fault
    assert cause(fault).name is CauseKind.ACTIVATION


def gated_pair(faulty: bool) -> Pair:
    """GEGLU: one half of a packed layer goes through the GELU, the other multiplies."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(6, 20), nn.Linear(10, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            value, gate = self.inner(x).tensor_split(2, -1)
            return self.outer(nn.functional.gelu(gate) * value)

    class Port(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            value, gate = jnp.split(linen.Dense(20, name="inner")(x), 2, axis=-1)
            h = value * linen.gelu(gate, approximate=faulty)  # FAULT: gated
            h = linen.Dropout(0.1)(h, deterministic=True)
            return linen.Dense(6, name="outer")(h)

    model = Port()
    x = normal(2, 4, 6)
    return Pair(
        randomise(Gated()), model, {"x": x}, template=jax.eval_shape(model.init, jax.random.key(0), x)
    )


gated = Case(
    "gated",
    gated_pair,
    lambda t: {f"params/{n}/{k}": v for n in ("inner", "outer") for k, v in dense(t, n).items()},
)


def test_a_gated_unit_passes() -> None:
    require_pass(check(gated.right))


def test_the_form_of_the_gelu_in_a_gated_unit_is_named() -> None:
    fault = only(faulty_report(gated))
    assert lines(fault)[0] in gated.fault
    assert cause(fault).name is CauseKind.ACTIVATION
