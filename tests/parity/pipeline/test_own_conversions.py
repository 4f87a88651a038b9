"""Params that the user converted, and no plan explains: used as given, judged by what is computed."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.report.results import Report, Stage, Verdict
from tests.kit.inputs import integers, normal
from tests.kit.weights import randomise, shapes, weights

QUICK = parity.Settings(finite_differences=False, localise=False)


def checked(module: nn.Module, apply: Any, params: Any, x: Any) -> Report:
    return parity.check(module, apply, {"x": x}, weights=parity.Weights(params=params), settings=QUICK)


def folded(wrong: float = 0.0) -> tuple[nn.Module, Any, Any, Any]:
    module = randomise(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 4))).eval()
    w = weights(module)
    scale = w["1.weight"] / np.sqrt(w["1.running_var"] + 1e-5)
    bias = (w["0.bias"] - w["1.running_mean"]) * scale + w["1.bias"]
    params = {
        "first": {"kernel": (w["0.weight"] * scale[:, None]).T, "bias": bias + np.float32(wrong)},
        "head": {"kernel": w["3.weight"].T, "bias": w["3.bias"]},
    }

    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["first"]["kernel"] + p["first"]["bias"])
        return h @ p["head"]["kernel"] + p["head"]["bias"]

    return module, apply, params, normal(3, 6)


def test_a_norm_folded_into_a_kernel() -> None:
    report = checked(*folded())
    assert report.verdict is Verdict.PASS
    judged = {q.candidate_name for q in report.quantities if q.stage is Stage.WEIGHTS}
    assert judged == {"head/kernel", "head/bias"}
    assert any(
        "first/kernel" in line and "compared by what is computed" in line for line in report.not_checked
    )


def test_a_norm_folded_wrongly() -> None:
    assert checked(*folded(wrong=1e-3)).verdict is Verdict.FAIL


def embedded(rows: int) -> tuple[nn.Module, Any, Any, Any]:
    module = randomise(nn.Sequential(nn.Embedding(11, 6), nn.Tanh(), nn.Linear(6, 4)))
    w = weights(module)
    table = np.concatenate([w["0.weight"], np.zeros((5, 6), np.float32)])[:rows]
    params = {"table": table, "kernel": w["2.weight"].T, "bias": w["2.bias"]}

    def apply(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(p["table"][x]) @ p["kernel"] + p["bias"]

    return module, apply, params, integers(10, 2, 5)


def test_a_padded_vocabulary() -> None:
    report = checked(*embedded(16))
    assert report.verdict is Verdict.PASS
    assert any("'0.weight' (11, 6) and 'table' (16, 6): 5 longer" in line for line in report.findings)


def test_a_row_lost_fails_with_both_shapes_even_where_it_is_not_read() -> None:
    report = checked(*embedded(10))
    assert report.verdict is Verdict.FAIL
    assert [q.notes for q in report.failures()] == [
        ("'0.weight' (11, 6) and 'table' (10, 6): 1 shorter along axis 0",)
    ]


def test_weight_norm_merged() -> None:
    linear = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
    module = randomise(nn.Sequential(linear, nn.Tanh()))
    with torch.no_grad():
        params = {"kernel": linear.weight.numpy().T, "bias": linear.bias.numpy()}
    report = checked(module, lambda p, x: jnp.tanh(x @ p["kernel"] + p["bias"]), params, normal(4, 6))
    assert report.verdict is Verdict.PASS


def test_a_guess_of_why_a_weight_has_no_partner() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block, self.out = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.block(torch.tanh(self.block(x))))

    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = jnp.tanh(x @ p["block"]["w"] + p["block"]["b"]) @ p["block_copy"]["w"] + p["block_copy"]["b"]
        return h @ p["out"]["w"] + p["out"]["b"]

    square, out = {"w": (5, 5), "b": (5,)}, {"w": (5, 2), "b": (2,)}
    template = shapes({"block": square, "block_copy": dict(square), "out": out})
    guess = re.escape("'block_copy/w' is like 'block/w', partner of 'block.weight'")
    with pytest.raises(parity.WeightError, match=guess):
        parity.check(Twice(), apply, {"x": normal(4, 5)}, weights=parity.Weights(template=template))
