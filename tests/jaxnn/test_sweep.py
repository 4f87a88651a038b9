import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn.recipes import RECIPES

RATES = (0.0, 0.05, 0.3)


def set_up(name, dtype=jnp.float64):
    recipe = RECIPES[name]
    shape = (16, 16, 1) if recipe.images else (6,)
    rng = np.random.default_rng(0)
    x = rng.random((9, *shape)).astype(dtype)
    y = rng.integers(0, 2, 9)
    if recipe.labels == "one_hot":
        y = np.eye(3)[y]
    model = recipe.model(shape, 3)
    starts = jax.jit(jax.vmap(lambda key: model.init(key, dtype)))(jax.random.split(jax.random.key(0), 2))
    keywords = {"loss": recipe.loss, "metrics": recipe.metrics, "optimizer": recipe.optimizer}
    return model, starts, (x, y), (x[:3], y[:3]), keywords


@pytest.mark.parametrize(
    ("name", "batch_size"),
    [("logistic", None), ("softmax", 4), ("two_layer_tanh", None), ("mlp", 4), ("cnn_global_pool", 4)],
)
def test_sweep_equals_fit_run_by_run(name, batch_size, x64, assert_rounding):
    model, starts, train, val, keywords = set_up(name)
    common = {"epochs": 3, "batch_size": batch_size, "order": np.arange(9)[::-1].copy(), **keywords}
    runs = jaxnn.sweep(model.apply, starts, train, val, learning_rates=RATES, **common)
    for s in range(2):
        for r, rate in enumerate(RATES):
            start = jax.tree.map(lambda leaf, s=s: leaf[s], starts)
            alone = jaxnn.fit(model.apply, start, train, val, learning_rate=rate, **common)
            ours = jax.tree.map(lambda leaf, s=s, r=r: leaf[s, r], runs)
            assert_rounding(actual=ours.params, expected=alone.params)
            assert_rounding(actual=ours.history, expected=alone.history)


def test_dtype_and_shapes(x64):
    model, starts, train, val, keywords = set_up("softmax", jnp.float32)
    runs = jaxnn.sweep(model.apply, starts, train, val, learning_rates=jnp.array(RATES), epochs=4, **keywords)
    assert runs.params["kernel"].shape == (2, 3, 6, 3)
    assert runs.history["val_accuracy"].shape == (2, 3, 4)
    assert runs.history["step_loss"].shape == (2, 3, 4, 1)
    assert {leaf.dtype for leaf in jax.tree.leaves((runs.params, runs.history))} == {jnp.dtype("float32")}


def test_other_rates_do_not_compile_again():
    model, starts, train, val, keywords = set_up("logistic", jnp.float32)
    traces = []

    def apply(params, x):
        traces.append(x.shape)
        return model.apply(params, x)

    jaxnn.sweep(apply, starts, train, val, learning_rates=[0.1, 0.2], epochs=2, **keywords)
    num_traces = len(traces)
    jaxnn.sweep(apply, starts, train, val, learning_rates=[0.3, 0.4], epochs=2, **keywords)
    assert num_traces == len(traces) > 0


def test_bad_arguments():
    model, starts, train, val, keywords = set_up("logistic", jnp.float32)
    with pytest.raises(ValueError, match=r"`learning_rates` has shape \(\)"):
        jaxnn.sweep(model.apply, starts, train, val, learning_rates=0.1, epochs=2, **keywords)
    with pytest.raises(ValueError, match=r"`learning_rates` has shape \(0,\)"):
        jaxnn.sweep(model.apply, starts, train, val, learning_rates=[], epochs=2, **keywords)
    uneven = {**starts, "bias": starts["bias"][:1]}
    with pytest.raises(ValueError, match="`params` has leaves of shapes"):
        jaxnn.sweep(model.apply, uneven, train, val, learning_rates=[0.1], epochs=2, **keywords)
    with pytest.raises(ValueError, match="`epochs` is 0"):
        jaxnn.sweep(model.apply, starts, train, val, learning_rates=[0.1], epochs=0, **keywords)
