import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import EXPERIMENTS
from jaxnn import activations, losses, models
from jaxnn.recipes import RECIPES

OWN = [name for name, e in EXPERIMENTS.items() if e.network is None]
"""Recipes with a network of their own; the others train one of these."""

SHAPES = {True: (64, 64, 1), False: (12,)}
NUM_CLASSES = 10


def draw(name, seed=0, num_samples=3):
    """A recipe's model with params, inputs and labels in float64; the weights large enough to matter."""
    recipe = RECIPES[name]
    shape = SHAPES[recipe.images]
    model = recipe.model(shape, NUM_CLASSES)
    params = model.init(jax.random.key(seed), jnp.float64)
    if name.startswith("two_layer"):
        params = jax.tree.map(lambda leaf: 50 * leaf, params)
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.random((num_samples, *shape)) - 0.5 * (not recipe.images))
    index = jnp.arange(num_samples) % 2
    labels = {
        "binary": index,
        "index": index,
        "one_hot": jax.nn.one_hot(index, NUM_CLASSES, dtype=jnp.float64),
        "real": jnp.asarray(rng.standard_normal(num_samples)),
    }
    return recipe, model, params, x, labels[recipe.labels]


def convolve_by_loops(layer, x):
    """A 3 x 3 convolution of stride 2 and padding 1, from its definition."""
    kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer["bias"])
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    size = (x.shape[1] - 3) // 2 + 1
    y = np.zeros((x.shape[0], size, size, bias.size))
    for p, q in np.ndindex(size, size):
        window = x[:, 2 * p : 2 * p + 3, 2 * q : 2 * q + 3]
        y[:, p, q] = np.einsum("nijc,ijck->nk", window, kernel) + bias
    return y


def forward_by_numpy(name, params, x):
    """The networks written once more, with nothing of jaxnn."""
    p, x = jax.tree.map(np.asarray, params), np.asarray(x)

    def affine(layer, x):
        return np.einsum("nd,dk->nk", x, layer["kernel"]) + layer["bias"]

    if name == "logistic":
        return affine(p, x)[:, 0]
    if name.startswith("two_layer"):
        o = affine(p["hidden"], x)
        h = np.tanh(o) if name == "two_layer_tanh" else 2 / (1 + np.exp(-o)) - 1
        return affine(p["output"], h)[:, 0]
    if name in ("mlp", "regression"):
        depth = 4 if name == "mlp" else 2
        for i in range(depth):
            x = affine(p[f"dense_{i}"], x)
            x = np.maximum(x, 0) if i < depth - 1 else x
        return x if name == "mlp" else x[:, 0]
    if name.startswith("cnn"):
        x = np.maximum(convolve_by_loops(p["conv_0"], x), 0)
        x = np.maximum(convolve_by_loops(p["conv_1"], x), 0)
        x = convolve_by_loops(p["conv_2"], x)
        if name == "cnn_global_pool":
            return x.sum(axis=(1, 2)) / 64
        x = np.maximum(x, 0)
        return np.array(
            [
                [
                    image[4 * p : 4 * p + 4, 4 * q : 4 * q + 4, c].sum() / 16
                    for c in range(10)
                    for p in range(2)
                    for q in range(2)
                ]
                for image in x
            ]
        )
    return affine(p, x)


@pytest.mark.parametrize("name", OWN)
def test_forward_against_numpy(name, x64, assert_rounding):
    _, model, params, x, _ = draw(name)
    assert_rounding(actual=jax.jit(model.apply)(params, x), expected=forward_by_numpy(name, params, x))


# The printed derivative is wrong by design; `test_by_hand` shows where.
@pytest.mark.parametrize("name", [name for name in OWN if name != "two_layer_as_printed"])
def test_gradients_against_finite_differences(name, assert_derivative):
    recipe, model, params, x, labels = draw(name)
    assert_derivative(lambda params: recipe.loss(model.apply(params, x), labels), params)


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_kept(name, dtype, x64):
    shape = SHAPES[RECIPES[name].images]
    model = RECIPES[name].model(shape, NUM_CLASSES)
    drawn = jax.eval_shape(lambda: model.init(jax.random.key(0), dtype))
    assert {leaf.dtype for leaf in jax.tree.leaves(drawn)} == {jnp.dtype(dtype)}
    assert jax.eval_shape(model.apply, drawn, jax.ShapeDtypeStruct((3, *shape), dtype)).dtype == dtype
    default = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    assert {leaf.dtype for leaf in jax.tree.leaves(default)} == {jnp.dtype("float32")}


DENSE = {"kernel": (4096, 10), "bias": (10,)}
TWO_LAYER = {
    "hidden": {"kernel": (4096, 5), "bias": (5,)},
    "output": {"kernel": (5, 1), "bias": (1,)},
}
CONVOLUTIONS = {
    "conv_0": {"kernel": (3, 3, 1, 16), "bias": (16,)},
    "conv_1": {"kernel": (3, 3, 16, 16), "bias": (16,)},
    "conv_2": {"kernel": (3, 3, 16, 10), "bias": (10,)},
}
MLP = {
    f"dense_{i}": {"kernel": pair, "bias": pair[1:]}
    for i, pair in enumerate(itertools.pairwise((4096, 200, 50, 20, 10)))
}
PARAMS_AND_LOGITS = {
    "logistic": ({"kernel": (4096, 1), "bias": (1,)}, (7,)),
    "softmax": (DENSE, (7, 10)),
    "two_layer_tanh": (TWO_LAYER, (7,)),
    "two_layer_as_coded": (TWO_LAYER, (7,)),
    "two_layer_as_printed": (TWO_LAYER, (7,)),
    "softmax_mean_all": (DENSE, (7, 10)),
    "softmax_module": (DENSE, (7, 10)),
    "linear": (DENSE, (7, 10)),
    "linear_minibatch": (DENSE, (7, 10)),
    "mlp": (MLP, (7, 10)),
    "cnn": (CONVOLUTIONS, (7, 40)),
    "cnn_global_pool": (CONVOLUTIONS, (7, 10)),
    "regression": (
        {
            "dense_0": {"kernel": (4096, 20), "bias": (20,)},
            "dense_1": {"kernel": (20, 1), "bias": (1,)},
        },
        (7,),
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_shapes_at_the_size_of_the_notebook(name):
    shape = (64, 64, 1) if RECIPES[name].images else (4096,)
    model = RECIPES[name].model(shape, 10)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0)))
    expected_params, expected_logits = PARAMS_AND_LOGITS[name]
    assert jax.tree.map(lambda leaf: leaf.shape, params) == expected_params
    assert jax.eval_shape(model.apply, params, jnp.ones((7, *shape))).shape == expected_logits


@pytest.mark.parametrize(
    ("name", "kernel_deviation", "bias_deviation"),
    [
        ("logistic", 0.1, 0.1),
        ("softmax", 0.1, 0.1),
        ("two_layer_tanh", 0.01, 0.01),
        ("two_layer_as_coded", 0.01, 0.01),
        ("softmax_mean_all", 0.1, 0.0),
        ("softmax_module", 0.1, 0.0),
        ("linear", (3 * 4096) ** -0.5, (3 * 4096) ** -0.5),
    ],
)
def test_initial_distribution(name, kernel_deviation, bias_deviation):
    model = RECIPES[name].model((4096,), 10)
    many = jax.jit(jax.vmap(model.init))(jax.random.split(jax.random.key(0), 300))
    layers = many.values() if name.startswith("two_layer") else [many]
    for layer in layers:
        # A deviation estimated from m draws is 1/sqrt(2 m) off, relatively; m is at least 300.
        assert float(jnp.std(layer["kernel"])) == pytest.approx(kernel_deviation, rel=5 / 600**0.5)
        assert float(jnp.std(layer["bias"])) == pytest.approx(bias_deviation, rel=5 / 600**0.5)


@pytest.mark.parametrize("name", ["linear", "mlp", "cnn", "cnn_global_pool", "regression"])
def test_initial_bounds_of_the_library_layers(name):
    model = RECIPES[name].model((64, 64, 1) if RECIPES[name].images else (4096,), 10)
    params = jax.jit(model.init)(jax.random.key(0))
    for layer in [params] if name == "linear" else params.values():
        fan_in = np.prod(layer["kernel"].shape[:-1])
        largest, draws = float(jnp.abs(layer["kernel"]).max()), layer["kernel"].size
        # The greatest of m draws falls short of the bound by about 1/m of it.
        assert (1 - 8 / draws) * fan_in**-0.5 < largest <= fan_in**-0.5 * (1 + 1e-6)
        assert float(jnp.abs(layer["bias"]).max()) <= fan_in**-0.5 * (1 + 1e-6)


def test_different_keys_and_layers_give_different_weights():
    model = models.mlp((8, 8, 8))
    first, second = model.init(jax.random.key(0)), model.init(jax.random.key(1))
    kernels = [p[layer]["kernel"] for p in (first, second) for layer in p]
    for a, b in itertools.combinations(kernels, 2):
        assert not np.isin(a, b).any()
    np.testing.assert_array_equal(
        first["dense_0"]["kernel"], model.init(jax.random.key(0))["dense_0"]["kernel"]
    )


def test_equal_arguments_give_the_same_model():
    assert models.two_layer(4, 5) is models.two_layer(4, 5)
    assert models.logistic(4).apply is models.logistic(4).apply
    assert models.mlp((4, 3)).apply is models.mlp((5, 3, 2)).apply
    for recipe in RECIPES.values():
        shape = SHAPES[recipe.images]
        assert recipe.model(shape, 10) == recipe.model(shape, 10)


def test_logits_of_the_printed_cnn_are_never_negative_and_those_of_the_other_are():
    x = jax.random.uniform(jax.random.key(1), (20, 64, 64, 1))
    params = models.cnn().init(jax.random.key(0))
    assert bool((models.cnn().apply(params, x) >= 0).all())
    assert bool((models.cnn_global_pool().apply(params, x) < 0).any())


def test_two_layer_takes_any_activation(x64, assert_rounding):
    model = models.two_layer(3, 2, activations.softplus)
    params = model.init(jax.random.key(0), jnp.float64)
    x = jnp.arange(6.0).reshape(2, 3)
    h = np.log1p(np.exp(np.asarray(x @ params["hidden"]["kernel"]) + np.asarray(params["hidden"]["bias"])))
    expected = (h @ np.asarray(params["output"]["kernel"]))[:, 0] + np.asarray(params["output"]["bias"])
    assert_rounding(actual=model.apply(params, x), expected=expected)


@pytest.mark.parametrize("name", ["softmax", "linear", "mlp", "cnn"])
def test_a_permuted_batch_gives_permuted_logits_and_the_same_gradient(name, x64, assert_rounding):
    recipe, model, params, x, labels = draw(name, num_samples=5)
    order = jnp.array([3, 0, 4, 1, 2])
    assert_rounding(actual=model.apply(params, x[order]), expected=model.apply(params, x)[order])
    grad = jax.jit(jax.grad(lambda params, x, y: recipe.loss(model.apply(params, x), y)))
    assert_rounding(
        actual=grad(params, x[order], labels[order]), expected=grad(params, x, labels), scale=1e-3
    )


def test_bad_sizes():
    with pytest.raises(ValueError, match=r"`sizes` is \(4,\)"):
        models.mlp((4,))
    for constructor in (models.cnn, models.cnn_global_pool):
        with pytest.raises(ValueError, match=r"`num_channels` is \(1,\)"):
            constructor((1,))
    with pytest.raises(ValueError, match=r"\(N, 4\)"):
        models.linear(4, 2).apply(models.linear(4, 2).init(jax.random.key(0)), jnp.ones((3, 5)))


def test_cross_entropy_accepts_the_forty_logits_of_the_printed_cnn():
    model = models.cnn()
    logits = model.apply(model.init(jax.random.key(0)), jnp.ones((2, 64, 64, 1)))
    assert bool(jnp.isfinite(losses.cross_entropy(logits, jnp.array([0, 9]))))
