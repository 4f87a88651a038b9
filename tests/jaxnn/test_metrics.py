import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxnn import metrics

# Few different values, so that ties are the rule.
small_logits = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.integers(2, 5)), elements=st.integers(-2, 2).map(float)
)


def first_greatest(row):
    return min(k for k, value in enumerate(row) if value == max(row))


@given(small_logits)
def test_hardmax_takes_the_first_of_the_greatest(logits):
    expected = np.zeros_like(logits)
    for n, row in enumerate(logits):
        expected[n, first_greatest(row)] = 1
    actual = metrics.hardmax(jnp.asarray(logits))
    assert actual.dtype == jnp.float32
    np.testing.assert_array_equal(actual, expected)


@given(small_logits, st.integers(0, 1))
def test_accuracy_of_both_forms_of_labels(logits, label):
    labels = np.full(logits.shape[0], label)
    expected = np.mean([first_greatest(row) == label for row in logits])
    for form in (labels, np.eye(logits.shape[1])[labels], np.eye(logits.shape[1], dtype=np.uint8)[labels]):
        actual = metrics.accuracy(jnp.asarray(logits), jnp.asarray(form))
        assert actual.dtype == jnp.float32
        assert float(actual) == pytest.approx(expected)


@given(small_logits)
def test_margin_is_zero_on_ties_and_positive_elsewhere(logits):
    ordered = np.sort(logits, axis=1)
    actual = metrics.margin(jnp.asarray(logits), jnp.zeros(logits.shape[0]))
    np.testing.assert_array_equal(actual, ordered[:, -1] - ordered[:, -2])


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=st.floats(-3, 3, width=32)))
def test_binary_decisions(logits):
    labels = np.arange(logits.size) % 2
    decisions = [1.0 if value >= 0 else 0.0 for value in logits]
    assert metrics.decide(jnp.asarray(logits)).tolist() == decisions
    for form in (labels, labels.astype(bool), labels.astype(np.float16)):
        actual = metrics.binary_accuracy(jnp.asarray(logits), jnp.asarray(form))
        assert actual.dtype == jnp.float32
        assert float(actual) == pytest.approx(np.mean(decisions == labels))
    np.testing.assert_array_equal(metrics.binary_margin(jnp.asarray(logits), jnp.asarray(labels)), logits)


def test_a_logit_of_zero_of_either_sign_is_a_one():
    assert metrics.decide(jnp.array([0.0, -0.0])).tolist() == [1.0, 1.0]


def test_r_squared(x64, assert_rounding):
    rng = np.random.default_rng(0)
    p, y = rng.standard_normal(20), rng.standard_normal(20)
    expected = 1 - np.sum((y - p) ** 2) / (np.var(y) * 20)
    assert_rounding(actual=metrics.r_squared(jnp.asarray(p), jnp.asarray(y)), expected=expected)
    mean = metrics.r_squared(jnp.full(20, y.mean()), jnp.asarray(y))
    assert float(mean) == pytest.approx(0.0, abs=1e-12)
    assert not np.isfinite(metrics.r_squared(jnp.arange(3.0), jnp.ones(3)))


def test_dtypes(x64):
    for dtype in (jnp.float32, jnp.float64):
        logits = jnp.ones((4, 3), dtype)
        for value in (
            metrics.accuracy(logits, jnp.zeros(4, jnp.int32)),
            metrics.binary_accuracy(logits[:, 0], jnp.zeros(4)),
            metrics.r_squared(logits[:, 0], jnp.arange(4)),
            metrics.margin(logits, jnp.zeros(4)),
            metrics.hardmax(logits),
            metrics.decide(logits[:, 0]),
        ):
            assert value.dtype == dtype


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"`labels` has shape \(3, 1\)"):
        metrics.accuracy(jnp.zeros((3, 2)), jnp.zeros((3, 1)))
    with pytest.raises(ValueError, match="at least 2 classes"):
        metrics.margin(jnp.zeros((3, 1)), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"`labels` has shape \(2,\)"):
        inspect.unwrap(metrics.binary_accuracy)(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(ValueError, match=r"`targets` has shape \(2,\)"):
        inspect.unwrap(metrics.r_squared)(jnp.zeros(3), jnp.zeros(2))


def test_metrics_are_traceable():
    logits = jnp.array([[1.0, 1.0], [0.0, 2.0]])
    assert float(jax.jit(metrics.accuracy)(logits, jnp.array([0, 1]))) == 1.0
