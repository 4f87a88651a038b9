import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import optimizers, storage

STEPS = 12


def gradients(seed=0):
    return np.random.default_rng(seed).standard_normal((STEPS, 4))


def adam_by_numpy(rate, b1=0.9, b2=0.999, eps=1e-8):
    """Algorithm 1 of the paper, in float64: the weights after every step."""
    w, m, v, path = np.zeros(4), np.zeros(4), np.zeros(4), []
    for t, g in enumerate(gradients(), start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        path.append(w)
    return np.array(path)


def path_of(rule, dtype):
    params = jnp.zeros(4, dtype)
    state, path = rule.init(params), []
    for g in gradients():
        updates, state = rule.update(jnp.asarray(g, dtype), state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params, np.float64))
    return np.array(path), params


def test_float64_against_the_paper(x64, assert_rounding):
    path, params = path_of(optimizers.adam(0.1), jnp.float64)
    assert params.dtype == jnp.float64
    # The oracle's own 1 - b2^t is right to 1e-13.
    np.testing.assert_allclose(path, adam_by_numpy(0.1), rtol=0, atol=1e-13)


def test_float32_keeps_seven_digits_where_optax_keeps_five():
    exact = adam_by_numpy(0.1)
    own, params = path_of(optimizers.adam(0.1), jnp.float32)
    assert params.dtype == jnp.float32
    with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer power
        optax_path, _ = path_of(optax.adam(0.1), jnp.float32)
    eps = np.finfo(np.float32).eps
    assert np.abs(own - exact).max() <= 0.1 * STEPS * 10 * eps  # a few roundings in each step of 0.1
    # 0.999 is rounded to float32, and 1 - 0.999 is a thousandth: half an ulp becomes 3e-5, its root 1.5e-5.
    assert np.abs(optax_path - exact)[0].max() > 0.1 * 20 * eps


def test_a_traced_rate_and_no_params(x64):
    @jax.jit
    def first(rate):
        rule = optimizers.adam(rate)
        updates, _ = rule.update(jnp.array([3.0, -0.5]), rule.init(jnp.zeros(2)))
        return updates

    np.testing.assert_allclose(first(0.25), [-0.25, 0.25], rtol=1e-7)  # the size of the rate: eps is small


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_zero_gradients_move_nothing(shape):
    rule = optimizers.adam(0.1)
    updates, state = rule.update(jnp.zeros(shape), rule.init(jnp.ones(shape)), jnp.ones(shape))
    assert not updates.any()
    assert int(state.count) == 1


def test_rows_and_columns_are_treated_alike():
    params = {"kernel": jnp.ones((5, 4)), "bias": jnp.ones(4)}
    assert storage.treats_rows_and_columns_alike(optimizers.adam, params)
    rule = optimizers.adam(0.1)
    turned = storage.turned_state(rule, rule.init(params))
    assert turned.mu["kernel"].shape == turned.nu["kernel"].shape == (4, 5)
