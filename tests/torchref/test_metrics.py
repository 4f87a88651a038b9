"""Metrics against NumPy, with ties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from torchref import metrics

# Few values, so that ties are frequent.
rows = st.integers(2, 40).flatmap(
    lambda k: st.lists(st.lists(st.sampled_from([-1.0, 0.0, 2.0]), min_size=k, max_size=k), min_size=1)
)


def first_maximum(row: list[float]) -> int:
    return next(k for k, value in enumerate(row) if value == max(row))


@given(logits=rows)
def test_hardmax_takes_the_first_maximum(logits: list[list[float]]) -> None:
    actual = metrics.hardmax(torch.tensor(logits))
    expected = [[float(k == first_maximum(row)) for k in range(len(row))] for row in logits]
    assert actual.tolist() == expected
    assert actual.dtype == torch.float32


@pytest.mark.parametrize("num_classes", [2, 3, 10, 16, 40, 257, 4096])
def test_equal_logits_are_class_zero_at_any_width(num_classes: int) -> None:
    logits = torch.zeros(5, num_classes)  # wide rows take vectorised paths, which must agree
    assert metrics.accuracy(logits, torch.zeros(5, dtype=torch.int64)) == 1
    assert metrics.accuracy(logits, torch.ones(5, dtype=torch.int64)) == 0
    logits[:, num_classes // 2 :] = 1
    assert metrics.accuracy(logits, torch.full((5,), num_classes // 2)) == 1


@given(logits=rows, seed=st.integers(0, 1000))
def test_accuracy(logits: list[list[float]], seed: int) -> None:
    num_classes = len(logits[0])
    classes = np.random.default_rng(seed).integers(0, num_classes, len(logits))
    expected = np.mean([first_maximum(row) == k for row, k in zip(logits, classes, strict=True)])
    given_logits = torch.tensor(logits, dtype=torch.float64)
    one_hot = np.eye(num_classes)[classes]
    for labels in (classes, one_hot, one_hot.astype(np.int64)):
        actual = metrics.accuracy(given_logits, torch.tensor(labels))
        assert actual.item() == pytest.approx(expected, abs=1e-15)
        assert actual.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_binary_decisions(dtype: torch.dtype) -> None:
    logits = torch.tensor([-2.0, -1e-30, 0.0, 1e-30, 3.0], dtype=dtype)
    assert metrics.decide(logits).tolist() == [0.0, 0.0, 1.0, 1.0, 1.0]
    for labels in (torch.tensor([0, 1, 1, 0, 1]), torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0])):
        actual = metrics.binary_accuracy(logits, labels)
        torch.testing.assert_close(actual, torch.tensor(0.6, dtype=dtype))


def test_r_squared(rng: np.random.Generator) -> None:
    targets = rng.normal(size=20)
    predictions = targets + 0.5 * rng.normal(size=20)
    actual = metrics.r_squared(torch.tensor(predictions), torch.tensor(targets))
    assert actual.item() == pytest.approx(r2_score(targets, predictions), rel=1e-13)

    y = torch.tensor([1, 2, 3, 6])
    assert metrics.r_squared(y.double(), y) == 1
    assert metrics.r_squared(torch.full((4,), 3.0), y) == 0  # their mean
    assert metrics.r_squared(torch.zeros(4), torch.ones(4)) == -torch.inf


def test_margins(rng: np.random.Generator) -> None:
    logits = rng.normal(size=(6, 5))
    ranked = np.sort(logits, axis=1)
    actual = metrics.margin(torch.tensor(logits), torch.zeros(6, dtype=torch.int64))
    np.testing.assert_array_equal(actual, ranked[:, -1] - ranked[:, -2])
    assert metrics.margin(torch.tensor([[3.0, 1.0, 3.0]]), torch.tensor([0])).tolist() == [0.0]

    binary = torch.tensor([-1.0, 2.0])
    assert metrics.binary_margin(binary, torch.tensor([1, 1])).tolist() == [-1.0, 2.0]


@given(order=st.permutations(range(6)))
def test_order_of_samples_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(3)
    logits, labels = torch.tensor(rng.normal(size=(6, 2))), torch.tensor(rng.integers(0, 2, 6))
    torch.testing.assert_close(
        metrics.accuracy(logits[order], labels[order]), metrics.accuracy(logits, labels)
    )
    scores = logits[:, 0]
    torch.testing.assert_close(
        metrics.r_squared(scores[order], labels[order]), metrics.r_squared(scores, labels)
    )


def test_unfit_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*\(3, 1\)"):
        metrics.binary_accuracy(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"\(3,\).*\(3, 1\)"):
        metrics.r_squared(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match=r"one-hot of shape \(3, 4\).*\(3, 1\)"):
        metrics.accuracy(torch.zeros(3, 4), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="integers"):
        metrics.accuracy(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="two classes"):
        metrics.margin(torch.zeros(3, 1), torch.zeros(3))
