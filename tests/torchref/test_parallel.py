"""The arithmetic of shares; tests/parity/test_parallel.py runs it in real processes."""

import pytest
import torch

from torchref.parallel import Ranks


@pytest.mark.parametrize("num_rows", [0, 1, 7, 8, 43])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_shares_are_all_rows_once_in_order(num_rows, world):
    rows = torch.arange(num_rows * 2).reshape(num_rows, 2)
    shares = [Ranks(rank, world).own(rows) for rank in range(world)]
    assert torch.equal(torch.cat(shares), rows)
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("world", [2, 3, 8])
def test_the_average_of_weighted_losses_is_the_mean_of_all(world):
    values = torch.randn(43, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weighted = [
        ranks.weighted(ranks.own(values).mean(), len(ranks.own(values)), len(values))
        for ranks in (Ranks(rank, world) for rank in range(world))
    ]
    torch.testing.assert_close(torch.stack(weighted).mean(), values.mean(), rtol=1e-14, atol=0)


def test_one_process_changes_nothing():
    value, rows = torch.tensor(2.0), torch.arange(3)
    alone = Ranks()
    assert alone.weighted(value, 3, 3) is value
    assert alone.mean(value) is value
    assert alone.own(rows) is rows
    assert alone.whole(rows, 3) is rows


def test_a_function_of_plain_tensors_is_refused_by_name():
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="'W' as a plain tensor"):
        Ranks(0, 2).network(lambda x: x @ weight, {"W": weight})
