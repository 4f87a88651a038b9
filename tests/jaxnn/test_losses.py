import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxnn import losses

CROSS_ENTROPIES = [losses.cross_entropy, losses.cross_entropy_sum, losses.cross_entropy_mean_all]
logits_and_classes = st.tuples(st.integers(1, 5), st.integers(2, 6)).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.float64, shape, elements=st.floats(-30, 30)),
        hnp.arrays(np.int32, shape[0], elements=st.integers(0, shape[1] - 1)),
    )
)


def one_hot(labels, num_classes):
    return np.eye(num_classes)[labels]


def test_binary_cross_entropy_is_its_definition(x64, assert_rounding):
    @given(hnp.arrays(np.float64, st.integers(1, 6), elements=st.floats(-5, 5)))
    def check(o):
        y = (np.arange(o.size) % 2).astype(np.float64)
        q = 1 / (1 + np.exp(-o))
        expected = -np.mean(y * np.log(q) + (1 - y) * np.log(1 - q))
        actual = losses.binary_cross_entropy(jnp.asarray(o), jnp.asarray(y))
        assert_rounding(actual=actual, expected=expected)

    check()


@given(logits_and_classes)
def test_cross_entropies_are_their_definitions(case):
    o, labels = case
    num_samples, num_classes = o.shape
    y = one_hot(labels, num_classes)
    total = -np.sum(y * np.log(np.exp(o) / np.exp(o).sum(axis=1, keepdims=True)))
    expected = (total / num_samples, total, total / num_samples / num_classes)
    with jax.enable_x64(True):
        for function, value in zip(CROSS_ENTROPIES, expected, strict=True):
            for form in (y, labels):
                actual = float(function(jnp.asarray(o), jnp.asarray(form)))
                assert actual == pytest.approx(value, rel=1e-12, abs=1e-12)


@given(logits_and_classes, st.integers(-20, 20))
def test_a_constant_shift_of_the_logits_changes_nothing(case, shift):
    o, labels = case
    with jax.enable_x64(True):
        plain = losses.cross_entropy(jnp.asarray(o), jnp.asarray(labels))
        shifted = losses.cross_entropy(jnp.asarray(o + shift), jnp.asarray(labels))
    assert float(shifted) == pytest.approx(float(plain), rel=1e-12, abs=1e-12)


def test_errors_on_soft_predictions_are_their_definitions(x64, assert_rounding):
    rng = np.random.default_rng(0)
    for shape in ((6,), (6, 4)):
        q, y = rng.random(shape), rng.integers(0, 2, shape)
        square = sum((a - b) ** 2 for a, b in zip(q.ravel(), y.ravel(), strict=True)) / 6
        absolute = sum(abs(a - b) for a, b in zip(q.ravel(), y.ravel(), strict=True)) / 6
        assert_rounding(actual=losses.square_error(jnp.asarray(q), jnp.asarray(y)), expected=square)
        assert_rounding(actual=losses.absolute_error(jnp.asarray(q), jnp.asarray(y)), expected=absolute)


def test_absolute_error_has_no_slope_at_an_exact_hit():
    slope = jax.grad(losses.absolute_error)(jnp.array([1.0, 0.5]), jnp.array([1, 0]))
    assert slope.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("function", CROSS_ENTROPIES)
def test_gradients(function, assert_derivative):
    o = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    assert_derivative(lambda o: function(o, jnp.array([0, 2, 1, 1])), o)
    assert_derivative(lambda o: function(o, jnp.full((4, 3), 1 / 3)), o)


@pytest.mark.parametrize(
    "function", [losses.binary_cross_entropy, losses.square_error, losses.absolute_error]
)
def test_gradients_of_one_output(function, assert_derivative):
    o = jnp.asarray(np.random.default_rng(0).standard_normal(5))
    assert_derivative(lambda o: function(o, jnp.array([0, 1, 1, 0, 1])), o)


def test_binary_cross_entropy_of_huge_logits():
    o = jnp.array([-1e4, -1e4, 1e4, 1e4])
    y = jnp.array([0, 1, 0, 1])
    value, slope = jax.value_and_grad(losses.binary_cross_entropy)(o, y)
    assert float(value) == 5000.0  # half of the samples lose 1e4, the others nothing
    assert slope.tolist() == [0.0, -0.25, 0.25, 0.0]
    assert jax.grad(losses.binary_cross_entropy)(jnp.zeros(2), jnp.array([0, 1])).tolist() == [0.25, -0.25]


def test_binary_cross_entropy_keeps_the_digits_of_a_small_loss():
    value = losses.binary_cross_entropy(jnp.array([20.0]), jnp.array([1]))
    assert float(value) == pytest.approx(np.log1p(np.exp(-20.0)), rel=1e-6)


@pytest.mark.parametrize("form", ["index", "one_hot"])
def test_cross_entropy_of_huge_logits(form):
    o = jnp.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    labels = jnp.array([0, 1])
    if form == "one_hot":
        labels = jax.nn.one_hot(labels, 3)
    value, slope = jax.value_and_grad(losses.cross_entropy)(o, labels)
    assert float(value) == 1e4
    assert slope.tolist() == [[0.0, 0.0, 0.0], [0.5, -0.5, 0.0]]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float16, np.float32])
def test_labels_of_any_dtype(dtype):
    y = np.array([0, 1, 1, 0])
    reference = losses.binary_cross_entropy(jnp.arange(4.0), jnp.asarray(y, jnp.float32))
    value = losses.binary_cross_entropy(jnp.arange(4.0), jnp.asarray(y.astype(dtype)))
    assert (value, value.dtype) == (reference, jnp.float32)
    rows = np.eye(2)[y].astype(dtype)
    o = jnp.arange(8.0).reshape(4, 2)
    assert losses.cross_entropy(o, jnp.asarray(rows)) == losses.cross_entropy(o, jnp.asarray(y))


@pytest.mark.parametrize("index", [-100, -1, 3, 100])
def test_an_index_that_is_no_class_gives_nan(index):
    assert np.isnan(losses.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, index])))


def test_bad_shapes():
    # Unwrapped: under pytest the shapes in the signatures are checked before the functions' own errors.
    bare = {name: inspect.unwrap(getattr(losses, name)) for name in losses.__all__}
    with pytest.raises(ValueError, match=r"`logits` has shape \(3,\), `labels` \(3, 1\)"):
        bare["binary_cross_entropy"](jnp.zeros(3), jnp.zeros((3, 1)))
    for name in ("square_error", "absolute_error"):
        with pytest.raises(ValueError, match=r"`predictions` has shape \(3, 1\), `targets` \(3,\)"):
            bare[name](jnp.zeros((3, 1)), jnp.zeros(3))
    for function in CROSS_ENTROPIES:
        with pytest.raises(ValueError, match=r"`labels` has shape \(2, 4\)"):
            function(jnp.zeros((2, 3)), jnp.zeros((2, 4)))
        with pytest.raises(TypeError, match="class indices must be integers"):
            function(jnp.zeros((2, 3)), jnp.zeros(2))
