"""Models that ask for something: a key for each call, weights that may not be moved."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
import torch
from torch import nn

import parity
from parity.report.results import Verdict
from tests.kit.inputs import normal


class Keyed(eqx.Module):
    conv: eqx.nn.Conv2d
    dropout: eqx.nn.Dropout

    def __init__(self, key: jax.Array) -> None:
        self.conv, self.dropout = eqx.nn.Conv2d(3, 4, 3, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x: jax.Array, *, key: jax.Array, inference: bool) -> jax.Array:
        h = jax.nn.relu(self.conv(x, key=key))
        return jnp.ravel(self.dropout(h, key=key, inference=inference))


def test_a_single_sample_model_with_a_required_key_is_mapped_over_its_inputs_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten())
    quick = parity.Settings(finite_differences=False, localise=False)
    report = parity.check(module, Keyed(jax.random.key(0)), {"x": normal(2, 3, 8, 8)}, settings=quick)
    assert report.verdict is Verdict.PASS
    assert any("mapped over the first axis" in line for line in report.findings)


class Positive(nn.Module):
    """Refuses a scale that is not a power of two, as a model may that validates its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([0.5, 2.0, 4.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        exponent = torch.log2(self.scale.detach())
        if (exponent - exponent.round()).abs().max() > 1e-8:
            raise ValueError("`scale` must hold powers of two")
        return torch.tanh(x * self.scale)


def test_a_model_that_refuses_moved_weights_is_judged_as_given() -> None:
    weights = parity.Weights(template={"scale": jax.ShapeDtypeStruct((3,), jnp.float32)})
    settings = parity.Settings(dtypes=("float64",))
    x = {"x": normal(4, 3)}
    report = parity.check(
        Positive(), lambda p, x: jnp.tanh(x * p["scale"]), x, weights=weights, settings=settings
    )
    assert report.verdict is Verdict.PASS, str(report)
    lines = "\n".join(report.not_checked)
    assert "other weights than these: the model refuses weights that are moved (ValueError" in lines
    assert "gradients against finite differences along scale: the model refuses that" in lines


class Thrice(nn.Module):
    """One matrix under three names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(5, 5, bias=False) for _ in range(3))
        self.second.weight = self.third.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.tanh(self.second(torch.tanh(self.first(x)))))


@pytest.mark.parametrize("names", [("first",), ("first", "second"), ("first", "second", "third")])
def test_of_three_names_of_a_tied_tensor_any_number_are_leaves(names: tuple[str, ...]) -> None:
    def apply(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        kernels = [p[name] for name in (*names, *[names[-1]] * 3)[:3]]
        return jnp.tanh(jnp.tanh(x @ kernels[0]) @ kernels[1]) @ kernels[2]

    shape = jax.ShapeDtypeStruct((5, 5), jnp.float32)
    weights = parity.Weights(template=dict.fromkeys(names, shape))
    quick = parity.Settings(finite_differences=False, localise=False, moved_weights=False)
    report = parity.check(Thrice(), apply, {"x": normal(4, 5)}, weights=weights, settings=quick)
    assert report.verdict is Verdict.PASS, str(report)


def test_an_output_of_booleans_beside_a_floating_one() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            h = self.fc(x)
            return {"h": h, "mask": h > 0}

    def apply(p: dict[str, jax.Array], x: jax.Array) -> dict[str, jax.Array]:
        h = x @ p["kernel"] + p["bias"]
        return {"h": h, "mask": h > 0}

    shapes = {"kernel": (3, 4), "bias": (4,)}
    template = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    quick = parity.Settings(finite_differences=False, localise=False)
    report = parity.check(
        Masked(), apply, {"x": normal(5, 3)}, weights=parity.Weights(template=template), settings=quick
    )
    assert report.verdict is Verdict.PASS, str(report)


class Balanced(nn.Module):
    """Each half of the weights may be moved by itself, both together may not."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.tensor([0.5, 2.0])) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = [(w.detach() - torch.tensor([0.5, 2.0])).abs().max() > 1e-8 for w in (self.up, self.down)]
        if all(moved):
            raise ValueError("one of the two must stay")
        return torch.tanh(x * self.up) * self.down


def test_weights_that_are_refused_together_cost_no_verdict() -> None:
    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    weights = parity.Weights(template={"up": shape, "down": shape}, pins={"up": "up", "down": "down"})
    settings = parity.Settings(dtypes=("float64",), moved_weights=False)
    report = parity.check(
        Balanced(),
        lambda p, x: jnp.tanh(x * p["up"]) * p["down"],
        {"x": normal(4, 2)},
        weights=weights,
        settings=settings,
    )
    assert not report.failures(), str(report)
    assert any("along up, down: the model refuses that" in line for line in report.not_checked), str(report)
