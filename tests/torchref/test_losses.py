"""Losses against NumPy in float64, term by term as the notebook's formulas have them."""

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchref import losses

CROSS_ENTROPIES = {
    "cross_entropy": lambda terms: terms.sum(axis=1).mean(),
    "cross_entropy_sum": lambda terms: terms.sum(),
    "cross_entropy_mean_all": lambda terms: terms.mean(),
}


def softmax_terms(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return -labels * np.log(q)


@given(seed=st.integers(0, 1000), num_samples=st.integers(1, 9))
def test_binary_cross_entropy(seed: int, num_samples: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=num_samples), rng.integers(0, 2, num_samples)
    q = 1 / (1 + np.exp(-logits))
    expected = -np.mean(labels * np.log(q) + (1 - labels) * np.log(1 - q))
    for form in (torch.tensor(labels), torch.tensor(labels, dtype=torch.float32)):
        actual = losses.binary_cross_entropy(torch.tensor(logits), form)
        np.testing.assert_allclose(actual, expected, rtol=1e-13)


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
@given(seed=st.integers(0, 1000), num_samples=st.integers(1, 6), num_classes=st.integers(1, 5))
def test_cross_entropies(name: str, seed: int, num_samples: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_samples, num_classes))
    classes = rng.integers(0, num_classes, num_samples)
    one_hot = np.eye(num_classes)[classes]
    expected = CROSS_ENTROPIES[name](softmax_terms(logits, one_hot))
    for labels in (torch.tensor(classes), torch.tensor(classes, dtype=torch.int32), torch.tensor(one_hot)):
        actual = getattr(losses, name)(torch.tensor(logits), labels)
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_cross_entropies_of_soft_labels(name: str, rng: np.random.Generator) -> None:
    logits, labels = rng.normal(size=(4, 3)), rng.dirichlet(np.ones(3), size=4)
    expected = CROSS_ENTROPIES[name](softmax_terms(logits, labels))
    actual = getattr(losses, name)(torch.tensor(logits), torch.tensor(labels))
    np.testing.assert_allclose(actual, expected, rtol=1e-13)


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_square_and_absolute_error(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    q, y = rng.normal(size=shape), rng.normal(size=shape)
    square = np.mean([np.sum((y_n - q_n) ** 2) for y_n, q_n in zip(y, q, strict=True)])
    absolute = np.mean([np.sum(np.abs(y_n - q_n)) for y_n, q_n in zip(y, q, strict=True)])
    np.testing.assert_allclose(losses.square_error(torch.tensor(q), torch.tensor(y)), square, rtol=1e-13)
    np.testing.assert_allclose(losses.absolute_error(torch.tensor(q), torch.tensor(y)), absolute, rtol=1e-13)


def test_gradients_are_those_of_the_notebook(rng: np.random.Generator) -> None:
    logits = torch.tensor(rng.normal(size=(6, 4)), requires_grad=True)
    classes = torch.tensor(rng.integers(0, 4, 6))
    q_minus_y = logits.detach().softmax(dim=1) - torch.eye(4, dtype=torch.float64)[classes]
    for loss, factor in (
        (losses.cross_entropy, 1 / 6),
        (losses.cross_entropy_sum, 1),
        (losses.cross_entropy_mean_all, 1 / 24),
    ):
        (grad,) = torch.autograd.grad(loss(logits, classes), logits)
        torch.testing.assert_close(grad, factor * q_minus_y)


@pytest.mark.parametrize(
    "loss",
    [
        losses.cross_entropy,
        losses.cross_entropy_sum,
        losses.cross_entropy_mean_all,
        losses.square_error,
        losses.absolute_error,
    ],
)
def test_gradients_by_finite_differences(loss, rng: np.random.Generator) -> None:
    outputs = torch.tensor(rng.normal(size=(3, 4)), requires_grad=True)
    labels = torch.tensor(np.eye(4)[[2, 0, 1]])
    assert torch.autograd.gradcheck(lambda outputs: loss(outputs, labels), (outputs,))


def test_binary_gradient_by_finite_differences(rng: np.random.Generator) -> None:
    logits = torch.tensor(rng.normal(size=5), requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0, 1])
    assert torch.autograd.gradcheck(lambda logits: losses.binary_cross_entropy(logits, labels), (logits,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_logits(dtype: torch.dtype) -> None:
    logits = torch.tensor([1e4, -1e4], dtype=dtype, requires_grad=True)
    wrong = losses.binary_cross_entropy(logits, torch.tensor([0, 1]))
    (grad,) = torch.autograd.grad(wrong, logits)
    assert wrong.item() == 1e4
    assert grad.tolist() == [0.5, -0.5]

    logits = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    wrong = losses.cross_entropy(logits, torch.tensor([1]))
    (grad,) = torch.autograd.grad(wrong, logits)
    assert wrong.item() == 2e4
    assert grad.tolist() == [[1.0, -1.0, 0.0]]


@given(shift=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_constant_shift_of_the_logits_changes_nothing(shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = torch.tensor(rng.normal(size=(4, 3))), torch.tensor(rng.integers(0, 3, 4))
    torch.testing.assert_close(
        losses.cross_entropy(logits + shift, labels), losses.cross_entropy(logits, labels), rtol=0, atol=1e-12
    )


@given(order=st.permutations(range(5)))
def test_order_of_samples_does_not_matter(order: list[int]) -> None:
    rng = np.random.default_rng(1)
    logits, labels = torch.tensor(rng.normal(size=(5, 3))), torch.tensor(rng.integers(0, 3, 5))
    torch.testing.assert_close(
        losses.cross_entropy(logits[order], labels[order]), losses.cross_entropy(logits, labels)
    )


def test_absolute_error_has_no_slope_where_it_is_zero() -> None:
    q = torch.tensor([1.0, 3.0], requires_grad=True)
    (grad,) = torch.autograd.grad(losses.absolute_error(q, torch.tensor([1.0, 1.0])), q)
    assert grad.tolist() == [0.0, 0.5]


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, losses.square_error, losses.absolute_error])
def test_shapes_that_only_broadcast_are_refused(loss) -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*\(3, 1\)"):
        loss(torch.zeros(3), torch.zeros(3, 1))


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_labels_of_no_known_form_are_refused(name: str) -> None:
    loss = getattr(losses, name)
    with pytest.raises(ValueError, match=r"class indices of shape \(3,\), got \(3, 4\)"):
        loss(torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="Shapes must be equal"):
        loss(torch.zeros(3, 4), torch.zeros(3))
    with pytest.raises(jaxtyping.TypeCheckError):  # what the annotations alone catch
        loss(torch.zeros(3, 4), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(IndexError):
        loss(torch.zeros(3, 4), torch.tensor([0, 4, 1]))
