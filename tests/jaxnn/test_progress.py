import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import losses, models, progress
from jaxnn.arguments import prepare
from jaxnn.training import Plan, run

X, Y = np.ones((5, 2), np.float32), np.array([0, 1, 1, 0, 1])


APPLY, SGD = models.logistic(2).apply, jaxnn.RECIPES["logistic"].optimizer


def train(epochs=250, show=True, apply=APPLY):
    return jaxnn.fit(
        apply,
        {"kernel": np.ones((2, 1), np.float32), "bias": np.zeros(1, np.float32)},
        (X, Y),
        (X, Y),
        loss=losses.binary_cross_entropy,
        metrics={"loss": losses.binary_cross_entropy, "margin": jaxnn.metrics.binary_margin},
        optimizer=SGD,
        learning_rate=0.1,
        epochs=epochs,
        progress=show,
    )


def test_the_bar_shows_the_last_epoch_and_its_metrics_on_stderr(capfd):
    history = train().history
    shown = " ".join(capfd.readouterr().err.split())
    assert "250/250" in shown
    for name in ("train_loss", "val_loss"):
        assert f"{name} {float(history[name][-1]):.4g}" in shown
    assert "margin" not in shown  # an array, not a number
    assert "0:00:0" in shown


def test_nothing_is_shown_unless_asked(capfd):
    train(show=False)
    captured = capfd.readouterr()
    assert captured.err == captured.out == ""


def test_the_bar_changes_no_bit():
    jax.tree.map(np.testing.assert_array_equal, train(show=True), train(show=False))


@pytest.mark.parametrize(("epochs", "updates"), [(1, 1), (7, 7), (100, 100), (101, 51), (1000, 100)])
def test_about_a_hundred_updates_and_always_the_last(epochs, updates, monkeypatch):
    seen = []
    monkeypatch.setattr(progress, "_move", lambda number, done, metrics: seen.append(int(done)))
    jax.clear_caches()
    train(epochs=epochs)
    assert len(seen) == updates
    assert max(seen) == epochs
    jax.clear_caches()


def test_without_a_bar_the_program_has_no_callback():
    plan = Plan(APPLY, losses.binary_cross_entropy, (), SGD, 3, None)
    params = {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}
    arrays = prepare(params, (X, Y), (X, Y), None, epochs=3, batch_size=None)
    assert "callback" not in str(jax.make_jaxpr(lambda *a: run(plan, *a, None, 0.1).history)(*arrays[:3]))
    assert "callback" in str(jax.make_jaxpr(lambda *a: run(plan, *a, None, 0.1, 0).history)(*arrays[:3]))


def test_a_failed_run_closes_its_bar_and_the_next_one_works(capfd):
    def broken(params, x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        train(apply=broken)
    assert not progress._open_bars
    capfd.readouterr()
    train()
    assert "250/250" in capfd.readouterr().err


def test_a_late_callback_finds_no_bar_and_does_nothing():
    progress._move(np.int32(10**6), np.int32(1), {})


def test_a_callback_that_comes_out_of_turn_does_not_move_the_bar_back(capfd):
    with progress.bar(10) as number:
        progress._move(np.int32(number), np.int32(8), {"a": np.float32(1)})
        progress._move(np.int32(number), np.int32(5), {"a": np.float32(2)})
    shown = capfd.readouterr().err
    assert "8/10" in shown
    assert "a 1" in shown


def test_bars_inside_one_another_and_in_threads(capfd):
    with progress.bar(3) as outer:
        threads = [threading.Thread(target=train, kwargs={"epochs": 20}) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        progress._move(np.int32(outer), np.int32(2), {})
    assert not progress._open_bars
    shown = capfd.readouterr().err
    assert shown.count("20/20") >= 2
    assert "2/3" in shown
