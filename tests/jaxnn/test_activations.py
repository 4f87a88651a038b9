import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxnn import activations

FUNCTIONS = {
    "relu": lambda t: np.maximum(t, 0),
    "leaky_relu": lambda t: np.where(t > 0, t, t / 100),
    "softplus": lambda t: np.logaddexp(0, t),
    "tanh": np.tanh,
    "logistic": lambda t: np.where(t > 0, 1 / (1 + np.exp(-abs(t))), np.exp(-abs(t)) / (1 + np.exp(-abs(t)))),
    "shifted_logistic": lambda t: np.tanh(t / 2),
}
DERIVATIVES_AT_ZERO = {
    "relu": 0.0,
    "leaky_relu": 0.01,
    "softplus": 0.5,
    "tanh": 1.0,
    "logistic": 0.25,
    "shifted_logistic": 0.5,
}
DERIVATIVES_FAR_OUT = {  # at -1e4 and at 1e4
    "relu": (0.0, 1.0),
    "leaky_relu": (0.01, 1.0),
    "softplus": (0.0, 1.0),
    "tanh": (0.0, 0.0),
    "logistic": (0.0, 0.0),
    "shifted_logistic": (0.0, 0.0),
}
values = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-50, 50))


def test_every_activation_is_tested():
    assert set(FUNCTIONS) | {"prelu", "shifted_logistic_as_printed"} == set(activations.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values(name, x64, assert_rounding):
    @given(values)
    def check(t):
        actual = getattr(activations, name)(jnp.asarray(t))
        assert_rounding(actual=actual, expected=FUNCTIONS[name](t))

    check()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_large_inputs_keep_values_gradients_and_dtype(name, dtype):
    function = getattr(activations, name)
    t = jnp.array([-1e4, 0.0, 1e4], dtype)
    value, slope = function(t), jax.vmap(jax.grad(function))(t)
    assert value.dtype == slope.dtype == dtype
    assert bool(jnp.isfinite(value).all())
    below, above = DERIVATIVES_FAR_OUT[name]
    expected = jnp.array([below, DERIVATIVES_AT_ZERO[name], above], dtype)
    np.testing.assert_array_equal(slope, expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_derivatives(name, assert_derivative):
    # 0 is left out: the rectifiers have a kink there.
    t = jnp.array([-3.0, -0.7, 0.2, 1.0, 4.0])
    assert_derivative(lambda t: getattr(activations, name)(t).sum(), t)


@pytest.mark.parametrize("alpha", [0.0, 0.125, 1.0, 2.5])
def test_prelu(alpha):
    t = jnp.array([-4.0, -1.0, 0.0, 2.0])
    np.testing.assert_array_equal(activations.prelu(t, jnp.float32(alpha)), [-4 * alpha, -alpha, 0, 2])
    np.testing.assert_array_equal(
        jax.vmap(jax.grad(activations.prelu), in_axes=(0, None))(t, jnp.float32(alpha)),
        np.float32([alpha, alpha, alpha, 1]),
    )
    slope = jax.grad(lambda a: activations.prelu(t, a).sum())(jnp.float32(alpha))
    assert float(slope) == -5.0


def test_shifted_logistic_is_what_the_notebook_computes_and_not_tanh(x64, assert_rounding):
    t = jnp.linspace(-6, 6, 25)
    shifted = activations.shifted_logistic(t)
    assert_rounding(actual=shifted, expected=2 * np.asarray(activations.logistic(t)) - 1)
    assert_rounding(actual=activations.tanh(t), expected=2 * np.asarray(activations.logistic(2 * t)) - 1)
    assert float(jnp.abs(shifted - activations.tanh(t)).max()) > 0.2


def test_shifted_logistic_keeps_digits_near_zero():
    assert float(activations.shifted_logistic(jnp.float32(1e-6))) == pytest.approx(5e-7, rel=1e-6)


def test_leaky_relu_default_slope_is_that_of_the_text():
    assert inspect.signature(activations.leaky_relu).parameters["slope"].default == 0.01


def test_the_printed_derivative_is_wrong_and_the_values_are_right(x64, assert_rounding):
    function = activations.shifted_logistic_as_printed
    t = jnp.array([-1e4, -3.0, 0.0, 0.7, 1e4])
    assert_rounding(actual=function(t), expected=np.tanh(np.asarray(t) / 2))
    slopes = jax.vmap(jax.grad(function))(t)
    assert_rounding(actual=slopes, expected=(1 - np.tanh(np.asarray(t) / 2)) ** 2)
    assert float(slopes[0]) == 4.0  # where the right one vanishes
