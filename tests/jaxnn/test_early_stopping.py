"""Early stopping in a compiled program, with validation losses that are given, epoch by epoch."""

import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn import EarlyStopping, losses, models
from tests.kit.training_logs import SEQUENCES, Stop, stop_by_hand

# Functions of the module: a run with another script finds its compiled program.


def count(params, x):
    return x @ params["w"]


def fall(logits, table):
    return -logits.mean()


def read(logits, table):
    return table[0][jnp.round(logits[0]).astype(jnp.int32)]


def scripted(values, *, before_the_update=False):
    """Arguments of `fit` that give these validation losses: the only weight counts the steps.

    The loss is minus the weight, the rate 1, an epoch one step; the weight starts at 0.
    """
    num_epochs = len(values)
    x = np.ones((4, 1), np.float32)
    table = np.array([*values, *values[-1:]] if before_the_update else [math.inf, *values], np.float32)
    rows = np.tile(table, (4, 1))

    return {
        "apply": count,
        "params": {"w": np.zeros(1, np.float32)},
        "train": (x, rows),
        "val": (x, rows),
        "loss": fall,
        "metrics": {"loss": read},
        "optimizer": optax.sgd,
        "learning_rate": 1.0,
        "epochs": num_epochs,
        "batch_size": None if before_the_update else 4,
    }


def run(values, patience, min_delta, **how):
    return jaxnn.fit(**scripted(values, **how), early_stopping=EarlyStopping(patience, min_delta))


@pytest.mark.parametrize("name", SEQUENCES)
def test_where_it_stops_and_what_it_keeps(name):
    values, patience, min_delta, stop = SEQUENCES[name]
    fitted = run(values, patience, min_delta)
    assert Stop(len(fitted.history["val_loss"]), int(fitted.history["best_epoch"])) == stop
    assert float(fitted.params["w"][0]) == stop.best_epoch  # after the updates of that epoch
    np.testing.assert_array_equal(fitted.history["val_loss"], np.float32(values[: stop.num_epochs]))
    assert fitted.history["step_loss"].shape == (stop.num_epochs, 1)


@pytest.mark.parametrize("name", SEQUENCES)
def test_full_batches_keep_the_weights_that_were_measured(name):
    values, patience, min_delta, stop = SEQUENCES[name]
    fitted = run(values, patience, min_delta, before_the_update=True)
    assert Stop(len(fitted.history["val_loss"]), int(fitted.history["best_epoch"])) == stop
    assert float(fitted.params["w"][0]) == max(stop.best_epoch - 1, 0)  # before the update of that epoch


VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf])


@given(
    values=st.lists(VALUES, min_size=6, max_size=6),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.25]),
)
def test_any_sequence_stops_where_the_definition_says(values, patience, min_delta):
    fitted = run(values, patience, min_delta)
    found = Stop(len(fitted.history["val_loss"]), int(fitted.history["best_epoch"]))
    assert found == stop_by_hand(values, patience, min_delta)


def draw(num_samples, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((num_samples, 3)).astype(np.float32), rng.integers(0, 2, num_samples)


def test_a_run_that_stops_is_the_beginning_of_the_run_that_does_not():
    model = models.linear(3, 2)
    keywords = {
        "apply": model.apply,
        "params": {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)},
        "train": draw(20, 0),
        "val": draw(8, 1),
        "loss": losses.cross_entropy,
        "metrics": {"loss": losses.cross_entropy},
        "optimizer": optax.sgd,
        "learning_rate": 2.0,
        "batch_size": 6,
    }
    whole = jaxnn.fit(**keywords, epochs=40)
    stop = stop_by_hand(whole.history["val_loss"].tolist(), 2, 0.0)
    assert 1 <= stop.best_epoch < stop.num_epochs < 40
    stopped = jaxnn.fit(**keywords, epochs=40, early_stopping=EarlyStopping(2))
    assert int(stopped.history["best_epoch"]) == stop.best_epoch
    for name, rows in whole.history.items():
        np.testing.assert_array_equal(stopped.history[name], rows[: stop.num_epochs])
    best = jaxnn.fit(**keywords, epochs=stop.best_epoch)
    np.testing.assert_array_equal(stopped.params["kernel"], best.params["kernel"])


@pytest.mark.parametrize(
    ("patience", "min_delta", "message"),
    [
        (0, 0.0, "`patience` is 0"),
        (-1, 0.0, "`patience` is -1"),
        (1, -0.1, "`min_delta` is -0.1"),
        (1, math.nan, "`min_delta` is nan"),
    ],
)
def test_numbers_out_of_range_are_refused(patience, min_delta, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(patience, min_delta)


def test_a_metric_called_loss_is_needed():
    keywords = scripted([1.0, 2.0]) | {"metrics": {"accuracy": lambda logits, y: logits[0]}}
    with pytest.raises(ValueError, match="`metrics` has 'accuracy': `early_stopping` watches"):
        jaxnn.fit(**keywords, early_stopping=EarlyStopping(1))
