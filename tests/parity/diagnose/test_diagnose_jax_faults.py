"""One fault of each kind between two JAX programs, by the cause that it must be given."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.parity.diagnose.diagnosed import numbers
from tests.parity.diagnose.traced import first_fault

P = {
    "w": numbers(6, 6),
    "u": numbers(6, 6, seed=2),
    "b": numbers(6),
    "g": numbers(6, seed=3),
    "mean": numbers(6, seed=4),
    "var": np.abs(numbers(6, seed=5)),
    "k": numbers(3, 3, 2, 4),
    "e": numbers(9, 6),
}
X, IMAGES, IDS = numbers(5, 6), numbers(2, 8, 8, 2), np.array([[1, 5, 3], [6, 0, 2]])


def lin(p: Any, x: Any) -> Any:
    return x @ p["w"]


def mean_pool(x: Any, padded: bool) -> Any:
    h, window = jnp.tanh(x), ((1, 3, 3, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (1, 1), (0, 0)])
    total = jax.lax.reduce_window(h, 0.0, jax.lax.add, *window)
    inside = jax.lax.reduce_window(jnp.ones_like(h), 0.0, jax.lax.add, *window)
    return jnp.sin(total / (9 if padded else inside))


def conv(p: Any, x: Any, pads: Any = "SAME", **settings: Any) -> Any:
    layout = ("NHWC", "HWIO", "NHWC")
    return jnp.tanh(
        jax.lax.conv_general_dilated(x, p["k"], (1, 1), pads, dimension_numbers=layout, **settings)
    )


def batch_norm(p: Any, x: Any, kept: bool) -> Any:
    mean, var = (p["mean"], p["var"]) if kept else (x.mean(0), x.var(0))
    return jnp.tanh((x - mean) / jnp.sqrt(var + 1e-5) * p["g"] + p["b"])


def rms(p: Any, x: Any, eps: float = 1e-6) -> Any:
    return jnp.tanh(x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + eps) * p["g"])


def masked(p: Any, x: Any) -> Any:
    return jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((5, 5), bool)), x @ x.T, -1e9)) @ x


STRIDED = {"lhs_dilation": (2, 2)}

FAULTS: list[tuple[str, Any, Any, np.ndarray]] = [
    ("reduction", lambda p, x: jnp.tanh(lin(p, x).mean(0)), lambda p, x: jnp.tanh(lin(p, x).sum(0)), X),
    ("reduction", lambda p, x: jnp.tanh(lin(p, x)).max(0), lambda p, x: jnp.tanh(lin(p, x)).min(0), X),
    ("missing term", lambda p, x: jnp.tanh(lin(p, x) + p["b"]), lambda p, x: jnp.tanh(lin(p, x)), X),
    ("extra term", lambda p, x: jnp.tanh(lin(p, x)), lambda p, x: jnp.tanh(lin(p, x) + p["b"]), X),
    (
        "order",
        lambda p, x: jnp.tanh(x.transpose(0, 3, 1, 2).reshape(2, -1)),
        lambda p, x: jnp.tanh(x.reshape(2, -1)),
        IMAGES,
    ),
    ("shift", lambda p, i: jnp.tanh(p["e"][i + 1]), lambda p, i: jnp.tanh(p["e"][i]), IDS),
    (
        "swapped weights",
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["w"]) @ p["u"]),
        lambda p, x: jnp.tanh(jnp.tanh(x @ p["u"]) @ p["w"]),
        X,
    ),
    (
        "shift",
        lambda p, x: jnp.roll(lin(p, x), 1, 1) * p["g"],
        lambda p, x: jnp.roll(lin(p, x), -1, 1) * p["g"],
        X,
    ),
    (
        "repeat",
        lambda p, x: jnp.tile(lin(p, x), (1, 2)) @ jnp.arange(12.0),
        lambda p, x: jnp.repeat(lin(p, x), 2, 1) @ jnp.arange(12.0),
        X,
    ),
    ("pool count", lambda p, x: mean_pool(x, False), lambda p, x: mean_pool(x, True), IMAGES),
    ("padding", conv, lambda p, x: conv(p, x, [(2, 0), (1, 1)]), IMAGES),
    (
        "padding",
        lambda p, x: conv(p, x, [(1, 2), (1, 2)], **STRIDED),
        lambda p, x: conv(p, x, [(2, 1), (2, 1)], **STRIDED),
        IMAGES,
    ),
    ("flipped kernel", conv, lambda p, x: conv({"k": p["k"][::-1, ::-1]}, x), IMAGES),
    ("statistics", lambda p, x: batch_norm(p, x, True), lambda p, x: batch_norm(p, x, False), X),
    ("epsilon", rms, lambda p, x: rms(p, x, 1e-5), X),
    ("missing term", rms, lambda p, x: rms(p, x - x.mean(-1, keepdims=True)), X),
    (
        "constant",
        lambda p, x: jax.nn.leaky_relu(lin(p, x), 0.2) @ p["u"],
        lambda p, x: jax.nn.leaky_relu(lin(p, x)) @ p["u"],
        X,
    ),
    (
        "activation",
        lambda p, x: jax.nn.silu(lin(p, x)) @ p["u"],
        lambda p, x: jax.nn.gelu(lin(p, x)) @ p["u"],
        X,
    ),
    (
        "activation",
        lambda p, x: jax.nn.log_softmax(lin(p, x)) @ p["u"],
        lambda p, x: jax.nn.softmax(lin(p, x)) @ p["u"],
        X,
    ),
    ("activation", lambda p, x: jnp.clip(lin(p, x), -1, 1) @ p["u"], lambda p, x: lin(p, x) @ p["u"], X),
    ("mask", masked, lambda p, x: jax.nn.softmax(x @ x.T) @ x, X),
    ("operands", lambda p, x: jnp.tanh(lin(p, x) - x), lambda p, x: jnp.tanh(lin(p, x) + x), X),
    (
        "selection",
        lambda p, x: p["e"][jnp.argmax(lin(p, x), 1)],
        lambda p, x: p["e"][jnp.argmin(lin(p, x), 1)],
        X,
    ),
    (
        "axis",
        lambda p, x: jnp.tanh(jnp.cumsum(lin(p, x), 0)),
        lambda p, x: jnp.tanh(jnp.cumsum(lin(p, x), 1)),
        X,
    ),
    ("scale", lambda p, i: jnp.tanh(p["e"][i] * 6**0.5), lambda p, i: jnp.tanh(p["e"][i]), IDS),
]


@pytest.mark.parametrize(("name", "reference", "candidate", "x"), FAULTS)
def test_cause_of_a_fault_between_two_jax_programs(
    name: str, reference: Any, candidate: Any, x: np.ndarray
) -> None:
    cause = first_fault(reference, candidate, P, x)[2]
    assert cause is not None
    assert cause.name == name, cause
