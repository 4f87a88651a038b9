"""Where the code is wrong, what names, shapes and uses say of weights and inputs may mislead."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from torch import nn

import parity
from tests.kit.inputs import normal
from tests.kit.weights import randomise, weights


class Transitions(nn.Module):
    """A recursion over a square matrix of scores, as a conditional random field's."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.zeros(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        alpha = x[:, 0]
        for t in range(1, x.shape[1]):
            alpha = torch.logsumexp(alpha[:, :, None] + self.scores, 1) + x[:, t]
        return torch.logsumexp(alpha, 1) + self.scores[0, 1]


def recursion(params: Any, x: jax.Array) -> jax.Array:
    alpha = x[:, 0]
    for t in range(1, x.shape[1]):
        scores = alpha[:, :, None] + params["scores"].T  # FAULT
        alpha = jax.nn.logsumexp(scores, 1) + x[:, t]
    return jax.nn.logsumexp(alpha, 1) + params["scores"][0, 1]


def test_converted_params_are_not_blamed_for_a_matrix_that_the_code_transposes() -> None:
    reference = randomise(Transitions())
    params = dict(weights(reference))
    report = parity.check(reference, recursion, {"x": normal(3, 5, 4)}, weights=parity.Weights(params=params))
    assert report.verdict is parity.Verdict.FAIL
    assert not report.failures("weights"), str(report)
    first = report.divergences[0]
    assert "# FAULT" in first.candidate[0].code, str(report)


def test_an_input_of_equal_axes_is_not_turned_because_the_code_is_wrong() -> None:
    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(5, 3), nn.Linear(5, 4)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"error": (y[..., None] - self.first(x)).abs(), "classes": self.second(x).cumsum(1)}

    def port(params: Any, x: jax.Array, y: jax.Array) -> dict[str, jax.Array]:
        first = x @ params["first"]["kernel"] + params["first"]["bias"]
        error = jnp.maximum(first - y[..., None], 0)  # FAULT
        classes = x @ params["second"]["kernel"] + params["second"]["bias"]
        return {"error": error, "classes": jnp.cumsum(classes, 1)}

    reference = randomise(Heads())
    t = weights(reference)
    params = {
        name: {"kernel": t[f"{name}.weight"].T, "bias": t[f"{name}.bias"]} for name in ("first", "second")
    }
    inputs = {"x": normal(3, 5, 5), "y": normal(3, 5)}
    report = parity.check(reference, port, inputs, weights=parity.Weights(params=params))
    assert report.verdict is parity.Verdict.FAIL
    assert not any("axes" in finding for finding in report.findings), report.findings
    assert any("# FAULT" in place.code for place in report.divergences[0].candidate), str(report)
    assert [q.name for q in report.failures("forward") if "classes" in q.name] == [], str(report)


class Stacked(nn.Module):
    """Two square matrices in one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.zeros(2, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for kernel in self.kernels:
            x = torch.tanh(x @ kernel)
        return x


def layered(params: Any, x: jax.Array) -> jax.Array:
    for name in ("one", "two"):
        x = jnp.sin(x @ params[name])  # FAULT
    return x


def test_an_undecided_plan_is_a_verdict_with_doubts_and_nothing_to_convert_with() -> None:
    shapes = {name: jax.ShapeDtypeStruct((4, 4), jnp.float32) for name in ("one", "two")}
    arguments = (randomise(Stacked()), layered, {"x": normal(3, 4)})
    wishes = parity.Weights(template=shapes)
    report = parity.check(*arguments, weights=wishes)
    assert report.verdict is parity.Verdict.FAIL
    assert report.doubts
    with pytest.raises(parity.WeightError, match=r"more than one way[\s\S]*pins="):
        parity.plan_weights(*arguments, weights=wishes)
