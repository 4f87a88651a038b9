"""Right pairs and bad input that a careless harness gets wrong: scalars, kinks, infinities, empty batches."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import parity
from parity.report.results import Verdict
from tests.kit.errors import told


def test_zero_dimensional_parameters_and_tensors_made_in_forward() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.scale * x + torch.linspace(0, 1, x.shape[1]) * torch.tensor(0.1)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return params["scale"] * x + jnp.linspace(0, 1, x.shape[1]) * 0.1

    x = np.random.default_rng(0).standard_normal((3, 5))
    report = parity.check(Scaled(), port, {"x": x}, weights=parity.Weights(template={"scale": jnp.zeros(())}))
    assert report.verdict is Verdict.PASS, str(report)


def test_outputs_in_another_order_of_keys_are_the_same(pair: Any) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = pair.reference

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            out = self.inner(x)
            return {"value": out[:, 1:], "logits": out[:, :2]}

    def port(params: Any, x: jax.Array) -> dict[str, jax.Array]:
        out = pair.candidate(params, x)
        return {"logits": out[:, :2], "value": out[:, 1:]}

    template = {"hidden": pair.template["hidden"], "output": pair.template["output"]}
    pins = {"0.weight": "hidden/kernel", "2.weight": "output/kernel"}
    renamed = {f"inner.{name}": path for name, path in pins.items()}
    report = parity.check(Two(), port, pair.inputs, weights=parity.Weights(template=template, pins=renamed))
    assert report.verdict is Verdict.PASS, str(report)


def test_a_loss_with_a_kink_at_the_weights_is_no_fault() -> None:
    module = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    nn.init.zeros_(module[0].bias)

    def port(params: Any, x: jax.Array) -> jax.Array:
        h = jax.nn.relu(x @ params["a"]["kernel"] + params["a"]["bias"])
        return h @ params["b"]["kernel"] + params["b"]["bias"]

    template = {
        "a": {"kernel": jnp.zeros((8, 16)), "bias": jnp.zeros(16)},
        "b": {"kernel": jnp.zeros((16, 3)), "bias": jnp.zeros(3)},
    }
    x = np.random.default_rng(0).standard_normal((5, 8))
    x[-1] = 0  # a padded row: every unit of the first layer is exactly at its kink
    report = parity.check(module, port, {"x": x}, weights=parity.Weights(template=template))
    assert report.verdict is Verdict.PASS, str(report)


def test_nnx_modules_with_random_streams() -> None:
    class Net(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(6, 3, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.dropout(self.first(x))

    module = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)).eval()
    net = Net(nnx.Rngs(0))
    net.eval()
    x = np.random.default_rng(0).standard_normal((4, 6))
    report = parity.check(module, net, {"x": x})
    assert report.verdict is Verdict.PASS, str(report)


@pytest.mark.parametrize("fault", [1.0, 0.0])
def test_equal_infinities_never_pass_and_never_hide_a_fault(pair: Any, fault: float) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = pair.reference

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x).masked_fill(torch.eye(7, 3, dtype=torch.bool), -torch.inf)

    def port(params: Any, x: jax.Array) -> jax.Array:
        return jnp.where(jnp.eye(7, 3, dtype=bool), -jnp.inf, fault + pair.candidate(params, x))

    pins = {"inner.0.weight": "hidden/kernel"}
    report = pair.check(
        reference=Masked(),
        candidate=port,
        settings=parity.Settings(finite_differences=False),
        weights=parity.Weights(template=pair.template, pins=pins),
    )
    assert report.error is None
    output = next(q for q in report.select("forward", "float64") if q.name == "output")
    assert output.verdict is (Verdict.FAIL if fault else Verdict.INCONCLUSIVE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtypes": []}, "at least one of"),
        ({"dtypes": "float64"}, "must be a list"),
        ({"loss": (nn.functional.cross_entropy, None)}, "both functions"),
        ({"layout": {"img": (0, 1)}}, "`layout` names img"),
        ({"inputs": {"x": np.full((7, 6), 1e40)}}, "beyond float32"),
        ({"inputs": np.zeros((7, 6))}, "one array; name it"),
        ({"candidate": lambda p, x: (x, "text"), "loss": None}, "output '1' is of type str"),
    ],
)
def test_more_bad_input(pair: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        pair.check(**changes)
    assert message in told(caught.value)


def test_an_empty_batch_compares_nothing(pair: Any) -> None:
    report = parity.check(
        pair.reference,
        lambda p, x: 2 * pair.candidate(p, x),
        {"x": np.zeros((0, 6))},
        weights=parity.Weights(template=pair.template),
    )
    assert report.verdict is Verdict.INCONCLUSIVE


def test_a_bias_that_torch_has_at_zero_and_the_port_has_not(pair: Any, converted: dict[str, Any]) -> None:
    nn.init.zeros_(pair.reference[2].bias)
    converted["output"]["bias"] = np.ones(3, np.float32)
    assert [q.name for q in pair.check(weights=parity.Weights(params=converted)).failures("weights")] == [
        "2.bias"
    ]


@pytest.mark.parametrize("number", [0.79788456, math.sqrt(2 / math.pi)])
def test_numbers_that_are_one_float32_are_told_apart_by_the_other_side(number: float) -> None:
    def module(params: Any, x: torch.Tensor) -> torch.Tensor:
        return x * torch.tanh(number * params["w"] * x)

    report = parity.check(
        module,
        lambda params, x: x * jnp.tanh(0.79788456 * params["w"] * x),
        {"x": np.random.default_rng(0).standard_normal((3, 5))},
        weights=parity.Weights(template={"w": jnp.zeros(5)}, reference_params={"w": torch.rand(5)}),
    )
    assert report.verdict is Verdict.PASS, str(report)


def test_a_frozen_table_may_be_a_constant_of_the_port_and_is_said() -> None:
    def sinusoids() -> np.ndarray:
        angles = np.arange(12)[:, None] / 100.0 ** (np.arange(4) / 4)
        return np.concatenate([np.sin(angles), np.cos(angles)], 1)

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(12, 8)
            self.table.weight = nn.Parameter(torch.tensor(sinusoids(), dtype=torch.float32), False)
            self.head = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.table(torch.arange(x.shape[1])))

    def port(params: Any, x: jax.Array, scale: float = 1.0) -> jax.Array:
        x = x + scale * jnp.asarray(sinusoids(), jnp.float32)[: x.shape[1]]
        return x @ params["head"]["kernel"] + params["head"]["bias"]

    template = {"head": {"kernel": jnp.zeros((8, 3)), "bias": jnp.zeros(3)}}
    x = {"x": np.random.default_rng(0).standard_normal((2, 6, 8))}
    report = parity.check(Positions(), port, x, weights=parity.Weights(template=template))
    assert report.verdict is Verdict.PASS, str(report)
    assert any("table.weight" in line for line in report.not_checked)
    wrong = parity.check(
        Positions(), lambda p, x: port(p, x, 1.01), x, weights=parity.Weights(template=template)
    )
    assert wrong.verdict is Verdict.FAIL


class TwoHeads(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        h = torch.relu(self.a(x))
        return self.b(h), h.mean(1)


def test_an_output_that_is_not_returned_is_the_fault_and_no_gradient() -> None:
    def one_head(p: Any, x: jax.Array) -> tuple[jax.Array]:
        h = jax.nn.relu(x @ p["a"]["kernel"] + p["a"]["bias"])
        return (h @ p["b"]["kernel"] + p["b"]["bias"],)

    shapes = {"a": (4, 6), "b": (6, 3)}
    template = {name: {"kernel": np.zeros(s), "bias": np.zeros(s[1])} for name, s in shapes.items()}
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    report = parity.check(TwoHeads(), one_head, (x,), weights=parity.Weights(template=template))
    assert report.verdict is parity.Verdict.FAIL
    assert not report.divergences, str(report)
    assert "first output 1: only the PyTorch side has it" in " ".join(str(report).split())
