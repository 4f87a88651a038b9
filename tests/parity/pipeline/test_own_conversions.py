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


def perceptron() -> tuple[nn.Module, dict[str, np.ndarray]]:
    module = randomise(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)))
    return module, weights(module)


def test_a_kernel_in_two_leaves_and_a_bias_in_another_order_of_units() -> None:
    module, w = perceptron()
    order = np.array([3, 0, 5, 1, 4, 2])
    kernel = w["0.weight"][order].T
    params = {"wa": kernel[:2], "wb": kernel[2:], "b": w["0.bias"][order], "head": w["2.weight"][:, order].T}
    params["b2"] = w["2.bias"]

    def apply(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x[:, :2] @ p["wa"] + x[:, 2:] @ p["wb"] + p["b"]) @ p["head"] + p["b2"]

    report = checked(module, apply, params, normal(3, 5))
    assert report.verdict is Verdict.PASS, str(report)
    said = "params hold wa, wb, b, head in another order: the same function"
    assert any(said in line for line in report.findings), report.findings
    wrong = {**params, "b": w["0.bias"]}
    assert checked(module, apply, wrong, normal(3, 5)).verdict is Verdict.FAIL


def recurrent(forget: float) -> tuple[nn.Module, Any, Any, Any]:
    """An LSTM whose port has one bias, its gates in the order i, g, f, o, and adds to the forget gate."""
    torch.manual_seed(0)
    module = nn.LSTM(3, 4, batch_first=True)
    w = weights(module)
    order = np.concatenate([np.arange(4) + 4 * gate for gate in (0, 2, 1, 3)])
    bias = (w["bias_ih_l0"] + w["bias_hh_l0"])[order]
    bias[8:12] -= forget
    params = {"x": w["weight_ih_l0"][order].T, "h": w["weight_hh_l0"][order].T, "b": bias}

    def apply(p: Any, x: jax.Array) -> jax.Array:
        def step(carry: Any, x: jax.Array) -> Any:
            h, c = carry
            i, g, f, o = jnp.split(x @ p["x"] + h @ p["h"] + p["b"], 4, -1)
            c = jax.nn.sigmoid(f + forget) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        start = jnp.zeros((x.shape[0], 4))
        return jax.lax.scan(step, (start, start), x.swapaxes(0, 1))[1].swapaxes(0, 1)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = module

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.rnn(x)[0]

    return First(), apply, params, normal(2, 5, 3)


@pytest.mark.parametrize("forget", [0.0, 1.0])
def test_gates_in_another_order_with_one_bias_for_two(forget: float) -> None:
    module, apply, params, x = recurrent(forget)
    report = checked(module, apply, params, x)
    assert report.verdict is Verdict.PASS, str(report)
    gates = params["b"].reshape(4, 4)[[0, 2, 1, 3]].reshape(-1)
    wrong = {**params, "b": gates}
    assert checked(module, apply, wrong, x).verdict is Verdict.FAIL


def test_a_weight_that_no_leaf_can_hold_is_an_error_though_it_changes_nothing() -> None:
    module, w = perceptron()
    torch.nn.init.zeros_(module[2].bias)
    params = {"w1": w["0.weight"].T, "b1": w["0.bias"], "w2": w["2.weight"].T}

    def apply(p: Any, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ p["w1"] + p["b1"]) @ p["w2"]

    with pytest.raises(parity.WeightError, match=re.escape("unused PyTorch tensor '2.bias' (4,)")):
        checked(module, apply, params, normal(3, 5))
    said = parity.Weights(params=params, unused=["2.bias"])
    report = parity.check(module, apply, {"x": normal(3, 5)}, weights=said, settings=QUICK)
    assert report.verdict is Verdict.PASS, str(report)


def test_what_changes_nothing_and_has_no_leaf_stands_beside_the_verdict() -> None:
    module, apply, params, x = folded()
    torch.nn.init.zeros_(module[0].bias)
    torch.nn.init.zeros_(module[1].bias)
    w = weights(module)
    scale = w["1.weight"] / np.sqrt(w["1.running_var"] + 1e-5)
    params["first"] = {"kernel": (w["0.weight"] * scale[:, None]).T, "bias": -w["1.running_mean"] * scale}
    report = checked(module, apply, params, x)
    assert report.verdict is Verdict.PASS, str(report)
    (condition,) = report.conditions
    assert "no leaf for" in condition
    assert "1.bias" in condition
    assert "1.weight" not in condition
    assert not checked(*folded()).conditions


class Masked(nn.Linear):
    """A layer of the user's own with a table of the shape of its weight."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mask", torch.tril(torch.ones(outputs, inputs)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight * self.mask, self.bias)


def test_a_table_gives_way_to_a_weight_of_its_shape() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        Masked(4, 5), nn.Tanh(), Masked(5, 4), nn.Tanh(), Masked(4, 5), nn.Tanh(), Masked(5, 4)
    )

    def apply(p: Any, x: jax.Array) -> jax.Array:
        for number, layer in enumerate(p):
            x = x @ (layer["w"] * jnp.triu(jnp.ones(layer["w"].shape))) + layer["b"]
            x = x if number == len(p) - 1 else jnp.tanh(x)
        return x

    sizes = [(4, 5), (5, 4), (4, 5), (5, 4)]
    template = [{"w": np.zeros(size, np.float32), "b": np.zeros(size[1], np.float32)} for size in sizes]
    report = parity.check(
        module, apply, {"x": normal(3, 4)}, weights=parity.Weights(template=template), settings=QUICK
    )
    assert report.verdict is Verdict.PASS, str(report)


def test_statistics_that_training_does_not_read_need_no_partner() -> None:
    module = randomise(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))).train()

    def apply(p: Any, x: jax.Array) -> jax.Array:
        h = x @ p["w"] + p["b"]
        return (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-5) * p["scale"] + p["shift"]

    template = {"w": (5, 4), "b": (4,), "scale": (4,), "shift": (4,)}
    given = {name: np.zeros(size, np.float32) for name, size in template.items()}
    report = parity.check(
        module, apply, {"x": normal(6, 5)}, weights=parity.Weights(template=given), settings=QUICK
    )
    assert report.verdict is Verdict.PASS, str(report)
    module.eval()
    with pytest.raises(parity.WeightError, match="running_mean"):
        parity.check(
            module, apply, {"x": normal(6, 5)}, weights=parity.Weights(template=given), settings=QUICK
        )


def test_a_kernel_that_meets_patches_of_channels_first() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1, bias=False)
    )

    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated_patches(x, (3, 3), (1, 1), "SAME", dimension_numbers=axes) @ w

    def apply(p: Any, x: jax.Array) -> jax.Array:
        return conv(jax.nn.relu(conv(x, p["k1"]) + p["b1"]), p["k2"])

    template = {"k1": np.zeros((18, 4)), "b1": np.zeros(4), "k2": np.zeros((36, 3))}
    report = parity.check(
        module,
        apply,
        {"x": normal(2, 2, 5, 5)},
        layout={"x": (0, 2, 3, 1)},
        weights=parity.Weights(template=template),
        settings=QUICK,
    )
    assert report.verdict is Verdict.PASS, str(report)
    assert [line for line in report.conditions if "flattened channels first" in line] == list(
        report.conditions
    )


def test_a_row_that_is_not_read_is_wrong_though_the_outputs_agree() -> None:
    module, apply, params, x = embedded(11)
    assert checked(module, apply, params, x).verdict is Verdict.PASS
    params["table"] = params["table"].copy()
    params["table"][10] += 1.0
    report = checked(module, apply, params, x)
    assert report.verdict is Verdict.FAIL, str(report)
    assert {q.candidate_name for q in report.failures()} == {"table"}
