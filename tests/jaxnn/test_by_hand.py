import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import by_hand
from jaxnn.recipes import RECIPES


def draw(name, scale=1.0):
    recipe = RECIPES[name]
    model = recipe.model((6,), 4)
    rng = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(scale * rng.standard_normal(leaf.shape)),
        model.init(jax.random.key(0)),
    )
    x = jnp.asarray(rng.standard_normal((9, 6)))
    index = jnp.arange(9) % (2 if recipe.labels == "binary" else 4)
    y = index if recipe.labels == "binary" else jax.nn.one_hot(index, 4, dtype=jnp.uint8)
    automatic = jax.grad(lambda params: recipe.loss(model.apply(params, x), y))(params)
    return params, x, y, automatic


@pytest.mark.parametrize("name", by_hand.HAND_GRADIENTS)
@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
def test_by_hand_equals_automatic(name, scale, x64, assert_rounding):
    params, x, y, automatic = draw(name, scale)
    assert_rounding(actual=by_hand.HAND_GRADIENTS[name](params, x, y), expected=automatic, scale=1e-3)


@pytest.mark.parametrize("name", by_hand.HAND_GRADIENTS)
def test_float32_stays_float32(name):
    params, x, y, _ = draw(name)
    grads = by_hand.HAND_GRADIENTS[name](params, x, y)
    assert {leaf.dtype for leaf in jax.tree.leaves(grads)} == {jnp.dtype("float32")}


def test_soft_labels(x64, assert_rounding):
    params, x, _, _ = draw("softmax")
    y = jax.nn.softmax(jnp.asarray(np.random.default_rng(0).standard_normal((9, 4))), axis=1)
    recipe = RECIPES["softmax"]
    automatic = jax.grad(lambda p: recipe.loss(recipe.model((6,), 4).apply(p, x), y))(params)
    assert_rounding(actual=by_hand.softmax_gradients(params, x, y), expected=automatic)


def test_the_printed_gradient_is_wrong_in_the_hidden_layer_and_there_alone(x64, assert_rounding):
    params, x, y, automatic = draw("two_layer_as_coded")
    printed = by_hand.two_layer_as_printed_gradients(params, x, y)
    assert jax.tree.structure(printed) == jax.tree.structure(automatic)
    assert_rounding(actual=printed["output"], expected=automatic["output"])
    for leaf in ("kernel", "bias"):
        error = jnp.abs(printed["hidden"][leaf] - automatic["hidden"][leaf]).max()
        assert float(error) > 0.1 * float(jnp.abs(automatic["hidden"][leaf]).max())


def test_the_printed_gradient_is_what_the_notebook_computes(x64, assert_rounding):
    params, x, y, _ = draw("two_layer_as_coded")
    images, hidden, output = jax.tree.map(np.asarray, (x, params["hidden"], params["output"]))
    h = 2 / (1 + np.exp(-(images @ hidden["kernel"] + hidden["bias"]))) - 1
    q = 1 / (1 + np.exp(-(h @ output["kernel"] + output["bias"])[:, 0]))
    kernel, bias = np.zeros((6, 5)), np.zeros(5)
    for n in range(9):
        error = (q[n] - int(y[n])) * output["kernel"][:, 0] * (1 - h[n]) ** 2
        kernel += np.outer(images[n], error) / 9
        bias += error / 9
    printed = by_hand.two_layer_as_printed_gradients(params, x, y)
    assert_rounding(actual=printed["hidden"], expected={"kernel": kernel, "bias": bias})


def test_the_activation_with_the_printed_derivative_gives_the_printed_gradient(x64, assert_rounding):
    params, x, y, automatic = draw("two_layer_as_printed")
    assert_rounding(actual=automatic, expected=by_hand.two_layer_as_printed_gradients(params, x, y))


def test_near_zero_the_printed_gradient_is_twice_too_long(x64):
    params, x, y, automatic = draw("two_layer_as_coded", scale=1e-6)
    printed = by_hand.two_layer_as_printed_gradients(params, x, y)
    ratio = printed["hidden"]["bias"] / automatic["hidden"]["bias"]
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-4)


def test_names():
    assert list(by_hand.HAND_GRADIENTS) == ["logistic", "softmax", "two_layer_tanh", "two_layer_as_coded"]
    assert by_hand.two_layer_as_printed_gradients not in by_hand.HAND_GRADIENTS.values()
