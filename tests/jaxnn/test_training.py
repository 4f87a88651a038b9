import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from experiments import EXPERIMENTS
from jaxnn import losses, metrics, models
from jaxnn.recipes import RECIPES

NUM_TRAIN, NUM_VAL, NUM_FEATURES, NUM_CLASSES = 11, 4, 6, 3


def draw(binary, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    x, x_val = (rng.standard_normal((n, NUM_FEATURES)).astype(dtype) for n in (NUM_TRAIN, NUM_VAL))
    if binary:
        y, y_val = (rng.integers(0, 2, n) for n in (NUM_TRAIN, NUM_VAL))
    else:
        y, y_val = (np.eye(NUM_CLASSES)[rng.integers(0, NUM_CLASSES, n)] for n in (NUM_TRAIN, NUM_VAL))
    return (x, y), (x_val, y_val)


# The notebook's loops once more, in NumPy: (logits, gradient of the mean loss) of each network.


def logistic_by_numpy(p, x, y):
    o = x @ p["kernel"][:, 0] + p["bias"][0]
    error = 1 / (1 + np.exp(-o)) - y
    return o, {"kernel": (x.T @ error / len(y))[:, None], "bias": np.array([error.mean()])}


def softmax_by_numpy(p, x, y):
    o = x @ p["kernel"] + p["bias"]
    error = np.exp(o) / np.exp(o).sum(axis=1, keepdims=True) - y
    return o, {"kernel": x.T @ error / len(y), "bias": error.mean(axis=0)}


def two_layer_by_numpy(p, x, y):
    h = np.tanh(x @ p["hidden"]["kernel"] + p["hidden"]["bias"])
    o, output = logistic_by_numpy(p["output"], h, y)
    back = (1 / (1 + np.exp(-o)) - y)[:, None] * p["output"]["kernel"][:, 0] * (1 - h**2)
    return o, {"hidden": {"kernel": x.T @ back / len(y), "bias": back.mean(axis=0)}, "output": output}


def binary_metrics(o, y):
    q = 1 / (1 + np.exp(-o))
    return {
        "loss": -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q)),
        "accuracy": np.mean((q >= 0.5) == y),
    }


def softmax_metrics(o, y):
    q = np.exp(o) / np.exp(o).sum(axis=1, keepdims=True)
    return {"loss": -np.sum(y * np.log(q)), "accuracy": np.mean(o.argmax(axis=1) == y.argmax(axis=1))}


ORACLES = {
    "logistic": (logistic_by_numpy, binary_metrics, 1.0, {"kernel": 1.0, "bias": 1.0}),
    "softmax": (softmax_by_numpy, softmax_metrics, NUM_TRAIN, {"kernel": 1.0, "bias": 1.0}),
    "two_layer_tanh": (
        two_layer_by_numpy,
        binary_metrics,
        1.0,
        {"hidden": {"kernel": 0.1, "bias": 0.1}, "output": {"kernel": 1.0, "bias": 1.0}},
    ),
}


def train_by_numpy(name, params, train, val, *, rate, epochs, batch_size, order):
    """Plain loops that record when the notebook records."""
    forward, measure, _, speeds = ORACLES[name]
    p = jax.tree.map(lambda leaf: np.array(leaf, np.float64), params)
    history = {}

    def record(part, p, x, y):
        for metric, value in measure(forward(p, x, y)[0], y).items():
            history.setdefault(f"{part}_{metric}", []).append(value)

    for epoch in range(epochs):
        row = np.arange(NUM_TRAIN) if order is None else order if order.ndim == 1 else order[epoch]
        size = batch_size or len(row)
        if batch_size is None:
            record("train", p, train[0][row], train[1][row])
            record("val", p, *val)
        steps = []
        for k in range(0, len(row), size):
            x, y = train[0][row[k : k + size]], train[1][row[k : k + size]]
            logits, grads = forward(p, x, y)
            loss = measure(logits, y)["loss"]
            steps.append(loss / len(y) if name == "softmax" else loss)
            p = jax.tree.map(lambda w, g, speed: w - rate * speed * g, p, grads, speeds)
        history.setdefault("step_loss", []).append(steps)
        if batch_size is not None:
            record("train", p, *train)
            record("val", p, *val)
    return p, {key: np.array(values) for key, values in history.items()}


def set_up(name, dtype=jnp.float64):
    recipe = RECIPES[name]
    train, val = draw(recipe.labels == "binary", dtype=np.dtype(dtype))
    model = recipe.model((NUM_FEATURES,), NUM_CLASSES)
    params = jax.tree.map(lambda leaf: leaf * 10, model.init(jax.random.key(1), dtype))
    keywords = {"loss": recipe.loss, "metrics": recipe.metrics, "optimizer": recipe.optimizer}
    return model, params, train, val, keywords


def orders(kind, epochs):
    rng = np.random.default_rng(4)
    return {
        "none": None,
        "fixed": rng.permutation(NUM_TRAIN),
        "every epoch": np.stack([rng.permutation(NUM_TRAIN) for _ in range(epochs)]),
        "dropped last": np.stack([rng.permutation(NUM_TRAIN)[:8] for _ in range(epochs)]),
    }[kind]


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize(
    ("batch_size", "kind"),
    [
        (None, "none"),
        (None, "every epoch"),
        (4, "none"),
        (4, "fixed"),
        (4, "every epoch"),
        (4, "dropped last"),
        (NUM_TRAIN, "none"),
        (50, "fixed"),
    ],
)
def test_fit_against_plain_loops(name, batch_size, kind, x64, assert_rounding):
    model, params, train, val, keywords = set_up(name)
    epochs, rate = 5, 0.3
    order = orders(kind, epochs)
    run = jaxnn.fit(
        model.apply,
        params,
        train,
        val,
        learning_rate=rate,
        epochs=epochs,
        batch_size=batch_size,
        order=order,
        **keywords,
    )
    expected_params, expected_history = train_by_numpy(
        name, params, train, val, rate=rate, epochs=epochs, batch_size=batch_size, order=order
    )
    assert_rounding(actual=run.params, expected=expected_params)
    assert_rounding(actual=run.history, expected=expected_history)


@pytest.mark.parametrize("name", ORACLES)
def test_fit_against_plain_loops_fully_optimised(name, x64, optimised, assert_rounding):
    test_fit_against_plain_loops(name, 4, "every epoch", x64, assert_rounding)


@pytest.mark.parametrize("name", [name for name, e in EXPERIMENTS.items() if e.optimizer != "adam"])
def test_one_step_moves_by_the_rate_times_the_gradient(name, x64, assert_rounding):
    recipe = RECIPES[name]
    shape = (32, 32, 1) if recipe.images else (NUM_FEATURES,)
    model = recipe.model(shape, NUM_CLASSES)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((5, *shape)))
    index = jnp.array([0, 1, 1, 0, 1])
    y = {
        "binary": index,
        "index": index,
        "one_hot": jax.nn.one_hot(index, NUM_CLASSES, dtype=jnp.float64),
        "real": jnp.asarray(rng.random(5)),
    }[recipe.labels]
    params = jax.jit(lambda: model.init(jax.random.key(0), jnp.float64))()
    run = jaxnn.fit(
        model.apply,
        params,
        (x, y),
        (x, y),
        loss=recipe.loss,
        metrics={},
        optimizer=recipe.optimizer,
        penalty=recipe.penalty,
        learning_rate=0.25,
        epochs=1,
    )
    penalty = recipe.penalty or (lambda params: 0.0)
    grads = jax.jit(jax.grad(lambda p: recipe.loss(model.apply(p, x), y) + penalty(p)))(params)
    if name.startswith("two_layer"):
        grads = {"hidden": jax.tree.map(lambda g: g / 10, grads["hidden"]), "output": grads["output"]}
    expected = jax.tree.map(lambda w, g: np.asarray(w) - 0.25 * np.asarray(g), params, grads)
    assert_rounding(actual=run.params, expected=expected)


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_dtype_is_kept(batch_size, dtype, x64):
    model, params, train, val, keywords = set_up("two_layer_tanh", dtype)
    run = jaxnn.fit(
        model.apply, params, train, val, learning_rate=0.1, epochs=2, batch_size=batch_size, **keywords
    )
    assert {leaf.dtype for leaf in jax.tree.leaves((run.params, run.history))} == {jnp.dtype(dtype)}


def test_float32_follows_float64(x64):
    model, params, train, val, keywords = set_up("softmax", jnp.float32)

    def val_loss(dtype):
        wide, (x, y), (x_val, y_val) = jax.tree.map(lambda a: a.astype(dtype), (params, train, val))
        run = jaxnn.fit(model.apply, wide, (x, y), (x_val, y_val), learning_rate=0.125, epochs=5, **keywords)
        return np.asarray(run.history["val_loss"], np.float64)

    narrow, wide = val_loss(np.float32), val_loss(np.float64)
    np.testing.assert_allclose(narrow, wide, rtol=200 * np.finfo(np.float32).eps)
    assert (narrow != wide).any()


@pytest.mark.parametrize("batch_size", [None, 4])
def test_rate_zero_leaves_the_params(batch_size):
    model, params, train, val, keywords = set_up("logistic", jnp.float32)
    run = jaxnn.fit(
        model.apply, params, train, val, learning_rate=0.0, epochs=3, batch_size=batch_size, **keywords
    )
    jax.tree.map(np.testing.assert_array_equal, run.params, params)
    assert np.unique(run.history["val_loss"]).size == 1


def test_same_arguments_same_bits():
    model, params, train, val, keywords = set_up("softmax", jnp.float32)
    runs = []
    for _ in range(2):
        jax.clear_caches()
        runs.append(
            jaxnn.fit(model.apply, params, train, val, learning_rate=0.1, epochs=4, batch_size=4, **keywords)
        )
    jax.tree.map(np.testing.assert_array_equal, runs[0], runs[1])


def test_a_run_of_the_same_kind_is_not_compiled_again():
    _, params, train, val, keywords = set_up("logistic", jnp.float32)
    traces = []

    def apply(params, x):
        traces.append(x.shape)
        return models.logistic(NUM_FEATURES).apply(params, x)

    def train_with(rate, seed, epochs=3):
        order = np.random.default_rng(seed).permutation(NUM_TRAIN)
        moved = jax.tree.map(lambda leaf: leaf + seed, params)
        return jaxnn.fit(
            apply,
            moved,
            train,
            val,
            learning_rate=rate,
            epochs=epochs,
            batch_size=4,
            order=order,
            **{**keywords, "metrics": dict(keywords["metrics"])},
        )

    first = train_with(0.1, 0)
    num_traces = len(traces)
    second = train_with(0.5, 1)
    assert num_traces > 0
    assert len(traces) == num_traces
    assert first.history["val_loss"][-1] != second.history["val_loss"][-1]
    train_with(0.1, 0, epochs=4)
    assert len(traces) > num_traces


def test_equal_networks_built_twice_share_their_program():
    _, params, train, val, keywords = set_up("two_layer_tanh", jnp.float32)
    sizes = []
    for _ in range(2):
        model = RECIPES["two_layer_tanh"].model((NUM_FEATURES,), 2)
        jaxnn.fit(model.apply, params, train, val, learning_rate=0.1, epochs=7, **keywords)
        sizes.append(jaxnn.fitting._compiled_run._cache_size())
    assert sizes[0] == sizes[1]


def test_metrics_may_be_arrays(x64, assert_rounding):
    model, params, train, val, keywords = set_up("logistic")
    keywords["metrics"] = {"margin": metrics.binary_margin}
    run = jaxnn.fit(model.apply, params, train, val, learning_rate=0.1, epochs=3, **keywords)
    assert run.history["train_margin"].shape == (3, NUM_TRAIN)
    assert_rounding(actual=run.history["val_margin"][0], expected=model.apply(params, jnp.asarray(val[0])))


def test_a_loss_that_explodes_is_recorded():
    train, val = draw(binary=True, dtype=np.float32)
    model = models.scalar_output(models.linear(NUM_FEATURES, 1))
    run = jaxnn.fit(
        model.apply,
        model.init(jax.random.key(0)),
        train,
        val,
        loss=losses.square_error,
        metrics={"loss": losses.square_error},
        optimizer=optax.sgd,
        learning_rate=1e6,
        epochs=20,
    )
    assert bool(jnp.isfinite(run.history["train_loss"][0]))
    assert not bool(jnp.isfinite(run.history["train_loss"][-1]))


def test_any_optax_optimiser_and_its_state(x64):
    model, params, train, val, keywords = set_up("logistic")
    keywords["optimizer"] = optax.adam
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer power
        run = jaxnn.fit(
            model.apply, params, train, val, learning_rate=0.01, epochs=3, batch_size=4, **keywords
        )
        one = jaxnn.fit(model.apply, params, train, val, learning_rate=0.01, epochs=1, **keywords)
    assert int(run.opt_state[0].count) == 9
    # Adam's first step has the length of its rate, whatever the gradient.
    np.testing.assert_allclose(jnp.abs(one.params["kernel"] - params["kernel"]), 0.01, rtol=1e-5)


def test_a_network_of_integer_inputs(x64):
    rows = jnp.arange(8.0).reshape(4, 2)
    run = jaxnn.fit(
        lambda params, x: params["rows"][x],
        {"rows": rows},
        (np.array([0, 1, 3]), np.array([1, 0, 1])),
        (np.array([2]), np.array([1])),
        loss=losses.cross_entropy,
        metrics={},
        optimizer=optax.sgd,
        learning_rate=1.0,
        epochs=1,
    )
    moved = np.asarray(run.params["rows"] != rows).any(axis=1)
    assert moved.tolist() == [True, True, False, True]


BAD = {
    "`epochs` is 0": {"epochs": 0},
    "`batch_size` is -1": {"batch_size": -1},
    r"`order` has shape \(0,\)": {"order": np.zeros(0, int)},
    r"`order` has shape \(2, 11\): it must be \(samples used,\) or \(3, samples used\)": {
        "order": np.zeros((2, NUM_TRAIN), int)
    },
    r"`order` has indices from 0 to 11: they must lie in 0..10": {"order": np.arange(NUM_TRAIN + 1)},
    "`order` has indices from -1": {"order": np.array([-1, 0])},
    "`order` has dtype float64": {"order": np.zeros(3)},
    "`train` has inputs of shape": {"train": (np.ones((3, NUM_FEATURES), np.float32), np.ones(4))},
    "`val` has inputs of shape": {"val": (np.ones((0, NUM_FEATURES), np.float32), np.ones(0))},
    r"`train` has inputs of shape \(11, 6\), `val` \(2, 5\)": {
        "val": (np.ones((2, 5), np.float32), np.ones(2))
    },
    r"`train` has labels of shape \(11,\), `val` \(2, 3\)": {
        "val": (np.ones((2, NUM_FEATURES), np.float32), np.ones((2, 3)))
    },
    "`params` has leaves of dtypes": {
        "params": {"kernel": np.ones((NUM_FEATURES, 1), np.float16), "bias": np.ones(1, np.float32)}
    },
    "`train` has inputs of dtype float32, `params` float16": {
        "params": {"kernel": np.ones((NUM_FEATURES, 1), np.float16), "bias": np.ones(1, np.float16)}
    },
    r"`x` must be \(N, 2\)": {
        "params": {"kernel": np.ones((2, 1), np.float32), "bias": np.ones(1, np.float32)}
    },
    "one row per sample": {"apply": lambda params, x: (x @ params["kernel"])[:1, 0]},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    model, params, train, val, keywords = set_up("logistic", jnp.float32)
    arguments = {"apply": model.apply, "params": params, "train": train, "val": val, **keywords}
    with pytest.raises(ValueError, match=message):
        jaxnn.fit(**{**arguments, "learning_rate": 0.1, "epochs": 3, **BAD[message]})


def test_all_faults_come_in_one_message():
    model, params, train, val, keywords = set_up("logistic", jnp.float32)
    with pytest.raises(ValueError, match=r"(?s)`epochs` is 0.*`batch_size` is 0.*`order`"):
        jaxnn.fit(
            model.apply,
            params,
            train,
            val,
            learning_rate=0.1,
            epochs=0,
            batch_size=0,
            order=np.array([99]),
            **keywords,
        )


@pytest.mark.parametrize("name", ["logistic", "softmax", "two_layer_tanh", "mlp", "cnn"])
def test_per_sample_gradients(name, x64, assert_rounding):
    recipe = RECIPES[name]
    shape = (32, 32, 1) if recipe.images else (NUM_FEATURES,)
    model = recipe.model(shape, NUM_CLASSES)
    params = jax.jit(lambda: model.init(jax.random.key(0), jnp.float64))()
    x = jnp.asarray(np.random.default_rng(0).random((4, *shape)))
    y = jnp.array([0, 1, 1, 0])
    grad = jax.jit(jax.grad(lambda p, x, y: recipe.loss(model.apply(p, x), y)))
    every = jaxnn.per_sample_grads(model.apply, params, x, y, loss=recipe.loss)
    assert_rounding(actual=jax.tree.map(lambda g: g.mean(axis=0), every), expected=grad(params, x, y))
    for n in range(4):
        alone = grad(params, x[n : n + 1], y[n : n + 1])
        assert_rounding(actual=jax.tree.map(lambda g, n=n: g[n], every), expected=alone)
