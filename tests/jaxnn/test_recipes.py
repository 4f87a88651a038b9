import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import losses, metrics
from jaxnn.recipes import RECIPES, two_rates

# (epochs, rate, batch size, labels) from the notebook and the list of its lost cells.
PUBLISHED = {
    "logistic": (400, 0.05, None, "binary"),
    "softmax": (300, 0.1, None, "one_hot"),
    "two_layer_tanh": (10000, 0.001, None, "binary"),
    "two_layer_as_coded": (10000, 0.001, None, "binary"),
    "two_layer_as_printed": (10000, 0.001, None, "binary"),
    "softmax_mean_all": (500, 0.5, None, "one_hot"),
    "softmax_module": (500, 0.5, None, "one_hot"),
    "linear": (500, 0.1, None, "index"),
    "linear_minibatch": (200, 0.1, 64, "index"),
    "mlp": (300, 0.01, 64, "index"),
    "cnn": (2500, 0.1, 64, "index"),
    "cnn_global_pool": (2500, 0.1, 64, "index"),
    "regression": (200, 0.05, 64, "real"),
    "linear_adam": (200, 0.001, 64, "index"),
    "linear_exponential": (200, 0.001, 64, "index"),
    "linear_early_stop": (200, 0.005, 64, "index"),
    "mlp_dropout": (300, 0.1, 64, "index"),
    "mlp_l1": (300, 0.01, 64, "index"),
    "mlp_l2": (300, 0.01, 64, "index"),
    "cnn_dropout": (2500, 0.1, 64, "index"),
    "cnn_augmented": (2500, 0.1, 64, "index"),
}


def test_recipes_are_those_of_the_notebook_in_its_order():
    found = {name: (r.epochs, r.learning_rate, r.batch_size, r.labels) for name, r in RECIPES.items()}
    assert found == PUBLISHED
    assert list(RECIPES) == list(PUBLISHED)
    assert all(recipe.images == ("cnn" in name) for name, recipe in RECIPES.items())
    assert RECIPES["two_layer_tanh"].also == RECIPES["two_layer_as_coded"].also == ((5000, 0.05), (500, 0.5))


def test_losses_and_metrics():
    assert RECIPES["softmax"].loss is losses.cross_entropy
    assert RECIPES["softmax"].metrics["loss"] is losses.cross_entropy_sum
    assert RECIPES["regression"].metrics["r_squared"] is metrics.r_squared
    for name, recipe in RECIPES.items():
        second = "r_squared" if name == "regression" else "accuracy"
        assert list(recipe.metrics) == ["loss", second]
        if name != "softmax":
            assert recipe.metrics["loss"] is recipe.loss


def test_registry_is_read_only():
    with pytest.raises(TypeError):
        RECIPES["mine"] = RECIPES["linear"]
    with pytest.raises(TypeError):
        RECIPES["linear"].metrics["mine"] = losses.cross_entropy


def test_two_rates_moves_the_hidden_layer_a_tenth_as_far(x64, assert_rounding):
    params = {"hidden": {"kernel": jnp.ones((2, 3))}, "output": {"kernel": jnp.ones((3, 1))}}
    grads = jax.tree.map(lambda leaf: 3 * leaf, params)
    optimizer = two_rates(0.5)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    expected = {"hidden": {"kernel": np.full((2, 3), -0.15)}, "output": {"kernel": np.full((3, 1), -1.5)}}
    assert_rounding(actual=updates, expected=expected)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains(name):
    """The loss falls on data that can be told apart, with the recipe's own optimiser and rate."""
    recipe = RECIPES[name]
    shape = (64, 64, 1) if recipe.images else (16,)
    rng = np.random.default_rng(0)
    index = np.arange(24) % (2 if recipe.labels == "binary" else 3)
    x = rng.random((24, *shape)).astype(np.float32) / 10
    x[np.arange(24), index] += 1.0  # a bright pixel, or row, marks the class
    y = {
        "binary": index,
        "index": index,
        "one_hot": np.eye(10, dtype=np.float32)[index],
        "real": index.astype(np.float32),
    }[recipe.labels]
    model = recipe.model(shape, 10)
    run = jaxnn.fit(
        model.apply,
        model.init(jax.random.key(0)),
        (x, y),
        (x[:6], y[:6]),
        loss=recipe.loss,
        metrics=recipe.metrics,
        optimizer=recipe.optimizer,
        penalty=recipe.penalty,
        learning_rate=recipe.learning_rate,
        epochs=4,
        batch_size=recipe.batch_size and 10,
    )
    assert set(run.history) == {
        "step_loss",
        *(f"{part}_{metric}" for part in ("train", "val") for metric in recipe.metrics),
    }
    assert float(run.history["train_loss"][-1]) < float(run.history["train_loss"][0])
    assert bool(jnp.isfinite(run.history["val_loss"]).all())


def test_the_rungs_of_modules_have_one():
    with_module = [name for name, recipe in RECIPES.items() if recipe.module is not None]
    rungs = ["softmax_module", "linear", "linear_minibatch", "mlp", "cnn", "cnn_global_pool"]
    assert with_module == rungs
