"""Activations against the standard library's arithmetic, and their gradients where rounding bites."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchref import activations

REFERENCE = {
    "relu": lambda t: max(t, 0.0),
    "leaky_relu": lambda t: t if t > 0 else 0.01 * t,
    "softplus": lambda t: max(t, 0.0) + math.log1p(math.exp(-abs(t))),
    "tanh": math.tanh,
    "logistic": lambda t: 1 / (1 + math.exp(-t)) if t >= 0 else math.exp(t) / (1 + math.exp(t)),
    # expm1 keeps the digits that 2 * logistic(t) - 1 loses near 0
    "shifted_logistic": lambda t: math.copysign(-math.expm1(-abs(t)) / (1 + math.exp(-abs(t))), t),
}


@pytest.mark.parametrize("name", REFERENCE)
@given(t=st.floats(-1e4, 1e4))
def test_value(name: str, t: float) -> None:
    actual = getattr(activations, name)(torch.tensor(t, dtype=torch.float64))
    torch.testing.assert_close(
        actual, torch.tensor(REFERENCE[name](t), dtype=torch.float64), rtol=1e-14, atol=1e-300
    )


@given(t=st.floats(-1e3, 1e3), alpha=st.sampled_from([0.0, 0.25, 1.0, 3.0]))
def test_prelu_is_right_for_any_slope(t: float, alpha: float) -> None:
    expected = t if t > 0 else alpha * t
    given_t = torch.tensor(t, dtype=torch.float64)
    assert activations.prelu(given_t, alpha).item() == expected
    assert activations.prelu(given_t, torch.tensor(alpha, dtype=torch.float64)).item() == expected


def test_prelu_with_leaky_slope_is_leaky_relu() -> None:
    t = torch.linspace(-3, 3, 13)
    torch.testing.assert_close(activations.prelu(t, 0.2), activations.leaky_relu(t, 0.2))


def test_softplus_is_accurate_around_the_threshold() -> None:
    t = torch.tensor([20.5, 25.0, 36.0, 39.9, 40.1], dtype=torch.float64)
    # exp(-t) is what remains of softplus(t) - t; PyTorch's default threshold would leave 0 at 20.5
    expected = t + torch.exp(-t)
    torch.testing.assert_close(activations.softplus(t), expected, rtol=3e-16, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", REFERENCE)
def test_large_inputs_stay_finite_and_keep_the_dtype(name: str, dtype: torch.dtype) -> None:
    t = torch.tensor([-1e4, -50.0, 0.0, 50.0, 1e4], dtype=dtype, requires_grad=True)
    value = getattr(activations, name)(t)
    (grad,) = torch.autograd.grad(value.sum(), t)
    assert value.dtype == dtype
    assert value.isfinite().all()
    assert grad.isfinite().all()


@pytest.mark.parametrize("name", REFERENCE)
def test_gradient_by_finite_differences(name: str) -> None:
    t = torch.tensor([-7.0, -1.3, -0.2, 0.4, 1.1, 30.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(activations, name), (t,))


def test_prelu_gradient_reaches_alpha() -> None:
    t = torch.tensor([-2.0, -1.0, 3.0], dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(activations.prelu, (t, alpha))


@pytest.mark.parametrize(
    ("function", "slope"),
    [
        (activations.relu, 0.0),
        (activations.leaky_relu, 0.01),
        (lambda t: activations.prelu(t, 3.0), 3.0),
        (activations.softplus, 0.5),
    ],
)
def test_derivative_at_zero(function, slope: float) -> None:
    t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(function(t), t)
    assert grad.item() == slope


def test_shifted_logistic_is_not_tanh() -> None:
    t = torch.tensor([1.0], dtype=torch.float64)
    torch.testing.assert_close(activations.shifted_logistic(t), 2 * activations.logistic(t) - 1)
    assert not torch.allclose(activations.shifted_logistic(t), activations.tanh(t), rtol=0.1)


def test_the_printed_derivative_is_the_wrong_one_and_the_value_the_right_one() -> None:
    t = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    h = activations.shifted_logistic_as_printed(t)
    h.sum().backward()
    expected = np.tanh(t.detach().numpy() / 2)
    np.testing.assert_allclose(h.detach().numpy(), expected, rtol=1e-15)
    np.testing.assert_allclose(t.grad.numpy(), (1 - expected) ** 2, rtol=1e-14)
    assert not torch.autograd.gradcheck(activations.shifted_logistic_as_printed, (t,), raise_exception=False)
