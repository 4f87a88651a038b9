"""Networks of bare tensors against NumPy in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchref import activations, bare
from torchref.bare import BareModel

SHAPES = {
    "logistic": (bare.logistic(7), {"w": (7,), "b": (1,)}),
    "softmax": (bare.softmax(7, 3), {"W": (3, 7), "b": (3,)}),
    "softmax_mean_all": (bare.softmax_mean_all(7, 3), {"W": (7, 3), "b": (3,)}),
    "two_layer": (bare.two_layer(7), {"W1": (5, 7), "b1": (5,), "w2": (5,), "b2": (1,)}),
}


def draw(model: BareModel, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Parameters of ordinary size: those of `init` are small and hide faults."""
    return {name: torch.tensor(rng.normal(size=tuple(p.shape))) for name, p in model.init().items()}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters(name: str, dtype: torch.dtype) -> None:
    model, shapes = SHAPES[name]
    params = model.init(torch.Generator().manual_seed(0), dtype=dtype)
    assert {key: tuple(p.shape) for key, p in params.items()} == shapes
    assert all(p.dtype == dtype and p.is_leaf and p.requires_grad for p in params.values())
    logits = model.apply(params, torch.ones(4, 7, dtype=dtype))
    assert logits.dtype == dtype
    assert logits.shape == ((4, 3) if name.startswith("softmax") else (4,))


@pytest.mark.parametrize(
    ("model", "scales"),
    [
        (bare.logistic(20000), {"w": 0.1}),
        (bare.softmax(10, 2000), {"W": 0.1, "b": 0.1}),
        (bare.softmax_mean_all(10, 2000), {"W": 0.1, "b": 0.0}),
        (bare.two_layer(10, num_hidden=2000), {"W1": 0.01, "b1": 0.01, "w2": 0.01}),
    ],
)
def test_initial_distribution(model: BareModel, scales: dict[str, float]) -> None:
    params = model.init(torch.Generator().manual_seed(3), dtype=torch.float64)
    for name, scale in scales.items():
        values = params[name].detach()
        n = values.numel()
        # five standard errors of the mean and of the standard deviation of a normal sample
        assert abs(values.mean()) <= 5 * scale / n**0.5
        assert abs(values.std() - scale) <= 5 * scale / (2 * n) ** 0.5
        assert (values.abs() > 2 * scale).double().mean() == pytest.approx(0.0455 * (scale > 0), abs=0.025)


@pytest.mark.parametrize("name", SHAPES)
def test_same_seed_same_bits(name: str) -> None:
    model, _ = SHAPES[name]
    first, again, other = (model.init(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_generator_leaves_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    bare.two_layer(7).init(torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    bare.two_layer(7).init()
    assert not torch.equal(torch.get_rng_state(), before)


@given(seed=st.integers(0, 1000), num_samples=st.integers(1, 5))
def test_forward(seed: int, num_samples: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_samples, 7))
    inputs = torch.tensor(x)

    model = bare.logistic(7)
    p = draw(model, rng)
    w, b = p["w"].numpy(), p["b"].numpy()
    expected = np.array([sum(w[d] * row[d] for d in range(7)) + b[0] for row in x])
    np.testing.assert_allclose(model.apply(p, inputs), expected, atol=1e-13)

    model = bare.softmax(7, 3)
    p = draw(model, rng)
    W, b = p["W"].numpy(), p["b"].numpy()
    expected = np.array([[np.sum(W[k] * row) + b[k] for k in range(3)] for row in x])
    np.testing.assert_allclose(model.apply(p, inputs), expected, atol=1e-13)

    model = bare.softmax_mean_all(7, 3)
    p = draw(model, rng)
    W, b = p["W"].numpy(), p["b"].numpy()
    expected = np.array([[np.sum(W[:, k] * row) + b[k] for k in range(3)] for row in x])
    np.testing.assert_allclose(model.apply(p, inputs), expected, atol=1e-13)

    for activation, g in (
        (activations.tanh, np.tanh),
        (activations.shifted_logistic, lambda t: 2 / (1 + np.exp(-t)) - 1),
    ):
        model = bare.two_layer(7, hidden_activation=activation)
        p = draw(model, rng)
        W1, b1, w2, b2 = (p[key].numpy() for key in ("W1", "b1", "w2", "b2"))
        hidden = np.array([[g(np.sum(W1[h] * row) + b1[h]) for h in range(5)] for row in x])
        np.testing.assert_allclose(model.apply(p, inputs), hidden @ w2 + b2[0], atol=1e-13)


@pytest.mark.parametrize("name", SHAPES)
def test_gradient_by_finite_differences(name: str, rng: np.random.Generator) -> None:
    model, shapes = SHAPES[name]
    params = [p.requires_grad_() for p in draw(model, rng).values()]
    x = torch.tensor(rng.normal(size=(3, 7)))
    assert torch.autograd.gradcheck(lambda *p: model.apply(dict(zip(shapes, p, strict=True)), x), params)
