import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import initializers

NUM_DRAWS = 100_000


def assert_moments(draws, mean, variance, kurtosis):
    """Within five standard errors; fixed seeds, so this passes or fails for good."""
    draws = np.asarray(draws, np.float64)
    assert abs(draws.mean() - mean) < 5 * np.sqrt(variance / draws.size)
    assert abs(draws.var() - variance) < 5 * variance * np.sqrt((kurtosis - 1) / draws.size)


@pytest.mark.parametrize("scale", [0.01, 0.1, 2.0])
def test_normal(scale):
    draws = initializers.normal(scale)(jax.random.key(0), (NUM_DRAWS,))
    assert_moments(draws, 0.0, scale**2, kurtosis=3)
    # A normal distribution has 4.55 % beyond two standard deviations, a truncated one none.
    assert 0.04 < float((jnp.abs(draws) > 2 * scale).mean()) < 0.051


@pytest.mark.parametrize("fan_in", [1, 9, 4096])
def test_torch_uniform(fan_in):
    draws = initializers.torch_uniform(fan_in)(jax.random.key(1), (NUM_DRAWS,))
    bound = fan_in**-0.5
    assert_moments(draws, 0.0, 1 / (3 * fan_in), kurtosis=9 / 5)
    assert 0.999 * bound < float(jnp.abs(draws).max()) <= bound * (1 + 1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.float32, jnp.float64])
def test_dtype_and_shape(dtype, x64):
    for initializer in (initializers.normal(0.1), initializers.torch_uniform(3), initializers.zeros):
        drawn = initializer(jax.random.key(0), (2, 3), dtype)
        assert (drawn.dtype, drawn.shape) == (dtype, (2, 3))


def test_zeros():
    assert not initializers.zeros(jax.random.key(0), (3, 2)).any()


def test_equal_arguments_give_the_same_function():
    assert initializers.normal(0.1) is initializers.normal(0.1)
    assert initializers.torch_uniform(9) is initializers.torch_uniform(9)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`scale` is -1"):
        initializers.normal(-1.0)
    with pytest.raises(ValueError, match="`fan_in` is 0"):
        initializers.torch_uniform(0)
