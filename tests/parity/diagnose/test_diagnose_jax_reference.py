"""A JAX program as the reference: places and causes are found as against PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parity.diagnose import diagnose
from parity.localise import find_regions
from tests.parity.diagnose.diagnosed import numbers
from tests.parity.diagnose.traced import compared, first_fault


def layer_norm(p: Any, x: Any, eps: float = 1e-5, ddof: int = 0) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True, ddof=ddof)  # place
    return (x - mean) / jnp.sqrt(var + eps) * p["scale"]  # place


def gelu(p: Any, x: Any, approximate: bool = False) -> Any:
    return jax.nn.gelu(x @ p["w"], approximate=approximate) @ p["v"]  # place


def attention(p: Any, x: Any, axis: int = -1) -> Any:
    scores = (x @ p["q"]) @ x.swapaxes(1, 2)
    return jax.nn.softmax(scores, axis) @ x  # place


def scaled(p: Any, x: Any, scale: float = 0.25) -> Any:
    scores = (x @ p["q"]) @ x.swapaxes(1, 2) * scale  # place
    return jax.nn.softmax(scores, -1) @ x


def unscaled(p: Any, x: Any) -> Any:
    scores = (x @ p["q"]) @ x.swapaxes(1, 2)
    return jax.nn.softmax(scores, -1) @ x  # place


def causal(p: Any, x: Any, diagonal: int = 0) -> Any:
    scores = (x @ p["q"]) @ x.swapaxes(1, 2)
    seen = jnp.tril(jnp.ones((5, 5), bool), diagonal)  # place
    return jax.nn.softmax(jnp.where(seen, scores, -jnp.inf)) @ x


def convolved(p: Any, x: Any, **settings: Any) -> Any:
    settings = {"stride": (1,), "pads": (1, 1), "dilation": (1,), **settings}
    h = jax.lax.conv_general_dilated(  # place
        x,
        p["kernel"],
        settings["stride"],
        [settings["pads"]],
        rhs_dilation=settings["dilation"],
        dimension_numbers=("NCH", "OIH", "NCH"),
    )
    return jnp.tanh(h).sum(-1)


def pooled(p: Any, x: Any, step: int = 2, pads: tuple[int, int] = (0, 0)) -> Any:
    h, padding = jnp.sin(x * p["scale"]), [(0, 0), (0, 0), pads]
    h = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (1, 1, 3), (1, 1, step), padding)  # place
    return jnp.tanh(h).sum(-1)


def product(p: Any, x: Any, transposed: bool = False) -> Any:
    kernel = p["square"].T if transposed else p["square"]
    return jnp.tanh(x @ kernel)  # place


def squashed(p: Any, x: Any, function: Any = jnp.tanh) -> Any:
    return function(x @ p["square"]) @ p["square"]  # place


X, HEADS, LINE = numbers(9, 6), numbers(2, 5, 6), numbers(2, 3, 9)
P = {
    "scale": numbers(9),
    "w": numbers(6, 7),
    "v": numbers(7, 3),
    "q": numbers(6, 6),
    "kernel": numbers(4, 3, 3),
    "square": numbers(6, 6, seed=1),
}


def changed(function: Any, /, **settings: Any) -> tuple[Any, Any]:
    """A function, and the same with other settings."""
    return function, lambda p, x: function(p, x, **settings)


@pytest.mark.parametrize(
    ("pair", "x", "name", "words"),
    [
        (changed(layer_norm, eps=1e-6), LINE, "epsilon", ["1e-06", "1e-05"]),
        (changed(layer_norm, ddof=1), LINE, "variance correction", ["is 1 in", "use 0"]),
        (changed(gelu, approximate=True), X, "activation", ["GELU (erf)", "GELU (tanh approximation)"]),
        (changed(attention, axis=1), HEADS, "activation", ["axis 2", "axis 1"]),
        (changed(scaled, scale=0.5), HEADS, "scale", ["0.25", "0.5"]),
        ((scaled, unscaled), HEADS, "scale", ["0.25"]),
        (changed(causal, diagonal=1), HEADS, "mask", ["1", "0"]),
        (changed(convolved, pads=(0, 2)), LINE, "padding", ["((0, 2),)", "((1, 1),)"]),
        (changed(convolved, stride=(2,)), LINE, "stride", ["(2,)", "(1,)"]),
        (changed(convolved, dilation=(2,), pads=(2, 2)), LINE, "dilation", ["(2,)", "(1,)"]),
        (changed(pooled, step=1), LINE, "stride", ["(1,)", "(2,)"]),
        (changed(pooled, pads=(0, 2)), LINE, "padding", ["(0, 2)", "(0, 0)"]),
        (changed(product, transposed=True), X, "transposed kernel", ["(1, 0)"]),
        (changed(squashed, function=lambda h: h), X, "activation", ["tanh", "none"]),
    ],
)
def test_place_and_cause_with_a_jax_reference(pair: Any, x: np.ndarray, name: str, words: list[str]) -> None:
    reference, candidate, cause = first_fault(*pair, P, x)
    assert "# place" in candidate[0].code, candidate
    assert any("# place" in place.code for place in reference), reference
    assert cause is not None
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause
    assert cause.residual < 1e-12


def gradient_of(function: Any) -> Any:
    return lambda p, x: jax.grad(lambda x: (function(p, x) ** 2).sum())(x)


def test_another_gradient_rule_than_that_of_a_jax_reference() -> None:
    ties = np.round(numbers(9, 6))
    comparison = compared(
        gradient_of(lambda p, x: jax.nn.relu(x * p["square"][0]) + 1),
        gradient_of(lambda p, x: jnp.maximum(x * p["square"][0], 0) + 1),
        P,
        ties,
    )
    for trace in (comparison.reference, comparison.candidate):
        trace.outputs = {"gradients": trace.outputs["outputs"]}
    diagnosis = diagnose(comparison, next(find_regions(comparison, "gradients")))
    cause = diagnosis.cause if diagnosis is not None else None
    assert cause is not None
    assert cause.name == "gradient rule"
    assert "where" in cause.text


def test_the_same_jax_program_twice_has_no_fault() -> None:
    comparison = compared(attention, attention, P, HEADS)
    assert all(comparison.candidate_agrees(i) for i in range(len(comparison.candidate.nodes)))


def test_nothing_is_named_where_nothing_matches_a_jax_reference() -> None:
    def other(p: Any, x: Any) -> Any:
        return jnp.sin(jnp.cumsum(h := x @ p["square"], 0) * h[::-1]) @ p["square"]

    def wanted(p: Any, x: Any) -> Any:
        return jnp.tanh(jnp.cumsum(h := x @ p["square"], 1) + h[::-1] ** 2) @ p["square"]

    assert first_fault(wanted, other, P, X)[2] is None
