"""Runs over a mesh of virtual devices (tests/conftest.py asks for eight) against runs on one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jaxnn
from jaxnn import mesh as meshes
from jaxnn import training
from jaxnn.recipes import RECIPES

NUM_TRAIN, NUM_VAL = 43, 11  # neither is a multiple of eight, of two, nor of a batch


@pytest.fixture(params=[2, 8])
def mesh(request):
    return meshes.make(jax.devices()[: request.param])


def set_up(name, dtype=np.float64):
    recipe = RECIPES[name]
    shape = (16, 16, 1) if recipe.images else (6,)
    rng = np.random.default_rng(0)

    def samples(n):
        x, y = rng.random((n, *shape)).astype(dtype), rng.integers(0, 2, n)
        return x, np.eye(3)[y] if recipe.labels == "one_hot" else y

    model = recipe.model(shape, 3)
    margin = jaxnn.metrics.binary_margin if recipe.labels == "binary" else jaxnn.metrics.margin
    keywords = {
        "loss": recipe.loss,
        "metrics": {**recipe.metrics, "margin": margin},
        "optimizer": recipe.optimizer,
        "learning_rate": 0.1,
        "epochs": 3,
    }
    return model, model.init(jax.random.key(0), dtype), samples(NUM_TRAIN), samples(NUM_VAL), keywords


def test_there_are_eight_devices():
    assert jax.device_count() == 8
    assert meshes.make().size == 8


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [
        ("logistic", None),
        ("softmax", None),
        ("softmax", 16),
        ("two_layer_tanh", 5),
        ("mlp", 16),
        ("cnn_global_pool", 16),
    ],
)
def test_a_mesh_trains_as_one_device_does(name, batch_size, mesh, x64, assert_rounding):
    model, params, train, val, keywords = set_up(name)
    order = np.random.default_rng(1).permutation(NUM_TRAIN)[:-2]  # the last batch has nine samples
    keywords |= {"batch_size": batch_size, "order": order}
    alone = jaxnn.fit(model.apply, params, train, val, **keywords)
    together = jaxnn.fit(model.apply, params, train, val, mesh=mesh, **keywords)
    assert_rounding(actual=together.params, expected=alone.params)
    assert_rounding(actual=together.history, expected=alone.history)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(together))


def test_an_order_for_every_epoch_and_slots(mesh, x64, assert_rounding):
    model, params, train, val, keywords = set_up("mlp")
    rng = np.random.default_rng(2)
    keywords |= {
        "batch_size": 16,
        "order": np.stack([rng.permutation(NUM_TRAIN) for _ in range(3)]),
        "optimizer": optax.adam,
    }
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer power
        alone = jaxnn.fit(model.apply, params, train, val, **keywords)
        together = jaxnn.fit(model.apply, params, train, val, mesh=mesh, **keywords)
    assert_rounding(actual=together.history, expected=alone.history)
    slots = [leaf for leaf in jax.tree.leaves(together.opt_state) if leaf.ndim]
    expected = [leaf for leaf in jax.tree.leaves(alone.opt_state) if leaf.ndim]
    assert len(slots) > 0
    assert_rounding(actual=slots, expected=expected)


def test_a_loss_that_is_no_mean_is_that_of_the_whole_batch(x64, assert_rounding):
    model, params, train, val, keywords = set_up("logistic")

    def spread_of_logits(logits, y):
        return jnp.var(logits) + jnp.max(logits) * jnp.mean(y.astype(logits.dtype))

    keywords |= {"loss": spread_of_logits, "batch_size": 16}
    alone = jaxnn.fit(model.apply, params, train, val, **keywords)
    together = jaxnn.fit(model.apply, params, train, val, mesh=meshes.make(), **keywords)
    assert_rounding(actual=together.params, expected=alone.params)


def test_each_device_computes_its_part_and_exchanges_sums_only(optimised):
    model, params, train, _, keywords = set_up("linear", np.float32)
    mesh = meshes.make()
    x, y = np.tile(train[0], (24, 1)), np.eye(3, dtype=np.float32)[np.tile(train[1], 24)]
    plan = training.Plan(
        model.apply, keywords["loss"], (), optax.sgd, 3, None, mesh, num_rows=(len(x), len(x))
    )
    samples = (meshes.spread(x, mesh), meshes.spread(y, mesh))
    arguments = (meshes.replicate(params, mesh), samples, samples, None, 0.1)
    text = jax.jit(training.run, static_argnums=0).lower(plan, *arguments).compile().as_text()
    own = -(-len(x) // 8)
    products = re.findall(r"= f32\[([\d,]+)\]\S* dot\(", text)
    assert any(str(own) in shape.split(",") for shape in products)  # logits of a device's own rows
    assert not any(str(len(x)) in shape.split(",") for shape in products)
    assert "all-reduce" in text
    assert "all-gather" not in text


def test_spread_places_rows_and_fills_up_with_zeros():
    mesh = meshes.make()
    array = np.arange(22, dtype=np.float32).reshape(11, 2)
    placed = meshes.spread(array, mesh)
    assert placed.shape == (16, 2)
    np.testing.assert_array_equal(placed[:11], array)
    np.testing.assert_array_equal(placed[11:], 0)
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 2)}
    few = meshes.spread(array[:3], mesh)
    np.testing.assert_array_equal(few, np.pad(array[:3], ((0, 5), (0, 0))))


def test_deal_without_a_mesh_is_the_identity():
    tree = {"a": jnp.ones(3)}
    assert meshes.deal(tree, None) is tree
    assert meshes.everywhere(tree, None) is tree


def test_replicate_puts_the_same_on_every_device():
    mesh = meshes.make()
    placed = meshes.replicate({"a": np.float32(2.0), "b": jnp.arange(3.0)}, mesh)
    assert placed["b"].sharding == NamedSharding(mesh, PartitionSpec())
    assert placed["a"].shape == ()
    np.testing.assert_array_equal(placed["b"], np.arange(3.0))


def test_a_bar_moves_on_a_mesh(capfd):
    model, params, train, val, keywords = set_up("logistic", np.float32)
    keywords["metrics"] = RECIPES["logistic"].metrics
    jaxnn.fit(model.apply, params, train, val, mesh=meshes.make(), progress=True, **keywords)
    assert "train_loss" in capfd.readouterr().err  # one line that the width of the terminal may cut


def test_bad_arguments_are_told_as_on_one_device():
    model, params, (x, y), val, keywords = set_up("logistic", np.float32)
    with pytest.raises(ValueError, match="one row per sample"):
        jaxnn.fit(model.apply, params, (x, y[:-1]), val, mesh=meshes.make(), **keywords)
    with pytest.raises(ValueError, match="must have one floating dtype"):
        jaxnn.fit(
            model.apply, jax.tree.map(lambda a: a > 0, params), (x, y), val, mesh=meshes.make(), **keywords
        )


@pytest.mark.parametrize(("chunk", "batch_size"), [(None, None), (2, 16)])
def test_a_sweep_over_a_mesh_is_one_over_a_device(chunk, batch_size, mesh, x64, assert_rounding):
    model, _, train, val, keywords = set_up("softmax")
    starts = jax.vmap(lambda key: model.init(key, np.float64))(jax.random.split(jax.random.key(0), 3))
    del keywords["learning_rate"]
    keywords |= {"learning_rates": (0.01, 0.1, 1.0), "weight_decays": (0.0, 0.1), "batch_size": batch_size}
    order = np.random.default_rng(1).permutation(NUM_TRAIN)
    alone = jaxnn.sweep(model.apply, starts, train, val, order=order, **keywords)
    spread = jaxnn.sweep(model.apply, starts, train, val, order=order, chunk=chunk, mesh=mesh, **keywords)
    assert len(spread.settings["start"]) == 18  # not a multiple of eight
    assert_rounding(actual=spread.params, expected=alone.params)
    assert_rounding(actual=spread.history, expected=alone.history)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves((spread.params, spread.history)))
