"""Weights in int8 with a scale, which the forward pass makes floating again: on both sides, or on one."""

import copy
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn

import parity
from parity.report.results import Report, Verdict
from tests.kit.inputs import normal
from tests.kit.weights import randomise

QUICK = parity.Settings(finite_differences=False, localise=False)
LAYERS = ("fc", "head")
X = {"x": normal(3, 6)}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.fc(x)))


class Quantised(nn.Module):
    """A linear layer in int8, its scale for all of it or for each output."""

    def __init__(self, layer: nn.Linear, per_channel: bool) -> None:
        super().__init__()
        numbers, scale = quantised(layer, per_channel)
        self.register_buffer("weight", torch.tensor(numbers))
        self.register_buffer("scale", torch.tensor(scale))
        self.bias = layer.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def quantised(layer: nn.Linear, per_channel: bool) -> tuple[np.ndarray, np.ndarray]:
    kernel = layer.weight.detach().numpy()
    scale = np.abs(kernel).max(axis=1 if per_channel else None, keepdims=True) / 127
    return np.round(kernel / scale).astype(np.int8), scale.astype(np.float32)


def in_int8(net: Net, per_channel: bool) -> nn.Module:
    new = copy.deepcopy(net)
    for name in LAYERS:
        setattr(new, name, Quantised(getattr(net, name), per_channel))
    return new


def params_of(net: Net, per_channel: bool) -> dict[str, Any]:
    params = {}
    for name in LAYERS:
        numbers, scale = quantised(getattr(net, name), per_channel)
        bias = getattr(net, name).bias.detach().numpy()
        params[name] = {"kernel": numbers.T, "scale": scale.reshape(-1 if per_channel else ()), "bias": bias}
    return params


def made_floating(net: Net, per_channel: bool) -> Net:
    new = copy.deepcopy(net)
    for name in LAYERS:
        numbers, scale = quantised(getattr(net, name), per_channel)
        getattr(new, name).weight.data = torch.tensor(numbers * scale)
    return new


def port(params: Any, x: jax.Array, factor: float = 1.0) -> jax.Array:
    def linear(own: Any, x: jax.Array) -> jax.Array:
        return x @ (own["kernel"].astype(x.dtype) * own["scale"] * factor) + own["bias"]

    return linear(params["head"], jax.nn.relu(linear(params["fc"], x)))


def floating(params: Any, x: jax.Array) -> jax.Array:
    h = jax.nn.relu(x @ params["fc"]["kernel"] + params["fc"]["bias"])
    return h @ params["head"]["kernel"] + params["head"]["bias"]


def checked(reference: nn.Module, candidate: Any, params: Any) -> Report:
    return parity.check(reference, candidate, X, weights=parity.Weights(params=params), settings=QUICK)


def with_a_row_rolled(params: Any) -> Any:
    return {**params, "fc": {**params["fc"], "kernel": np.roll(params["fc"]["kernel"], 1, 0)}}


@pytest.mark.parametrize("per_channel", [False, True])
def test_both_sides_in_int8(per_channel: bool) -> None:
    net = randomise(Net())
    reference, params = in_int8(net, per_channel), params_of(net, per_channel)
    assert checked(reference, port, params).verdict is Verdict.PASS
    assert checked(reference, port, with_a_row_rolled(params)).verdict is Verdict.FAIL
    assert checked(reference, lambda p, x: port(p, x, 1.01), params).verdict is Verdict.FAIL


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_candidate_alone_in_int8(per_channel: bool) -> None:
    net = randomise(Net())
    params = params_of(net, per_channel)
    report = checked(made_floating(net, per_channel), port, params)
    assert report.verdict is Verdict.PASS
    assert any(line.startswith("weight fc/scale by itself") for line in report.not_checked)
    assert checked(made_floating(net, per_channel), port, with_a_row_rolled(params)).verdict is Verdict.FAIL
    assert checked(net, port, params).verdict is Verdict.FAIL  # before it was quantised


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_reference_alone_in_int8(per_channel: bool) -> None:
    net = randomise(Net())
    params = {
        name: {"kernel": own["kernel"] * own["scale"], "bias": own["bias"]}
        for name, own in params_of(net, per_channel).items()
    }
    report = checked(in_int8(net, per_channel), floating, params)
    assert report.verdict is Verdict.PASS
    assert not any("scale" in line for line in report.findings)  # a scale is no kernel of another shape


def test_a_reference_of_jax_in_int8() -> None:
    net = randomise(Net())
    weights = parity.Weights(reference_params=jax.tree.map(jax.numpy.asarray, params_of(net, True)))
    report = parity.check(port, in_int8(net, True), X, weights=weights, settings=QUICK)
    assert report.verdict is Verdict.PASS
