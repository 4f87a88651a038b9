"""Verdicts on pairs that compute in bfloat16: what is written decides where numbers alone cannot."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import parity
from tests.roundings.declare import Case, cases, narrow

ALL = {case.id: case for case in cases()}

QUICK = [
    *("root mean square/flax", "root mean square/narrow", "attention/by hand", "attention/narrow softmax"),
    *("attention of the kernel/narrow", "layer norm/fast", "layer norm/narrow", "gated/in one", "gated/wide"),
    *("rotary/halves", "rotary/narrow angles", "recurrent/scan", "recurrent/wide state", "capped/narrow sum"),
    *("convolution/cast last", "sum/product", "sum/narrow dtype", "sum of the kernel/scan"),
    *("gradient of a norm/checkpointed", "gradient of a norm/narrow", "gradient of a softmax/narrow"),
    *("gradient of an embedding/one hot", "gradient of an embedding/narrow", "gradient over steps/scan"),
    *("gradient over steps/summed in float32", "gradient of a loss/logsumexp", "experts/linen"),
]
"""The part that always runs; the others are `whole`, and `python -m tests.roundings` prints them all."""


def some(right: bool) -> list[Any]:
    quick = {f"{name}/bfloat16" for name in QUICK}
    return [
        pytest.param(case, id=case.id, marks=() if case.id in quick else (pytest.mark.whole,))
        for case in ALL.values()
        if case.right is right
    ]


def test_the_quick_part_is_there() -> None:
    assert {f"{name}/bfloat16" for name in QUICK} <= ALL.keys()


@pytest.mark.parametrize("case", some(right=True))
def test_a_right_port_passes(case: Case) -> None:
    report = case.report()
    assert case.dtype in report.dtypes
    assert report.verdict is parity.Verdict.PASS, str(report)
    assert not [line for line in report.not_checked if "round in" in line]


@pytest.mark.parametrize("case", some(right=False))
def test_what_changes_more_than_one_rounding_is_found(case: Case) -> None:
    report = case.report()
    assert report.verdict is parity.Verdict.FAIL, str(report)
    assert report.divergences


def test_one_rounding_more_or_less_is_no_fault() -> None:
    def late(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x.astype(jnp.float32)
        h = h * jax.lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + 1e-6)
        return (p["w"] * h).astype(narrow()) @ p["k"]

    given = ALL["root mean square/plain/bfloat16"].arguments()
    assert parity.check(**{**given, "candidate": late}).verdict is parity.Verdict.PASS


def test_the_place_is_the_line_that_rounds() -> None:
    report = ALL["root mean square/narrow/bfloat16"].report()
    first = report.divergences[0]
    assert "jnp.mean(x * x" in first.candidate[0].code
    assert "JAX rounds this value to bfloat16, PyTorch does not" in report.sides.named(first.detail)


def test_what_the_backward_pass_alone_rounds_fails_the_gradients_with_its_line() -> None:
    report = ALL["gradient of an embedding/narrow/bfloat16"].report()
    failed = {q.group for q in report.quantities if q.verdict is parity.Verdict.FAIL}
    assert failed == {"gradients"}
    assert report.divergences[0].stage == "gradients"
    assert "in the backward pass of a run in bfloat16" in report.divergences[0].detail


@pytest.mark.parametrize(
    "name", ["layer norm/narrow", "gradient of an embedding/narrow", "gradient of an embedding/take"]
)
def test_two_recordings_say_what_a_check_says(name: str, tmp_path: Path) -> None:
    case = ALL[f"{name}/bfloat16"]
    given, at_once = case.arguments(), case.report()
    weights = given["weights"]
    own = dataclasses.replace(weights, reference_params=None)
    parity.record(
        tmp_path / "one",
        given["reference"],
        inputs=given["inputs"],
        weights=parity.Weights(reference_params=weights.reference_params),
    )
    parity.record(tmp_path / "other", candidate=given["candidate"], against=tmp_path / "one", weights=own)
    apart = parity.compare(tmp_path / "one", tmp_path / "other")
    live = parity.compare(tmp_path / "one", {"candidate": given["candidate"], "weights": own})
    for report in (apart, live):
        assert report.verdict is at_once.verdict
        assert [d.detail for d in report.divergences] == [d.detail for d in at_once.divergences]
        assert [d.candidate for d in report.divergences] == [d.candidate for d in at_once.divergences]
        assert not [line for line in report.not_checked if "round in" in line]


def test_a_recording_that_does_not_say_it_is_compared_without(tmp_path: Path) -> None:
    given = ALL["layer norm/narrow/bfloat16"].arguments()
    weights = parity.Weights(reference_params=given["weights"].reference_params)
    own = dataclasses.replace(given["weights"], reference_params=None)
    parity.record(tmp_path / "one", given["reference"], inputs=given["inputs"], weights=weights)
    for path in (tmp_path / "one").glob("held-bfloat16-gradients*"):
        path.unlink()
    older = tmp_path / "one" / "held-bfloat16-forward.json"
    older.write_text(json.dumps({**json.loads(older.read_text()), "format": 0}))
    report = parity.compare(tmp_path / "one", {"candidate": given["candidate"], "weights": own})
    assert report.verdict is parity.Verdict.PASS, str(report)
    said = [line for line in report.not_checked if "where both sides round in bfloat16" in line]
    assert ["another version of parity" in line for line in said] == [True, False]
    assert all("record it again" in line for line in said)


@pytest.mark.parametrize("narrowed", [False, True])
def test_a_program_in_float64_is_judged_as_it_runs(narrowed: bool) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(5, 3).double()

    def port(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        h = x @ p["w"] + p["b"]
        return jnp.tanh(h.astype(jnp.float32).astype(x.dtype) if narrowed else h)

    with jax.enable_x64(True):
        template = {"w": jnp.zeros((5, 3), jnp.float64), "b": jnp.zeros(3, jnp.float64)}
        report = parity.check(
            torch.nn.Sequential(layer, torch.nn.Tanh()),
            port,
            {"x": np.random.default_rng(0).standard_normal((4, 5))},
            weights=parity.Weights(template=template),
        )
    assert (report.verdict is parity.Verdict.FAIL) is narrowed, str(report)
    if narrowed:
        assert "float32" in report.divergences[0].detail
