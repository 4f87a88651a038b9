import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.draws import augmentation, keep


def test_units_are_kept_at_the_rate_and_independently() -> None:
    kept = keep(400, 30, 0.25, epochs=5, seed=1)["keep"]
    assert kept.shape == (5, 400, 30)
    assert kept.dtype == np.bool_
    # A share of n draws lies within 5 deviations, 5 sqrt(p (1 - p) / n): of all, of a unit, of a sample.
    for axes, draws in (((0, 1, 2), kept.size), ((0, 1), 2000), ((0, 2), 150)):
        assert np.abs(kept.mean(axis=axes) - 0.75).max() < 5 * np.sqrt(0.25 * 0.75 / draws)
    both = kept[..., 0] & kept[..., 1]
    assert abs(both.mean() - 0.75**2) < 5 * np.sqrt(0.25 / 2000)


def test_no_dropout_keeps_all() -> None:
    assert keep(3, 4, 0.0)["keep"].all()


@given(epochs=st.integers(1, 4), more=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_a_longer_run_begins_like_a_shorter_one(epochs: int, more: int, seed: int) -> None:
    for short, long in (
        (keep(5, 3, 0.5, epochs=epochs, seed=seed), keep(5, 3, 0.5, epochs=epochs + more, seed=seed)),
        (augmentation(5, epochs=epochs, seed=seed), augmentation(5, epochs=epochs + more, seed=seed)),
    ):
        for name, rows in short.items():
            assert np.array_equal(long[name][:epochs], rows)


def test_seeds_and_epochs_differ() -> None:
    drawn = augmentation(4, epochs=2)
    for name in ("angle", "scale", "shift", "brightness"):
        assert not np.isin(drawn[name][0], drawn[name][1]).any()
        assert not np.isin(drawn[name], augmentation(4, epochs=2, seed=1)[name]).any()
    assert not np.array_equal(keep(9, 9, 0.5)["keep"], keep(9, 9, 0.5, seed=1)["keep"])


def test_augmentation_stays_within_its_limits_and_comes_near_them() -> None:
    drawn = augmentation(500, epochs=4, angle=0.3, scale=2.0, shift=5.0, flip=0.25, brightness=0.1)
    assert {name: a.shape for name, a in drawn.items()} == {
        "angle": (4, 500),
        "scale": (4, 500),
        "shift": (4, 500, 2),
        "flip": (4, 500),
        "brightness": (4, 500),
    }
    assert {a.dtype for name, a in drawn.items() if name != "flip"} == {np.dtype(np.float32)}
    assert drawn["flip"].dtype == np.bool_
    assert abs(drawn["flip"].mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    turned = {
        "angle": drawn["angle"] / 0.3,
        "scale": np.log2(drawn["scale"]),
        "shift": drawn["shift"] / 5,
        "brightness": (drawn["brightness"] - 1) / 0.1,
    }
    for name, values in turned.items():
        # Of 2000 draws from [-1, 1) the greatest falls short of 1 by about 1 / 1000.
        assert 0.98 < values.max() <= 1 + 1e-5, name
        assert -1 - 1e-5 <= values.min() < -0.98, name
        assert abs(values.mean()) < 5 / np.sqrt(3 * 2000), name


def test_nothing_to_change_changes_nothing() -> None:
    drawn = augmentation(6, angle=0.0, scale=1.0, shift=0.0, flip=0.0, brightness=0.0)
    assert not drawn["angle"].any()
    assert not drawn["shift"].any()
    assert not drawn["flip"].any()
    assert (drawn["scale"] == 1).all()
    assert (drawn["brightness"] == 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"angle": -0.1}, "`angle` must be between 0 and inf, got -0.1"),
        ({"angle": np.nan}, "`angle`"),
        ({"scale": 0.9}, "`scale` must be between 1 and inf"),
        ({"flip": 1.5}, "`flip` must be between 0 and 1"),
        ({"brightness": 2.0}, "`brightness` must be between 0 and 1"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_limits_out_of_range_are_refused_by_name(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        augmentation(3, **arguments)


def test_all_faults_of_the_limits_are_in_one_message() -> None:
    with pytest.raises(ValueError, match="`scale`") as error:
        augmentation(3, scale=0.5, flip=2.0)
    assert "`flip`" in str(error.value)


@pytest.mark.parametrize("rate", [-0.1, 1.0, np.nan])
def test_a_rate_that_leaves_nothing_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="`rate` must be at least 0 and below 1"):
        keep(3, 3, rate)


def test_counts_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="`num_units` must be at least 1"):
        keep(3, 0, 0.5)
