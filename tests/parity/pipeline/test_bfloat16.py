"""Verdicts on pairs that compute in bfloat16: what is written decides where numbers alone cannot."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from parity.pipeline import held_precision
from tests.parity.pipeline.narrow_pairs import FAMILIES, Port

RIGHT = [(name, way) for name, family in FAMILIES.items() for way in family.right]
WRONG = [(name, way) for name, family in FAMILIES.items() for way in family.wrong]


def check(name: str, port: Port) -> parity.Report:
    family = FAMILIES[name]
    rng = np.random.default_rng(len(name))
    tensors = {
        key: torch.from_numpy((0.5 * rng.standard_normal(shape)).astype(np.float32)).bfloat16()
        for key, shape in family.shapes.items()
    }
    template = {key: jax.ShapeDtypeStruct(shape, jnp.bfloat16) for key, shape in family.shapes.items()}
    return parity.check(
        family.reference,
        port,
        {"x": rng.standard_normal(family.x).astype(np.float32)},
        weights=parity.Weights(
            reference_params=tensors, template=template, pins={key: key for key in tensors}
        ),
    )


@pytest.mark.parametrize(("name", "way"), RIGHT)
def test_a_right_port_passes(name: str, way: str) -> None:
    report = check(name, FAMILIES[name].right[way])
    assert "bfloat16" in report.dtypes
    assert report.verdict is parity.Verdict.PASS, str(report)


@pytest.mark.parametrize(("name", "way"), WRONG)
def test_what_changes_more_than_one_rounding_is_found(name: str, way: str) -> None:
    report = check(name, FAMILIES[name].wrong[way])
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert report.divergences


def test_one_rounding_more_or_less_is_no_fault() -> None:
    def late(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x.astype(jnp.float32)
        h = h * jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-6)
        return (p["w"] * h).astype(x.dtype) @ p["k"]

    assert check("root mean square", late).verdict is parity.Verdict.PASS


def test_the_place_is_the_line_that_rounds() -> None:
    report = check("root mean square", FAMILIES["root mean square"].wrong["narrow"])
    first = report.divergences[0]
    assert "jnp.mean(x * x" in first.candidate[0].code
    assert "JAX rounds this value to bfloat16, PyTorch does not" in report.sides.named(first.detail)


@pytest.mark.parametrize("narrow", [False, True])
def test_a_program_in_float64_is_judged_as_it_runs(narrow: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3).double()

    def port(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ p["w"] + p["b"]
        return jnp.tanh(h.astype(jnp.float32).astype(x.dtype) if narrow else h)

    with jax.enable_x64(True):
        template = {"w": jnp.zeros((5, 3), jnp.float64), "b": jnp.zeros(3, jnp.float64)}
        report = parity.check(
            torch.nn.Sequential(layer, torch.nn.Tanh()),
            port,
            {"x": np.random.default_rng(0).standard_normal((4, 5))},
            weights=parity.Weights(template=template),
        )
    assert (report.verdict is parity.Verdict.FAIL) is narrow, str(report)
    if narrow:
        assert "float32" in report.divergences[0].detail


def test_values_that_are_too_large_to_keep_do_not_cost_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_precision, "LARGEST", 8)
    report = check("gated", FAMILIES["gated"].right["plain"])
    assert report.verdict is parity.Verdict.PASS
    assert any("where both sides round in bfloat16" in line for line in report.not_checked)
