import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from jaxnn import storage
from jaxnn.recipes import RECIPES
from jaxnn.sweep import _run_all
from jaxnn.training import Plan

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


def row(tree, i):
    return jax.tree.map(lambda leaf: leaf[i], tree)


@pytest.mark.parametrize(
    ("name", "batch_size", "chunk"),
    [
        ("logistic", None, None),
        ("softmax", 4, 4),  # 6 runs: a chunk and a rest
        ("two_layer_tanh", None, 2),
        ("mlp", 4, 1),
        ("cnn_global_pool", 4, None),
    ],
)
def test_sweep_equals_fit_run_by_run(name, batch_size, chunk, x64, assert_rounding):
    model, starts, train, val, keywords = set_up(name)
    common = {"epochs": 3, "batch_size": batch_size, "order": np.arange(9)[::-1].copy(), **keywords}
    runs = jaxnn.sweep(model.apply, starts, train, val, learning_rates=RATES, chunk=chunk, **common)
    for i in range(6):
        start, rate = runs.settings["start"][i], runs.settings["learning_rate"][i]
        assert (start, rate) == (i // 3, RATES[i % 3])
        alone = jaxnn.fit(model.apply, row(starts, start), train, val, learning_rate=rate, **common)
        assert_rounding(actual=row(runs.params, i), expected=alone.params)
        assert_rounding(actual=row(runs.history, i), expected=alone.history)


@pytest.mark.parametrize(
    ("name", "batch_size", "chunk"), [("softmax", None, 5), ("mlp", 4, None), ("two_layer_tanh", 4, 3)]
)
def test_scales_and_decays_equal_fits_of_scaled_starts_with_a_decaying_optimiser(
    name, batch_size, chunk, x64, assert_rounding
):
    model, starts, train, val, keywords = set_up(name)
    common = {"epochs": 3, "batch_size": batch_size, **keywords}
    grid = {"scales": [0.5, 1.0], "weight_decays": [0.0, 0.3], "learning_rates": [0.1, 0.2]}
    runs = jaxnn.sweep(model.apply, starts, train, val, chunk=chunk, **grid, **common)
    expected = itertools.product((0, 1), *grid.values())
    for i, (start, scale, decay, rate) in enumerate(expected):
        assert row(runs.settings, i) == {
            "start": start,
            "scale": scale,
            "weight_decay": decay,
            "learning_rate": rate,
        }

        def decaying(learning_rate, decay=decay):
            return optax.chain(optax.add_decayed_weights(decay), keywords["optimizer"](learning_rate))

        scaled = jax.tree.map(lambda leaf, start=start, scale=scale: scale * leaf[start], starts)
        alone = jaxnn.fit(
            model.apply, scaled, train, val, learning_rate=rate, **{**common, "optimizer": decaying}
        )
        assert_rounding(actual=row(runs.params, i), expected=alone.params)
        assert_rounding(actual=row(runs.history, i), expected=alone.history)
    assert len(runs.settings["start"]) == 16


def test_adam_with_decay_is_the_formula_of_torch(x64, assert_rounding):
    rng = np.random.default_rng(1)
    x, y, w = rng.standard_normal((7, 3)), rng.standard_normal(7), rng.standard_normal(3)
    rate, decay, scale, epochs = 0.05, 0.7, 2.0, 6

    def square(p, y):
        return jnp.mean((p - y) ** 2)

    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integers
        runs = jaxnn.sweep(
            lambda w, x: x @ w,
            jnp.asarray(w)[None],
            (x, y),
            (x, y),
            learning_rates=[rate],
            scales=[scale],
            weight_decays=[decay],
            loss=square,
            metrics={"loss": square},
            optimizer=optax.adam,
            epochs=epochs,
        )
    w, m, v, losses = scale * w, 0.0, 0.0, []
    for t in range(1, epochs + 1):
        losses.append(np.mean((x @ w - y) ** 2))  # without the penalty
        gradient = 2 / 7 * x.T @ (x @ w - y) + decay * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert_rounding(actual=runs.params, expected=w[None])
    assert_rounding(actual=runs.history["train_loss"], expected=np.array(losses)[None])


def test_dtype_and_shapes(x64):
    model, starts, train, val, keywords = set_up("softmax", jnp.float32)
    grid = {"learning_rates": jnp.array(RATES), "scales": (1, 2), "weight_decays": np.array([0.5])}
    runs = jaxnn.sweep(model.apply, starts, train, val, epochs=4, **grid, **keywords)
    assert isinstance(runs, jaxnn.Sweep)
    assert runs.params["kernel"].shape == (12, 6, 3)
    assert runs.history["val_accuracy"].shape == (12, 4)
    assert runs.history["step_loss"].shape == (12, 4, 1)
    assert {leaf.dtype for leaf in jax.tree.leaves((runs.params, runs.history))} == {jnp.dtype("float32")}
    assert runs.settings["scale"].tolist() == [1.0] * 3 + [2.0] * 3 + [1.0] * 3 + [2.0] * 3


def test_other_values_do_not_compile_again():
    model, starts, train, val, keywords = set_up("logistic", jnp.float32)
    traces = []

    def apply(params, x):
        traces.append(x.shape)
        return model.apply(params, x)

    def go(rates, scales, decays, chunk):
        return jaxnn.sweep(
            apply,
            starts,
            train,
            val,
            learning_rates=rates,
            scales=scales,
            weight_decays=decays,
            chunk=chunk,
            epochs=2,
            **keywords,
        )

    for chunk in (None, 3):
        traces.clear()
        go([0.1, 0.2], [1.0, 2.0], [0.0, 0.1], chunk)
        num_traces, tried = len(traces), storage._alike.cache_info().misses
        with jax.checking_leaks():
            go([0.3, 0.4], [0.5, 3.0], [0.2, 0.3], chunk)
        assert num_traces == len(traces) > 0
        assert storage._alike.cache_info().misses == tried


def test_what_is_not_asked_for_is_not_in_the_program(monkeypatch):
    model, starts, train, val, keywords = set_up("softmax", jnp.float32)
    asked = []

    def watched(*args):
        asked.append(set(args[4]))
        return _run_all(*args)

    monkeypatch.setattr(sys.modules["jaxnn.sweep"], "_run_all", watched)
    common = {"learning_rates": [0.1], "epochs": 1, **keywords}
    jaxnn.sweep(model.apply, starts, train, val, **common)
    jaxnn.sweep(model.apply, starts, train, val, scales=[1.0, 2.0], **common)
    jaxnn.sweep(model.apply, starts, train, val, scales=[1.0], weight_decays=[0.0, 0.1], **common)
    plain = {"start", "learning_rate"}
    assert asked == [plain, plain | {"scale"}, plain | {"weight_decay"}]


def test_memory_falls_with_the_chunk(optimised):
    model, starts, train, val, keywords = set_up("mlp", jnp.float32)
    metrics = tuple(keywords["metrics"].items())
    plan = Plan(model.apply, keywords["loss"], metrics, keywords["optimizer"], 2, None)
    data = jax.tree.map(jnp.asarray, (train, val))
    settings = {"start": jnp.arange(16) % 2, "learning_rate": jnp.linspace(0.01, 0.1, 16)}
    sizes = [
        _run_all.lower(plan, chunk, None, 16, settings, (starts, *data, None))
        .compile()
        .memory_analysis()
        .temp_size_in_bytes
        for chunk in (None, 8, 2)
    ]
    whole, half, eighth = sizes
    assert half < 0.75 * whole
    assert eighth < 0.5 * half


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
    for name in ("scales", "weight_decays"):
        with pytest.raises(ValueError, match=rf"`{name}` has shape \(1, 1\)"):
            jaxnn.sweep(
                model.apply,
                starts,
                train,
                val,
                learning_rates=[0.1],
                epochs=2,
                **{name: np.array([[1.0]])},
                **keywords,
            )
    for chunk in (0, -1):
        with pytest.raises(ValueError, match=r"`chunk` is .* integer of at least 1"):
            jaxnn.sweep(
                model.apply, starts, train, val, learning_rates=[0.1], epochs=2, chunk=chunk, **keywords
            )
