"""What a model changes when it runs is kept before and put back afterwards."""

import collections
import functools
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from parity.frameworks.kept_state import KeptState

RNG = np.random.default_rng(5)


class Cache:
    """A class of the user's, with containers in its attributes."""

    def __init__(self) -> None:
        self.seen: list[Any] = [1]
        self.me = self  # a circle


def grown(holder: Any) -> None:
    """Change everything that `holder` holds."""
    holder.numbers += 1
    holder.items.append(3)
    holder.table["b"] = 2
    holder.members.add(9)
    holder.queue.appendleft(0)
    holder.array[0] = 7
    holder.tensor.add_(1)
    holder.cache.seen = []
    holder.cache.new = 1
    holder.fresh = 1


class Everything(nn.Module):
    """A module with all that can change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.numbers = 0
        self.items = [1, 2]
        self.table: dict[str, int] = {"a": 1}
        self.members = {1}
        self.queue = collections.deque([1])
        self.array = np.array([1.0, np.nan])
        self.tensor = torch.ones(2)
        self.cache = Cache()

    def state(self) -> list[Any]:
        """All of it as text."""
        plain = (self.numbers, self.items, self.table, self.members, self.queue, self.array, self.tensor)
        return [*map(repr, plain), repr(self.cache.seen), sorted(vars(self.cache)), sorted(vars(self))]


def test_a_module_is_put_back_whole() -> None:
    model = Everything()
    before, weight = model.state(), model.layer.weight
    state = KeptState(model)
    assert not state.changed()
    with state.restored():
        grown(model)
        model.layer.weight = nn.Parameter(torch.zeros(2, 2))
        model.layer.register_buffer("late", torch.ones(1))
        assert state.changed()
    assert model.state() == before
    assert model.layer.weight is weight
    assert dict(model.layer.named_buffers()) == {}
    assert not state.changed()


def test_also_after_an_exception_and_of_nested_ones_by_the_outermost() -> None:
    calls: list[int] = []
    state = KeptState(calls)
    with state.restored():
        with state.restored():
            calls.append(1)
        assert calls == [1]
    assert calls == []
    with pytest.raises(IndexError), state.restored():
        calls.append(calls.append(2) or calls[5])  # type: ignore[func-returns-value]
    assert calls == []


@pytest.mark.parametrize(
    "generator",
    [np.random.default_rng(1), np.random.RandomState(1), random.Random(1), torch.Generator().manual_seed(1)],
    ids=lambda generator: type(generator).__name__,
)
def test_generators(generator: Any) -> None:
    def draw() -> float:
        if isinstance(generator, torch.Generator):
            return torch.rand(1, generator=generator).item()
        return float(generator.random() if hasattr(generator, "random") else generator.rand())

    class Drawing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = generator

    state = KeptState(Drawing())
    first = draw()
    state.put_back()
    assert draw() == first


def test_what_functions_reach() -> None:
    seen: list[int] = []

    def inner(amount: int) -> float:
        seen.append(amount)
        return float(RNG.random())

    for function in (inner, functools.partial(inner, 1), Holder(inner).call):
        state = KeptState(function)
        first = inner(1)
        state.put_back()
        assert seen == []
        assert inner(1) == first
        state.put_back()


class Holder:
    """An object whose bound method reaches a function."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def call(self) -> Any:
        """Call it."""
        return self.function(1)


def test_parameters_and_buffers_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.frameworks.kept_state.LIMIT", 64)
    model = nn.BatchNorm1d(1000)
    big, small = torch.zeros(1000), torch.zeros(4)
    model.small = small  # type: ignore[assignment]
    model.big = big  # type: ignore[assignment]
    state = KeptState(model)
    small += 1
    big += 1
    model.running_mean += 1  # type: ignore[operator]
    state.put_back()
    assert small.sum() == 0
    assert big.sum() == 1000  # beyond the limit
    assert model.running_mean.sum() == 1000  # type: ignore[union-attr, operator]
