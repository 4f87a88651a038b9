import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.draws import keep as draw_keep
from jaxnn import layers, models


def test_units_against_numpy(x64, assert_rounding):
    rng = np.random.default_rng(0)
    x, keep = rng.standard_normal((6, 9)), rng.random((6, 9)) < 0.7
    assert_rounding(actual=layers.dropout(jnp.asarray(x), jnp.asarray(keep), 0.25), expected=x * keep / 0.75)


def test_of_images_whole_channels_against_numpy(x64, assert_rounding):
    rng = np.random.default_rng(0)
    x, keep = rng.standard_normal((4, 3, 3, 5)), rng.random((4, 5)) < 0.7
    expected = x * keep[:, None, None, :] / 0.75
    assert_rounding(actual=layers.dropout(jnp.asarray(x), jnp.asarray(keep), 0.25), expected=expected)


def test_what_is_left_out_has_no_gradient():
    x, keep = jnp.array([[1.0, 2.0, jnp.inf]]), jnp.array([[True, True, False]])
    grads = jax.grad(lambda x: layers.dropout(x, keep, 0.5).sum())(x)
    assert grads.tolist() == [[2.0, 2.0, 0.0]]


def test_the_mean_over_masks_is_the_unit_itself():
    keep = jnp.asarray(draw_keep(1, 3, 0.25, epochs=4000)["keep"])
    x = jnp.array([[1.0, -2.0, 4.0]])
    mean = jax.vmap(lambda own: layers.dropout(x, own, 0.25))(keep).mean(axis=0)
    # A kept unit is 4/3 of itself: the deviation of a draw is sqrt(1/3) of it.
    np.testing.assert_allclose(mean, x, rtol=5 * (1 / 3 / 4000) ** 0.5)


def test_an_mlp_takes_the_masks_of_all_layers_side_by_side(x64, assert_rounding):
    model = models.mlp((3, 4, 2, 5), dropout_rate=0.5)
    params, x = model.init(jax.random.key(0), jnp.float64), jnp.ones((2, 3))
    keep = np.array([[True, False, True, True, False, True], [True] * 6])
    h = np.asarray(x)
    for name, own in (("dense_0", keep[:, :4]), ("dense_1", keep[:, 4:])):
        h = 2 * own * np.maximum(h @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"]), 0)
    expected = h @ np.asarray(params["dense_2"]["kernel"]) + np.asarray(params["dense_2"]["bias"])
    assert_rounding(actual=model.apply(params, x, keep=jnp.asarray(keep)), expected=expected)
    plain = models.mlp((3, 4, 2, 5))
    np.testing.assert_array_equal(model.apply(params, x), plain.apply(params, x))


def test_a_cnn_takes_a_mask_per_channel():
    model = models.cnn_global_pool((1, 3, 2, 4), dropout_rate=0.25)
    params, x = model.init(jax.random.key(0)), jax.random.uniform(jax.random.key(1), (2, 16, 16, 1))
    keep = jnp.ones((2, 5), bool).at[0, 3:].set(False)  # nothing reaches the last convolution
    logits = model.apply(params, x, keep=keep)
    np.testing.assert_allclose(logits[0], params["conv_2"]["bias"], rtol=1e-6)
    assert not np.allclose(logits[1], model.apply(params, x)[1])  # the others are larger


def test_gradients_with_dropout_against_finite_differences(assert_derivative):
    model = models.mlp((3, 4, 2, 5), dropout_rate=0.5)
    keep = jnp.asarray(draw_keep(6, 6, 0.5)["keep"][0])
    x = jax.random.normal(jax.random.key(1), (6, 3), jnp.float64)
    params = model.init(jax.random.key(0), jnp.float64)
    assert_derivative(lambda p: jnp.square(model.apply(p, x, keep=keep)).sum(), params)


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(ValueError, match="`dropout_rate` is"):
        models.mlp((3, 4, 2), dropout_rate=rate)


def test_masks_of_another_shape_are_refused():
    model = models.mlp((3, 4, 2, 5), dropout_rate=0.5)
    with pytest.raises(ValueError, match=r"`keep` has shape \(2, 4\): it must be \(2, 6\).*\[4, 2\]"):
        model.apply(model.init(jax.random.key(0)), jnp.ones((2, 3)), keep=jnp.ones((2, 4), bool))
    with pytest.raises(ValueError, match=r"`keep` has shape \(2, 2\), `x` \(2, 3\)"):
        layers.dropout.__wrapped__(jnp.ones((2, 3)), jnp.ones((2, 2), bool), 0.5)
