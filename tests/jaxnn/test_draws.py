"""Random numbers beside the samples, and a rate of each epoch's own, in `fit`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxnn
from data.draws import keep as draw_keep
from jaxnn import losses, metrics, models

NUM_TRAIN, NUM_FEATURES, NUM_CLASSES, EPOCHS, RATE = 11, 6, 3, 4, 0.3
MODEL = models.mlp((NUM_FEATURES, 7, 5, NUM_CLASSES), dropout_rate=0.5)


def draw(num_samples, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, NUM_FEATURES)), rng.integers(0, NUM_CLASSES, num_samples)


def keywords():
    return {
        "loss": losses.cross_entropy,
        "metrics": {"loss": losses.cross_entropy, "margin": metrics.margin},
        "optimizer": optax.sgd,
        "learning_rate": RATE,
        "epochs": EPOCHS,
    }


def orders(kind):
    rng = np.random.default_rng(4)
    return {
        "none": None,
        "fixed": rng.permutation(NUM_TRAIN)[:9],
        "every epoch": np.stack([rng.permutation(NUM_TRAIN)[:9] for _ in range(EPOCHS)]),
    }[kind]


def loop(params, train, order, kept, batch_size, rates):
    """Steps one at a time, the masks of each sample taken by its place in the epoch."""
    params, step_losses, val_losses = params, [], []
    value_and_grad = jax.jit(
        jax.value_and_grad(lambda p, x, y, k: losses.cross_entropy(MODEL.apply(p, x, keep=k), y))
    )
    x_val, y_val = draw(5, 1)
    for epoch in range(EPOCHS):
        rows = np.arange(NUM_TRAIN) if order is None else order if order.ndim == 1 else order[epoch]
        before = losses.cross_entropy(MODEL.apply(params, jnp.asarray(x_val)), jnp.asarray(y_val))
        losses_of_epoch = []
        for start in range(0, len(rows), batch_size or len(rows)):
            places = np.arange(len(rows))[start : start + (batch_size or len(rows))]
            x, y = train[0][rows[places]], train[1][rows[places]]
            loss, grads = value_and_grad(params, x, y, kept[epoch][places])
            params = jax.tree.map(lambda w, g, epoch=epoch: w - rates[epoch] * g, params, grads)
            losses_of_epoch.append(float(loss))
        after = losses.cross_entropy(MODEL.apply(params, jnp.asarray(x_val)), jnp.asarray(y_val))
        step_losses.append(losses_of_epoch)
        val_losses.append(float(before if batch_size is None else after))
    return params, {"step_loss": np.array(step_losses), "val_loss": np.array(val_losses)}


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("kind", ["none", "fixed", "every epoch"])
def test_each_step_gets_the_masks_of_its_samples(kind, batch_size, x64, assert_rounding):
    params, train, order = MODEL.init(jax.random.key(0), jnp.float64), draw(NUM_TRAIN, 0), orders(kind)
    drawn = draw_keep(NUM_TRAIN if order is None else 9, 12, 0.5, epochs=EPOCHS)
    fitted = jaxnn.fit(
        MODEL.apply, params, train, draw(5, 1), batch_size=batch_size, order=order, draws=drawn, **keywords()
    )
    by_hand, history = loop(params, train, order, drawn["keep"], batch_size, [RATE] * EPOCHS)
    assert_rounding(actual=fitted.params, expected=by_hand)
    for name, values in history.items():
        assert_rounding(actual=fitted.history[name], expected=values)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_the_rate_of_each_epoch(batch_size, x64, assert_rounding):
    params, train = MODEL.init(jax.random.key(0), jnp.float64), draw(NUM_TRAIN, 0)
    drawn = draw_keep(NUM_TRAIN, 12, 0.5, epochs=EPOCHS)
    fitted = jaxnn.fit(
        MODEL.apply,
        params,
        train,
        draw(5, 1),
        batch_size=batch_size,
        draws=drawn,
        schedule=lambda epoch: jnp.array([1.0, 0.5, 0.0, 2.0])[epoch],
        **keywords(),
    )
    rates = [RATE, RATE / 2, 0, RATE * 2]
    by_hand, history = loop(params, train, None, drawn["keep"], batch_size, rates)
    assert_rounding(actual=fitted.params, expected=by_hand)
    assert_rounding(actual=fitted.history["step_loss"], expected=history["step_loss"])


def test_metrics_are_those_without_random_numbers(x64, assert_rounding):
    params, train = MODEL.init(jax.random.key(0), jnp.float64), draw(NUM_TRAIN, 0)
    fitted = jaxnn.fit(
        MODEL.apply,
        params,
        train,
        draw(5, 1),
        draws=draw_keep(NUM_TRAIN, 12, 0.5, epochs=EPOCHS),
        **keywords(),
    )
    plain = losses.cross_entropy(MODEL.apply(params, jnp.asarray(train[0])), jnp.asarray(train[1]))
    assert_rounding(actual=fitted.history["train_loss"][0], expected=np.asarray(plain))
    assert abs(fitted.history["step_loss"][0, 0] - plain) > 1e-3


def test_a_schedule_of_optax_keeps_the_dtype():
    params = jax.tree.map(jnp.float32, MODEL.init(jax.random.key(0)))
    x, y = draw(NUM_TRAIN, 0)
    samples = (x.astype(np.float32), y)
    with jax.numpy_dtype_promotion("standard"):  # optax divides the epoch, an integer
        fitted = jaxnn.fit(
            MODEL.apply, params, samples, samples, schedule=optax.exponential_decay(1.0, 1, 0.5), **keywords()
        )
    assert {leaf.dtype for leaf in jax.tree.leaves(fitted.params)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (np.ones((EPOCHS, 10, 12), bool), r"'keep' of shape \(4, 10, 12\): it must be \(4, 11, ...\)"),
        (np.ones((EPOCHS + 1, NUM_TRAIN, 12), bool), r"'keep' of shape \(5, 11, 12\)"),
        (np.ones((EPOCHS, NUM_TRAIN), np.float32), "'keep' of dtype float32, `params` float64"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(draws, message, x64):
    params, train = MODEL.init(jax.random.key(0), jnp.float64), draw(NUM_TRAIN, 0)
    with pytest.raises(ValueError, match=message):
        jaxnn.fit(MODEL.apply, params, train, train, draws={"keep": draws}, **keywords())


def test_a_mesh_trains_as_one_device_does(x64, assert_rounding):
    params, train = MODEL.init(jax.random.key(0), jnp.float64), draw(NUM_TRAIN, 0)
    how = keywords() | {"batch_size": 4, "draws": draw_keep(NUM_TRAIN, 12, 0.5, epochs=EPOCHS)}
    how["early_stopping"] = jaxnn.EarlyStopping(2)
    alone = jaxnn.fit(MODEL.apply, params, train, draw(5, 1), **how)
    together = jaxnn.fit(MODEL.apply, params, train, draw(5, 1), mesh=jaxnn.mesh.make(), **how)
    assert_rounding(actual=together.params, expected=jax.tree.map(np.asarray, alone.params))
