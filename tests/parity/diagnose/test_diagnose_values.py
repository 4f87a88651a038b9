"""The diagnosis of values: constants, activations, terms, norms, sums, with one planted fault each."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.diagnose.diagnosed import cause_of, numbers, report_of

F = nn.functional

W = {"w": numbers(5, 7), "v": numbers(7, 3)}
X = numbers(9, 5)


def through(function: Any) -> Any:
    """Two linear layers with a function in between."""
    return lambda p, x: function(x @ p["w"]) @ p["v"]


@pytest.mark.parametrize(
    ("reference", "candidate", "names", "words"),
    [
        (F.gelu, jax.nn.gelu, {"activation"}, ["GELU (erf)", "GELU (tanh approximation)"]),
        (F.mish, jax.nn.softplus, {"activation"}, ["mish", "softplus"]),
        (lambda h: F.relu6(4 * h), lambda h: jax.nn.relu(4 * h), {"activation"}, ["ReLU6", "JAX ReLU"]),
        (lambda h: F.softplus(h, 3), jax.nn.softplus, {"activation"}, ["softplus of beta 3", "JAX softplus"]),
        (
            lambda h: h * torch.sigmoid(1.702 * h),
            jax.nn.silu,
            {"activation"},
            ["sigmoid approximation", "SiLU"],
        ),
        (lambda h: F.leaky_relu(h, 0.2), jax.nn.leaky_relu, {"constant", "activation"}, ["0.2", "0.01"]),
        (F.silu, lambda h: h, {"activation"}, ["SiLU", "JAX none"]),
        (lambda h: h, jnp.tanh, {"activation"}, ["tanh", "leave it out"]),
        (lambda h: F.log_softmax(h, -1), jax.nn.softmax, {"activation"}, ["log"]),
        (lambda h: F.softmax(h, 1), lambda h: jax.nn.softmax(h, 0), {"activation"}, ["axis 1", "axis 0"]),
    ],
)
def test_activations_are_named_on_both_sides(
    reference: Any, candidate: Any, names: set[str], words: Any
) -> None:
    cause = cause_of(through(reference), through(candidate), W, X)
    assert cause is not None
    assert cause.name in names, cause
    assert all(word in cause.text for word in words), cause
    assert cause.residual < 1e-12


def layer_norm(x: Any, eps: float = 1e-5, ddof: int = 0, centred: bool = True, axis: int = -1) -> Any:
    mean = x.mean(axis, keepdims=True) if centred else 0.0
    count = x.shape[axis] - ddof
    return (x - mean) / jnp.sqrt(((x - mean) ** 2).sum(axis, keepdims=True) / count + eps)


NORM = {"scale": numbers(6), "bias": numbers(6, seed=1)}


@pytest.mark.parametrize(
    ("changed", "name", "words"),
    [
        ({"eps": 1e-6}, "epsilon", ["1e-06", "1e-05"]),
        ({"ddof": 1}, "variance correction", ["5", "6"]),
        ({"axis": 1}, "axis", ["(2,)", "(1,)"]),
        ({"centred": False}, "missing term", ["mean"]),
    ],
)
def test_a_layer_norm_with_one_setting_changed(changed: Any, name: str, words: list[str]) -> None:
    cause = cause_of(
        lambda p, x: F.layer_norm(x, (6,), p["scale"], p["bias"]),
        lambda p, x: layer_norm(x, **changed) * p["scale"] + p["bias"],
        NORM,
        numbers(4, 6, 6),
    )
    assert cause is not None
    assert cause.name == name, cause
    assert all(word in cause.text for word in words), cause


def test_a_group_norm_with_other_groups() -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return layer_norm(x.reshape(2, 2, -1)).reshape(x.shape) * p["scale"][:, None]

    cause = cause_of(
        lambda p, x: F.group_norm(x, 3) * p["scale"][:, None],
        candidate,
        {"scale": numbers(6)},
        numbers(2, 6, 5),
    )
    assert cause is not None
    assert cause.name == "groups", cause
    assert "3 groups of 2" in cause.text
    assert "2 groups of 3" in cause.text


def test_batch_statistics_for_kept_ones() -> None:
    kept = {**NORM, "mean": numbers(6, seed=2), "var": numbers(6, seed=3) ** 2 + 0.5}

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        return (x - p["mean"]) / torch.sqrt(p["var"] + 1e-5) * p["scale"] + p["bias"]

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        return layer_norm(x, axis=0) * p["scale"] + p["bias"] + 0 * (p["mean"] + p["var"])

    cause = cause_of(reference, candidate, kept, numbers(7, 6))
    assert cause is not None
    assert cause.name == "statistics", cause


ATTENTION = {"q": numbers(8, 8), "k": numbers(8, 8, seed=1)}


def torch_attention(p: Any, x: torch.Tensor) -> torch.Tensor:
    return ((x @ p["q"]) @ (x @ p["k"]).mT / 4**0.5).softmax(-1) @ x


@pytest.mark.parametrize("factor", [8**0.5, 1.0, 4.0])
def test_another_scale_of_the_scores(factor: float) -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        scores = (x @ p["q"]) @ (x @ p["k"]).swapaxes(1, 2)
        return jax.nn.softmax(scores if factor == 1 else scores / factor) @ x

    cause = cause_of(torch_attention, candidate, ATTENTION, numbers(2, 5, 8))
    assert cause is not None
    assert cause.name == "scale", cause
    assert ("2" if factor != 1 else "0.5") in cause.text


BIAS = {"w": numbers(5, 7), "b": numbers(7), "v": numbers(7, 3)}


@pytest.mark.parametrize(
    ("reference", "candidate", "name", "word"),
    [
        (lambda p, x: x @ p["w"] + p["b"], lambda p, x: x @ p["w"] + 0 * p["b"], "missing term", "b"),
        (lambda p, x: (x @ p["w"]) * p["b"], lambda p, x: x @ p["w"] + 0 * p["b"], "missing term", "b"),
        (
            lambda p, x: (x @ p["w"]) * (1 + p["b"]),
            lambda p, x: (x @ p["w"]) * p["b"],
            "missing term",
            "1 + b",
        ),
        (lambda p, x: x @ p["w"] + 0 * p["b"], lambda p, x: x @ p["w"] + p["b"], "extra term", "add"),
        (lambda p, x: (x @ p["w"] - 1) * p["b"], lambda p, x: (x @ p["w"] - 2) * p["b"], "constant", "2"),
    ],
)
def test_terms_and_factors(reference: Any, candidate: Any, name: str, word: str) -> None:
    cause = cause_of(
        lambda p, x: torch.tanh(reference(p, x)) @ p["v"],
        lambda p, x: jnp.tanh(candidate(p, x)) @ p["v"],
        BIAS,
        X,
    )
    assert cause is not None
    assert cause.name == name, cause
    assert word in cause.text


@pytest.mark.parametrize(
    ("reference", "candidate", "name", "words"),
    [
        (lambda h: h.mean(1), lambda h: h.sum(1), {"reduction"}, ["mean"]),
        (lambda h: h.amax(1), lambda h: h.mean(1), {"reduction"}, ["largest"]),
        (lambda h: h.std(1), lambda h: h.std(1), {"variance correction"}, ["3", "4"]),
        (lambda h: h.mean(1), lambda h: h.mean(2), {"axis"}, [""]),
        (lambda h: h.cumsum(1), lambda h: jnp.flip(jnp.cumsum(jnp.flip(h, 1), 1), 1), {"order"}, [""]),
    ],
)
def test_sums_and_means(reference: Any, candidate: Any, name: set[str], words: list[str]) -> None:
    cause = cause_of(
        lambda p, x: reference(torch.tanh(x @ p["w"])) @ p["w"],
        lambda p, x: candidate(jnp.tanh(x @ p["w"])) @ p["w"],
        {"w": numbers(4, 4)},
        numbers(3, 4, 4),
        layout={"input_0": (0, 1, 2)},  # any permutation of the last two axes would fit
    )
    assert cause is not None
    assert cause.name in name, cause
    assert all(word in cause.text for word in words), cause


def test_a_value_rounded_on_the_way() -> None:
    cause = cause_of(
        lambda p, x: torch.tanh(3 * x) @ p["w"],
        lambda p, x: jnp.tanh((3 * x).astype(jnp.bfloat16).astype(x.dtype)) @ p["w"],
        {"w": numbers(5, 7)},
        X,
    )
    assert cause is not None
    assert (cause.name, "bfloat16" in cause.text) == ("dtype", True), cause


def test_nothing_is_named_where_nothing_matches() -> None:
    report = report_of(
        lambda p, x: torch.sin(1.3 * torch.cos(x @ p["w"]) ** 3 + 0.2 * x),
        lambda p, x: jnp.tanh(0.7 * jnp.exp(-x @ p["w"]) + jnp.sqrt(jnp.abs(x))),
        {"w": numbers(6, 6)},
        numbers(4, 6),
    )
    assert report.divergences
    assert all(divergence.cause is None for divergence in report.divergences), report.divergences


def test_two_faults_get_a_cause_each() -> None:
    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(torch.sin(F.layer_norm(x, (6,), eps=1e-5)) @ p["w"] + p["b"])
        return F.gelu(h @ p["w"])

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(jnp.sin(layer_norm(x, 1e-6)) @ p["w"] + p["b"])
        return jax.nn.gelu(h @ p["w"], approximate=True)

    report = report_of(reference, candidate, {"w": numbers(6, 6), "b": numbers(6)}, numbers(4, 6))
    causes = [divergence.cause.name for divergence in report.divergences if divergence.cause is not None]
    assert causes == ["epsilon", "activation"], report.divergences


def test_a_wrong_gradient_rule_is_told_from_a_wrong_value() -> None:
    cause = cause_of(
        lambda p, x: torch.relu(x + p["b"]) * 2,
        lambda p, x: jnp.maximum(x + p["b"], 0) * 2,
        {"b": np.zeros(6, np.float32)},
        np.round(numbers(9, 6)),
    )
    assert cause is not None
    assert cause.name == "gradient rule"
    assert "where" in cause.text


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (lambda table: table, ["index 0 of axis 0 PyTorch's gradient is zero", "padding_idx"]),
        (
            lambda table: table.at[:, 2:].set(jax.lax.stop_gradient(table[:, 2:])),
            ["index 2, 3 of axis 1 JAX's gradient is zero"],
        ),
    ],
)
def test_a_part_of_a_weight_kept_out_of_training_is_told(candidate: Any, words: list[str]) -> None:
    padding = 0 if "padding_idx" in words else None
    cause = cause_of(
        lambda p, ids: torch.tanh(F.embedding(ids, p["table"], padding_idx=padding)),
        lambda p, ids: jnp.tanh(candidate(p["table"])[ids]),
        {"table": numbers(7, 4)},
        np.array([[0, 1, 2], [3, 0, 6]]),
    )
    assert cause is not None
    assert cause.name == "gradient rule"
    assert all(word in cause.text for word in words), cause


def test_a_gradient_that_is_no_number_in_a_part_is_not_kept_out_of_training() -> None:
    x = numbers(4, 6)
    x[1] = 0
    cause = cause_of(
        lambda p, x: torch.linalg.vector_norm(x * p["gain"], dim=-1),
        lambda p, x: jnp.linalg.norm(x * p["gain"], axis=-1),
        {"gain": np.ones(6, np.float32)},
        x,
    )
    assert cause is not None
    assert cause.name == "gradient rule"
    assert "at a zero, where the derivative is not defined" in cause.text


def test_a_cast_of_a_weight_is_told_and_not_taken_for_another_weight() -> None:
    def candidate(p: Any, x: jax.Array) -> jax.Array:
        bias = jnp.broadcast_to(p["b"].astype(jnp.bfloat16).astype(x.dtype), (len(x), 7))
        return jnp.tanh(x @ p["w"] + bias)

    weights = {"w": numbers(5, 7), "b": numbers(7), "c": numbers(7)}
    cause = cause_of(lambda p, x: torch.tanh(x @ p["w"] + p["b"]) + 0 * p["c"], candidate, weights, X)
    assert cause is not None
    assert cause.name == "dtype", cause
    assert "cast" in cause.text, cause


def test_a_weight_in_place_of_a_mean_is_no_statistic() -> None:
    params = {"w": numbers(5, 7), "scale": numbers(7), "shift": numbers(7, seed=3)}

    def reference(p: Any, x: torch.Tensor) -> torch.Tensor:
        h = x @ p["w"]
        centred = h - h.mean(0)
        return centred / (h.var(0, correction=0) + 1e-5).sqrt() * p["scale"] + p["shift"]

    def candidate(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["w"]
        centred = h - p["shift"]
        return centred / jnp.sqrt(h.var(0) + 1e-5) * p["scale"] + p["shift"]

    cause = cause_of(reference, candidate, params, X)
    assert cause is not None
    assert cause.name in ("operands", "swapped weights")
    assert "shift" in cause.text
