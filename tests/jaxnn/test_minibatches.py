import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import minibatches

X, Y = np.arange(22, dtype=np.float32).reshape(11, 2), np.arange(11)
SAMPLES = (jnp.asarray(X), jnp.asarray(Y))


@pytest.mark.parametrize(("size", "num_full", "num_left"), [(4, 2, 3), (11, 1, 0), (1, 11, 0), (50, 0, 11)])
def test_batches_are_the_samples_in_order(size, num_full, num_left):
    batches = minibatches.split(SAMPLES, size)
    assert batches.full[0].shape == (num_full, size, 2)
    assert batches.num_left == len(batches.rest[1]) == num_left
    for full, rest, whole in zip(batches.full, batches.rest, (X, Y), strict=True):
        joined = np.concatenate([np.reshape(full, (-1, *whole.shape[1:])), rest])
        np.testing.assert_array_equal(joined, whole)


@pytest.mark.parametrize("order", [None, np.array([3, 1, 1, 9])])
def test_one_order_is_applied_once_for_all_epochs(order):
    samples_of, rows = minibatches.for_epochs(
        SAMPLES, None if order is None else jnp.asarray(order), None, None
    )
    assert rows is None
    assert samples_of(None) is samples_of(None)
    for part, whole in zip(samples_of(None), (X, Y), strict=True):
        np.testing.assert_array_equal(part, whole if order is None else whole[order])


def test_an_order_for_every_epoch_is_applied_row_by_row():
    order = jnp.array([[0, 2, 4], [10, 9, 8]])
    samples_of, rows = minibatches.for_epochs(SAMPLES, order, 2, None)
    np.testing.assert_array_equal(rows, order)
    batches = samples_of(rows[1])
    assert batches.full[1].tolist() == [[10, 9]]
    assert batches.rest[1].tolist() == [8]
