import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import evaluation


@pytest.mark.parametrize(
    ("num_samples", "batch_size", "shape"), [(1797, 64, (29, 62)), (9, 4, (3, 3)), (3, 8, (1, 3))]
)
def test_batches_are_few_and_all_alike(num_samples, batch_size, shape):
    x = np.arange(1, num_samples + 1, dtype=np.float32)
    batches = np.asarray(evaluation.equal_batches(jnp.asarray(x), batch_size))
    assert batches.shape == shape
    flat = batches.ravel()
    np.testing.assert_array_equal(flat[:num_samples], x)
    np.testing.assert_array_equal(flat[num_samples:], 0)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1)])
def test_logits_of_both_are_those_of_each(shape):
    rng = np.random.default_rng(0)
    x, x_val = (jnp.asarray(rng.random((n, *shape)), jnp.float32) for n in (11, 4))
    traced = []

    def apply(params, x):
        traced.append(x.shape)
        return params * x.reshape(len(x), -1)

    found = evaluation.logits_of_both(apply, x, x_val, 4, None)(jnp.float32(2))
    for logits, samples in zip(found, (x, x_val), strict=True):
        np.testing.assert_array_equal(logits, 2 * np.reshape(samples, (len(samples), -1)))
    assert traced == (
        [(11, 2), (4, 2)] if len(shape) == 1 else [(4, 2, 3, 1)]
    )  # images: one program for both
