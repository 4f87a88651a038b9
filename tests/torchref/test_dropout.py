"""Dropout with given masks against PyTorch's own, which draws them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torchref import modules
from torchref.dropout import Dropout, DropoutSequential, dropout


@pytest.mark.parametrize("rate", [0.25, 0.5])
def test_units_are_left_out_as_pytorch_does(rate: float) -> None:
    x = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        keep = F.dropout(torch.ones(6, 9), rate) > 0
        torch.manual_seed(1)
        known = F.dropout(x, rate)
    torch.testing.assert_close(dropout(x, keep, rate), known, rtol=1e-15, atol=0)


def test_of_images_whole_channels_are_left_out_as_pytorch_does() -> None:
    x = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        known = F.dropout2d(x, 0.25)
    keep = (known != 0).all(dim=(2, 3))
    assert 0 < keep.sum() < keep.numel()
    torch.testing.assert_close(dropout(x, keep, 0.25), known, rtol=1e-15, atol=0)


def test_what_is_left_out_has_no_gradient() -> None:
    x = torch.tensor([[1.0, 2.0, torch.inf]], requires_grad=True)
    dropout(x, torch.tensor([[True, True, False]]), 0.5).sum().backward()
    assert x.grad.tolist() == [[2.0, 2.0, 0.0]]


def test_an_mlp_takes_the_masks_of_all_layers_side_by_side() -> None:
    network, x = modules.mlp([3, 4, 2, 5], dropout_rate=0.5), torch.ones(2, 3)
    assert isinstance(network, DropoutSequential)
    first, second, third = (layer for layer in network if isinstance(layer, nn.Linear))
    keep = torch.tensor([[True, False, True, True, False, True], [True] * 6])
    h1 = first(x).relu() * torch.tensor([[2.0, 0, 2, 2], [2, 2, 2, 2]])
    h2 = second(h1).relu() * torch.tensor([[0.0, 2], [2, 2]])
    torch.testing.assert_close(network(x, keep=keep), third(h2))
    torch.testing.assert_close(network(x), third(second(first(x).relu()).relu()))


def test_a_cnn_takes_a_mask_per_channel() -> None:
    network, x = modules.cnn_global_pool([1, 3, 2, 4], dropout_rate=0.25), torch.rand(2, 1, 16, 16)
    assert [layer.num_units for layer in network if isinstance(layer, Dropout)] == [3, 2]
    keep = torch.ones(2, 5, dtype=torch.bool)
    keep[0, 3:] = False  # nothing reaches the last convolution
    bias = next(layer for layer in reversed(network) if isinstance(layer, nn.Conv2d)).bias
    torch.testing.assert_close(network(x, keep=keep)[0], bias)
    assert not torch.equal(network(x, keep=keep)[1], network(x)[1])  # the others are larger


def test_without_dropout_it_is_the_plain_sequence() -> None:
    assert type(modules.mlp([3, 4, 2])) is nn.Sequential
    assert type(modules.cnn_global_pool()) is nn.Sequential


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_rates_out_of_range_are_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="`rate` must be at least 0 and below 1"):
        modules.mlp([3, 4, 2], dropout_rate=rate)


def test_masks_of_another_shape_are_refused() -> None:
    network = modules.mlp([3, 4, 2, 5], dropout_rate=0.5)
    with pytest.raises(ValueError, match=r"`keep` must be \(2, 6\), the layers' \[4, 2\] beside one another"):
        network(torch.ones(2, 3), keep=torch.ones(2, 4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"`keep` must be \(2, 3\), got \(2, 2\)"):
        dropout.__wrapped__(torch.ones(2, 3), torch.ones(2, 2, dtype=torch.bool), 0.5)
