import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.batches import order, split

SIZES = st.integers(1, 60)


@given(n=SIZES, epochs=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_every_shuffled_epoch_is_a_permutation(n: int, epochs: int, seed: int) -> None:
    rows = order(n, epochs=epochs, shuffle=True, seed=seed)
    assert rows.shape == (epochs, n)
    assert rows.dtype == np.int32
    for row in rows:
        assert sorted(row.tolist()) == list(range(n))


@given(n=SIZES, epochs=st.integers(1, 5), batch_size=st.integers(1, 70), shuffle=st.booleans())
def test_drop_last_leaves_whole_batches_of_different_samples(
    n: int, epochs: int, batch_size: int, shuffle: bool
) -> None:
    if batch_size > n:
        with pytest.raises(ValueError, match="drop_last"):
            order(n, epochs=epochs, batch_size=batch_size, shuffle=shuffle, drop_last=True)
        return
    rows = order(n, epochs=epochs, batch_size=batch_size, shuffle=shuffle, drop_last=True)
    assert rows.shape == (epochs, n // batch_size * batch_size)
    for row in rows:
        assert len(set(row.tolist())) == row.size
        assert {len(batch) for batch in split(row, batch_size)} == {batch_size}


@given(n=SIZES, batch_size=st.integers(1, 70))
def test_batches_put_together_are_the_row(n: int, batch_size: int) -> None:
    row = order(n, shuffle=True)[0]
    batches = split(row, batch_size)
    assert np.array_equal(np.concatenate(batches), row)
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    assert 1 <= len(batches[-1]) <= batch_size


def test_the_notebooks_batches_in_fixed_order() -> None:
    rows = order(1649, epochs=3, batch_size=64)
    assert np.array_equal(rows, np.tile(np.arange(1649), (3, 1)))
    assert [len(batch) for batch in split(rows[2], 64)] == [64] * 25 + [49]


def test_the_fixed_order_takes_the_memory_of_one_row_and_cannot_be_changed() -> None:
    rows = order(10, epochs=1000)
    assert rows.strides[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        rows[0, 0] = 5


def test_seed_decides_the_order_and_a_longer_run_begins_like_a_shorter_one() -> None:
    long, short = order(50, epochs=4, shuffle=True, seed=3), order(50, epochs=2, shuffle=True, seed=3)
    assert np.array_equal(long[:2], short)
    assert not np.array_equal(long[0], long[1])
    assert not np.array_equal(long[0], order(50, shuffle=True, seed=4)[0])


def test_shuffled_epochs_drop_different_samples() -> None:
    rows = order(10, epochs=30, batch_size=9, shuffle=True, drop_last=True)
    assert len({(set(range(10)) - set(row.tolist())).pop() for row in rows}) > 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_samples": 0}, "num_samples"),
        ({"num_samples": 2**31}, "num_samples"),
        ({"num_samples": 5, "epochs": 0}, "epochs"),
        ({"num_samples": 5, "batch_size": 0}, "batch_size"),
        ({"num_samples": 5, "seed": -1}, "seed"),
        ({"num_samples": 5, "drop_last": True}, "drop_last"),
    ],
)
def test_numbers_out_of_range_are_named(arguments: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=f"`{named}`"):
        order(**arguments)


def test_batches_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        split(np.arange(3), 0)
