"""Early stopping in the loop, with validation losses that are given, epoch by epoch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.training_logs import SEQUENCES, Stop, stop_by_hand
from torchref import EarlyStopping, fit
from torchref.early_stopping import Watch
from torchref.optimizers import GradientDescent


def scripted(values, *, before_the_update=False):
    """Arguments of `fit` that give these validation losses: the only weight counts the steps.

    The loss is minus the weight, the rate 1, an epoch one step; the weight starts at 0.
    """
    w = torch.zeros(1, requires_grad=True)
    known = [*values, *values[-1:]] if before_the_update else [math.inf, *values]
    table = torch.tensor(known, dtype=torch.float32)
    x, rows = torch.ones(4, 1), table.repeat(4, 1)
    return {
        "forward": lambda x: x @ w,
        "parameters": {"w": w},
        "train": (x, rows),
        "val": (x, rows),
        "loss": lambda logits, _: -logits.mean(),
        "metrics": {"loss": lambda logits, table: table[0][logits[0].round().long()]},
        "optimizer": GradientDescent,
        "learning_rate": 1.0,
        "epochs": len(values),
        "batch_size": None if before_the_update else 4,
    }


def run(values, patience, min_delta, **how):
    keywords = scripted(values, **how)
    history = fit(**keywords, early_stopping=EarlyStopping(patience, min_delta))
    return keywords["parameters"]["w"].item(), history


@pytest.mark.parametrize("name", SEQUENCES)
def test_where_it_stops_and_what_it_keeps(name):
    values, patience, min_delta, stop = SEQUENCES[name]
    weight, history = run(values, patience, min_delta)
    assert Stop(len(history["val_loss"]), history["best_epoch"].item()) == stop
    assert weight == stop.best_epoch  # after the updates of that epoch
    torch.testing.assert_close(
        history["val_loss"],
        torch.tensor(values[: stop.num_epochs]),
        rtol=0,
        atol=0,
        equal_nan=True,
        check_dtype=False,
    )
    assert history["step_loss"].shape == (stop.num_epochs, 1)


@pytest.mark.parametrize("name", SEQUENCES)
def test_full_batches_keep_the_weights_that_were_measured(name):
    values, patience, min_delta, stop = SEQUENCES[name]
    weight, history = run(values, patience, min_delta, before_the_update=True)
    assert Stop(len(history["val_loss"]), history["best_epoch"].item()) == stop
    assert weight == max(stop.best_epoch - 1, 0)  # before the update of that epoch


VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf])


@given(
    values=st.lists(VALUES, min_size=1, max_size=8),
    patience=st.integers(1, 4),
    min_delta=st.sampled_from([0.0, 0.25]),
)
def test_any_sequence_stops_where_the_definition_says(values, patience, min_delta):
    _, history = run(values, patience, min_delta)
    found = Stop(len(history["val_loss"]), history["best_epoch"].item())
    assert found == stop_by_hand(values, patience, min_delta)


def test_the_kept_weights_are_copies():
    w = torch.tensor([1.0], requires_grad=True)
    watch = Watch(EarlyStopping(1), {"w": w})
    watch.see({"w": w}, torch.tensor(0.5), 1)
    with torch.no_grad():
        w += 1
    watch.restore({"w": w})
    assert w.item() == 1.0
    assert w.requires_grad


@pytest.mark.parametrize(
    ("patience", "min_delta", "message"),
    [
        (0, 0.0, "`patience` must be an integer of at least 1, got 0"),
        (-1, 0.0, "got -1"),
        (1, -0.1, "`min_delta` must be finite and at least 0, got -0.1"),
        (1, math.nan, "got nan"),
    ],
)
def test_numbers_out_of_range_are_refused(patience, min_delta, message):
    with pytest.raises(ValueError, match=message):
        EarlyStopping(patience, min_delta)


def test_a_metric_called_loss_is_needed():
    keywords = scripted([1.0, 2.0]) | {"metrics": {}}
    with pytest.raises(ValueError, match="`metrics` must have one called 'loss'"):
        fit(**keywords, early_stopping=EarlyStopping(1))
