"""The CTC loss: values and PyTorch's gradient, at random and at every edge, and by listing all paths."""

import functools
import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import torch.nn.functional as F
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxnn import losses

T, N, C, S = 6, 3, 4, 3
REDUCTIONS = ("none", "mean", "sum")


@functools.cache
def compiled(blank, zero_infinity, reduction):
    """Value and gradient along the cotangent 1, 2, 3, ..., compiled once per choice of options."""
    options = {"blank": blank, "zero_infinity": zero_infinity, "reduction": reduction}

    @jax.jit
    def run(log_probs, targets, input_lengths, target_lengths):
        def loss(log_probs):
            return losses.ctc_loss(log_probs, targets, input_lengths, target_lengths, **options)

        value, pull = jax.vjp(loss, log_probs)
        return value, *pull(1.0 + jnp.arange(value.size, dtype=value.dtype).reshape(value.shape))

    return run


def by_torch(log_probs, targets, input_lengths, target_lengths, **options):
    leaf = torch.tensor(log_probs, requires_grad=True)
    value = F.ctc_loss(leaf, *map(torch.tensor, (targets, input_lengths, target_lengths)), **options)
    cotangent = 1.0 + torch.arange(value.numel(), dtype=value.dtype).reshape(value.shape)
    (grad,) = torch.autograd.grad(value, leaf, cotangent)
    return value.detach().numpy(), grad.numpy()


def assert_twins(arguments, assert_rounding, blank=0, zero_infinity=False, reduction="none"):
    reference = by_torch(*arguments, blank=blank, zero_infinity=zero_infinity, reduction=reduction)
    candidate = compiled(blank, zero_infinity, reduction)(*map(jnp.asarray, arguments))
    # A gradient is the difference of two probabilities, exponentials of numbers as large as the losses.
    scale = max(1.0, np.max(np.abs(reference[0]), where=np.isfinite(reference[0]), initial=0.0))
    for port, expected in zip(candidate, reference, strict=True):
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.where(finite, 0, port), np.where(finite, 0, expected))
        port, expected = jnp.where(finite, port, 0), np.where(finite, expected, 0)
        assert_rounding(actual=port, expected=expected, scale=scale)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def random_log_probs(*shape, seed=0):
    return log_softmax(np.random.default_rng(seed).standard_normal(shape))


@pytest.mark.parametrize(("blank", "zero_infinity"), [(0, False), (2, True)])
def test_random_inputs(blank, zero_infinity, x64, assert_rounding):
    logits = hnp.arrays(np.float64, (T, N, C), elements=st.floats(-9, 9, allow_subnormal=False))
    labels = hnp.arrays(np.int64, (N, S), elements=st.sampled_from([c for c in range(C) if c != blank]))
    steps = hnp.arrays(np.int64, N, elements=st.integers(0, T))
    sizes = hnp.arrays(np.int64, N, elements=st.integers(0, S))

    @settings(max_examples=12, phases=[Phase.generate])
    @given(logits, labels, steps, sizes)
    def check(logits, labels, steps, sizes):
        for reduction in REDUCTIONS:
            arguments = (log_softmax(logits), labels, steps, sizes)
            assert_twins(arguments, assert_rounding, blank, zero_infinity, reduction)

    check()


LOG_PROBS = random_log_probs(T, N, C)
STEPS = np.array([T, T, T])
EDGES = {
    "labels that repeat": ([[1, 1, 1], [1, 1, 2], [2, 1, 2]], STEPS, [3, 3, 3]),
    "no label": ([[1, 2, 3], [1, 1, 1], [3, 2, 1]], STEPS, [0, 1, 0]),
    "too few steps": ([[1, 1, 1], [1, 2, 3], [1, 2, 3]], [4, 2, 3], [3, 3, 3]),
    "no step": ([[1, 1, 1], [1, 2, 3], [1, 2, 3]], [0, 0, T], [3, 0, 3]),
    "a blank among the labels": ([[1, 0, 1], [0, 0, 2], [1, 2, 3]], STEPS, [3, 3, 3]),
    "padding that is no class": ([[1, -1, -1], [1, 2, 99], [1, 2, 3]], STEPS, [1, 2, 3]),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_edges(name, zero_infinity, x64, assert_rounding):
    targets, steps, sizes = map(np.asarray, EDGES[name])
    for reduction in REDUCTIONS:
        assert_twins((LOG_PROBS, targets, steps, sizes), assert_rounding, 0, zero_infinity, reduction)


def test_labels_one_after_another(x64, assert_rounding):
    targets, sizes = np.array([1, 2, 1, 3, 3]), np.array([2, 0, 3])
    assert_twins((LOG_PROBS, targets, STEPS, sizes), assert_rounding)
    padded = jnp.array([[1, 2, 0], [0, 0, 0], [1, 3, 3]])
    expected = losses.ctc_loss(jnp.asarray(LOG_PROBS), padded, (T, T, T), (2, 0, 3), reduction="none")
    actual = losses.ctc_loss(
        jnp.asarray(LOG_PROBS), jnp.asarray(targets), (T, T, T), (2, 0, 3), reduction="none"
    )
    assert_rounding(actual=actual, expected=np.asarray(expected))


def test_one_sequence(x64, assert_rounding):
    assert_twins((LOG_PROBS[:, 0], np.array([1, 2]), np.array(T), np.array(2)), assert_rounding)
    value = losses.ctc_loss(jnp.asarray(LOG_PROBS[:, 0]), jnp.array([1, 2]), T, 2, reduction="none")
    assert value.shape == ()


def test_saturated_and_not_normalised(x64, assert_rounding):
    targets, sizes = np.array([[1, 2, 3], [1, 1, 2], [3, 3, 3]]), np.array([3, 3, 2])
    saturated = np.full((T, N, C), -1e4)
    saturated[::2, :, 1] = 0
    assert_twins((saturated, targets, STEPS, sizes), assert_rounding)
    assert_twins((LOG_PROBS + 1.5, targets, STEPS, sizes), assert_rounding)


def all_paths(log_probs, labels, blank=0):
    """The definition: the weight of every path that reads as the labels, added up."""
    total = 0.0
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        read = [c for c, _ in itertools.groupby(path) if c != blank]
        if read == list(labels):
            total += np.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return -np.log(total)


@pytest.mark.parametrize("labels", [[], [1], [1, 1], [2, 1], [1, 2, 1]])
def test_all_paths(labels, x64, assert_rounding):
    log_probs = random_log_probs(5, 3, seed=1)
    targets = np.array(labels + [0] * (3 - len(labels)))
    value, _ = compiled(0, False, "none")(jnp.asarray(log_probs), jnp.asarray(targets), 5, len(labels))
    assert_rounding(actual=value, expected=all_paths(log_probs, labels))


def test_the_gradient_of_logits_is_the_derivative(assert_derivative):
    logits = jnp.asarray(np.random.default_rng(2).standard_normal((T, N, C)))
    targets = jnp.array([[1, 2, 3], [1, 1, 2], [3, 0, 0]])
    assert_derivative(lambda x: losses.ctc_loss(jax.nn.log_softmax(x), targets, (T, T, 4), (3, 3, 1)), logits)


def test_a_class_that_is_impossible_leaves_the_gradient_finite(x64):
    """PyTorch's is NaN there."""
    logits = jnp.asarray(LOG_PROBS).at[:, :, 3].set(-jnp.inf)
    arguments = (jnp.array([[1, 2, 1]] * N), jnp.asarray(STEPS), jnp.array([3, 2, 1]))
    log_probs = jax.nn.log_softmax(logits)
    value, grad = compiled(0, False, "none")(log_probs, *arguments)
    assert np.isfinite(value).all()
    assert np.isfinite(grad).all()
    _, reference = by_torch(np.asarray(log_probs), *map(np.asarray, arguments), reduction="none")
    assert np.isnan(reference[:, :, 3]).all()
    np.testing.assert_allclose(grad[:, :, :3], reference[:, :, :3], rtol=0, atol=1e-13)


def test_optax_agrees_where_sequences_can_be_read(x64, assert_rounding):
    targets, lengths = jnp.array([[1, 2, 3], [1, 1, 2], [3, 0, 0]]), jnp.array([3, 3, 1])
    padding = (jnp.arange(S)[None] >= lengths[:, None]).astype(jnp.float64)
    with jax.numpy_dtype_promotion("standard"):
        expected = optax.ctc_loss(
            jnp.moveaxis(jnp.asarray(LOG_PROBS), 0, 1), jnp.zeros((N, T)), targets, padding
        )
    actual = losses.ctc_loss(jnp.asarray(LOG_PROBS), targets, jnp.asarray(STEPS), lengths, reduction="none")
    assert_rounding(actual=actual, expected=np.asarray(expected))


@pytest.mark.parametrize(
    ("targets", "steps", "sizes"),
    [
        ([[1, 4, 1]], [T], [3]),
        ([[1, -1, 1]], [T], [3]),
        ([[1, 2, 1]], [T + 1], [3]),
        ([[1, 2, 1]], [-1], [3]),
        ([[1, 2, 1]], [T], [4]),
        ([[1, 2, 1]], [T], [-1]),
    ],
)
def test_what_pytorch_raises_for_gives_nan(targets, steps, sizes, x64):
    """And leaves the other sequence as it is."""
    rows, two_steps, two_sizes = [*targets, [1, 2, 3]], [*steps, T], [*sizes, 3]
    arguments = tuple(map(jnp.asarray, (LOG_PROBS[:, :2], rows, two_steps, two_sizes)))
    for zero_infinity in (False, True):
        value, grad = compiled(0, zero_infinity, "none")(*arguments)
        assert np.isnan(value).tolist() == [True, False]
        assert np.isnan(grad).any(axis=(0, 2)).tolist() == [True, False]


def test_lengths_that_leave_labels_over_give_nan(x64):
    arguments = (jnp.asarray(LOG_PROBS), jnp.array([1, 2, 1, 2]), jnp.asarray(STEPS), jnp.array([1, 1, 1]))
    assert np.isnan(compiled(0, False, "none")(*arguments)[0]).all()


def test_dtype_and_vmap(x64, assert_rounding):
    for dtype in (jnp.float32, jnp.float64):
        log_probs = jnp.asarray(LOG_PROBS, dtype)
        value, grad = compiled(0, False, "none")(
            log_probs, jnp.array([[1, 2, 3]] * N), jnp.asarray(STEPS), jnp.array([1, 2, 3])
        )
        assert (value.dtype, grad.dtype) == (dtype, dtype)
    mapped = jax.vmap(lambda x, size: losses.ctc_loss(x, jnp.array([1, 2, 3]), T, size), in_axes=(1, 0))
    actual = mapped(log_probs, jnp.array([1, 2, 3]))
    assert_rounding(actual=actual, expected=np.asarray(value) / [1, 2, 3])


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, r"`log_probs` has shape \(6,\)", {"log_probs": jnp.zeros(6)}),
        (ValueError, r"`targets` has shape \(2, 3\)", {"targets": jnp.zeros((2, 3), int)}),
        (TypeError, r"`targets` has shape \(3, 3\) and dtype float32", {"targets": jnp.zeros((3, 3))}),
        (TypeError, r"`input_lengths` .* dtype float32", {"input_lengths": jnp.zeros(3)}),
        (ValueError, r"`target_lengths` has shape \(2,\)", {"target_lengths": (1, 1)}),
        (ValueError, r"`target_lengths` adds up to 3", {"targets": jnp.zeros(4, int)}),
        (ValueError, r"`blank` is 4", {"blank": 4}),
        (ValueError, r"`reduction` is 'all'", {"reduction": "all"}),
    ],
)
def test_errors(error, message, change):
    arguments = {
        "log_probs": jnp.zeros((T, N, C)),
        "targets": jnp.ones((N, S), int),
        "input_lengths": (T, T, T),
        "target_lengths": (1, 1, 1),
    }
    # Unwrapped: under pytest the types in the signature are checked before the function's own errors.
    with pytest.raises(error, match=message):
        inspect.unwrap(losses.ctc_loss)(**{**arguments, **change})
