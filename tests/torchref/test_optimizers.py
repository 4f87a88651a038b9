"""Gradient descent against its formula and against `torch.optim.SGD`."""

import pytest
import torch
from torch import Tensor

from torchref.optimizers import GradientDescent, Optimizer


def two_parameters() -> dict[str, Tensor]:
    return {
        "w": torch.tensor([1.0, -2.0], requires_grad=True),
        "b": torch.tensor([3.0], requires_grad=True),
    }


def loss(parameters: dict[str, Tensor]) -> Tensor:
    return (parameters["w"] ** 2).sum() + 5 * parameters["b"].sum()  # gradients 2 w and 5


def test_one_rate() -> None:
    parameters = two_parameters()
    w = parameters["w"]
    loss(parameters).backward()
    GradientDescent(parameters, 0.25).step()
    assert w.tolist() == [0.5, -1.0]  # the same tensor, still a leaf
    assert parameters["b"].tolist() == [1.75]
    assert w.is_leaf
    assert w.requires_grad


def test_a_rate_for_each() -> None:
    parameters = two_parameters()
    loss(parameters).backward()
    GradientDescent(parameters, {"b": 0.0, "w": 0.5}).step()
    assert parameters["w"].tolist() == [0.0, 0.0]
    assert parameters["b"].tolist() == [3.0]


def test_zero_grad_forgets() -> None:
    parameters = two_parameters()
    descent = GradientDescent(parameters, 0.25)
    for _ in range(2):
        loss(parameters).backward()
        descent.step()
        descent.zero_grad()
    assert parameters["w"].tolist() == [0.25, -0.5]
    assert all(p.grad is None for p in parameters.values())


def test_a_parameter_without_gradient_stays() -> None:
    parameters = {**two_parameters(), "frozen": torch.tensor([7.0])}
    loss(parameters).backward()
    GradientDescent(parameters, 0.25).step()
    assert parameters["frozen"].tolist() == [7.0]


def test_the_same_path_as_sgd() -> None:
    ours, theirs = two_parameters(), two_parameters()
    descent = GradientDescent(ours, 0.1)
    sgd = torch.optim.SGD(theirs.values(), lr=0.1)
    for _ in range(5):
        for parameters, optimizer in ((ours, descent), (theirs, sgd)):
            loss(parameters).backward()
            optimizer.step()
            optimizer.zero_grad()
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=0)
    assert isinstance(sgd, Optimizer)
    assert isinstance(descent, Optimizer)


@pytest.mark.parametrize("rates", [{"w": 0.1}, {"w": 0.1, "b": 0.1, "c": 0.1}])
def test_rates_must_name_the_parameters(rates: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"need \['b', 'w'\]"):
        GradientDescent(two_parameters(), rates)
