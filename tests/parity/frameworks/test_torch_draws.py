"""Draws of PyTorch read from the shared stream: what each function asks for, and what it gets."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from parity.frameworks.torch.torch_draws import SharedDraws
from parity.numerics import draws
from parity.numerics.draws import Distribution, Share

X = torch.linspace(-1, 1, 24).reshape(2, 3, 2, 2)
SHAPE = (2, 3, 2, 2)


def noted(function: Callable[[], Any], shares: tuple[Share, ...] = ()) -> tuple[Any, SharedDraws]:
    with SharedDraws(shares) as mode:
        out = function()
    return out, mode


def mask(number: int = 0, chance: float = 0.75, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(draws.below(Share(number), shape, chance)).float()


@pytest.mark.parametrize(
    ("function", "distribution", "shape", "parameters"),
    [
        (lambda: F.dropout(X, 0.25), Distribution.BERNOULLI, SHAPE, (0.75,)),
        (lambda: F.dropout2d(X, 0.25), Distribution.BERNOULLI, (2, 3, 1, 1), (0.75,)),
        (lambda: F.dropout1d(X[0], 0.25), Distribution.BERNOULLI, (3, 2, 1), (0.75,)),
        (lambda: F.alpha_dropout(X, 0.25, True), Distribution.BERNOULLI, SHAPE, (0.75,)),
        (lambda: F.feature_alpha_dropout(X, 0.25, True), Distribution.BERNOULLI, (2, 3, 1, 1), (0.75,)),
        (lambda: torch.native_dropout(X, 0.25, True), Distribution.BERNOULLI, SHAPE, (0.75,)),
        (lambda: torch.bernoulli(torch.full((3,), 0.5)), Distribution.BERNOULLI, (3,), (0.5,)),
        (lambda: torch.empty(3).bernoulli_(torch.tensor([0.1, 0.2, 0.3])), Distribution.BERNOULLI, (3,), ()),
        (lambda: torch.rand(2, 3), Distribution.UNIFORM, (2, 3), (0.0, 1.0)),
        (lambda: torch.rand_like(X), Distribution.UNIFORM, SHAPE, (0.0, 1.0)),
        (lambda: torch.empty(4).uniform_(-1, 3), Distribution.UNIFORM, (4,), (-1.0, 3.0)),
        (lambda: F.rrelu(X, training=True), Distribution.UNIFORM, SHAPE, (0.125, 1 / 3)),
        (lambda: torch.randn(2, 3), Distribution.NORMAL, (2, 3), ()),
        (lambda: torch.normal(0.0, 1.0, (2, 3)), Distribution.NORMAL, (2, 3), ()),
        (lambda: torch.normal(X, torch.ones(2)), Distribution.NORMAL, SHAPE, ()),
        (lambda: torch.empty(4).normal_(1, 2), Distribution.NORMAL, (4,), ()),
        (lambda: torch.empty(4).exponential_(2), Distribution.EXPONENTIAL, (4,), ()),
        (lambda: torch.randint(5, (3,)), Distribution.INTEGERS, (3,), (0, 5)),
        (lambda: torch.randint_like(X, 2, 5), Distribution.INTEGERS, SHAPE, (2, 5)),
        (lambda: torch.empty(4).random_(1, 4), Distribution.INTEGERS, (4,), (1, 4)),
        (lambda: torch.multinomial(torch.ones(3, 4), 1), Distribution.GUMBEL, (3, 4), ()),
        (
            lambda: F.scaled_dot_product_attention(X, X, X, dropout_p=0.25),
            Distribution.BERNOULLI,
            (2, 3, 2, 2),
            (0.75,),
        ),
    ],
)
def test_every_draw_is_noted_and_repeats_itself(
    function: Callable[[], Any],
    distribution: Distribution,
    shape: tuple[int, ...],
    parameters: tuple[float, ...],
) -> None:
    before = torch.get_rng_state()
    first, mode = noted(function)
    again, _ = noted(function)
    (draw,) = mode.noted
    assert (draw.distribution, draw.shape) == (distribution, shape)
    assert draw.parameters == pytest.approx(parameters)
    for one, other in zip(*(r if isinstance(r, tuple) else (r,) for r in (first, again)), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_drawn_is_what_the_stream_says() -> None:
    assert torch.equal(noted(lambda: F.dropout(X, 0.25))[0], X * (mask() / 0.75))
    kept, drawn = noted(lambda: torch.native_dropout(X, 0.25, True))[0]
    assert drawn.dtype == torch.bool
    assert torch.allclose(kept, X * mask() / 0.75)
    noise, _ = noted(lambda: torch.normal(X, 2.0))
    assert np.allclose(noise, X.numpy() + 2 * draws.normal(Share(0), SHAPE))
    whole, _ = noted(lambda: torch.randint(5, (3,)))
    assert whole.dtype == torch.int64
    assert np.array_equal(whole, draws.integers(Share(0), (3,), 0, 5))


def test_draws_read_the_shares_in_order() -> None:
    pair, mode = noted(lambda: (F.dropout(X, 0.25), F.dropout(X, 0.25)), (Share(5), Share(0, mirrored=True)))
    assert torch.equal(pair[0] != 0, mask(5) == 1)
    assert torch.equal(pair[1] != 0, torch.from_numpy(draws.uniform(Share(0), SHAPE) > 0.25))
    assert len(mode.noted) == 2


def test_a_mask_is_a_constant_of_the_gradient() -> None:
    x = X.clone().requires_grad_()
    with SharedDraws(()):
        F.rrelu(F.dropout(x, 0.25), training=True).sum().backward()  # type: ignore[no-untyped-call]
    kept = mask() / 0.75
    slopes = torch.from_numpy(0.125 + (1 / 3 - 0.125) * draws.uniform(Share(1), SHAPE)).float()
    expected = torch.where(X * kept > 0, kept, kept * slopes)
    assert x.grad is not None
    assert torch.allclose(x.grad, expected)


@pytest.mark.parametrize(
    "function",
    [
        lambda: F.dropout(X, 0.25, training=False),
        lambda: F.dropout(X, 0.0),
        lambda: F.scaled_dot_product_attention(X, X, X),
        lambda: torch.native_dropout(X, 0.25, False),
    ],
)
def test_what_draws_nothing_is_left_alone(function: Callable[[], Any]) -> None:
    assert noted(function)[1].noted == []


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (lambda: torch.randperm(20), "randperm"),
        (lambda: torch.multinomial(torch.ones(9), 4), "multinomial"),
        (lambda: torch.poisson(torch.full((20,), 3.0)), "poisson"),
        (lambda: torch.distributions.Gamma(torch.ones(20), 1.0).rsample(), "standard_gamma"),
    ],
)
def test_what_cannot_be_shared_repeats_itself(function: Callable[[], Any], name: str) -> None:
    before = torch.get_rng_state()
    first, mode = noted(function)
    torch.manual_seed(99)
    second, _ = noted(function)
    torch.set_rng_state(before)
    assert torch.equal(first, second)
    assert (mode.noted[0].distribution, mode.noted[0].name) == (Distribution.OTHER, name)
    assert not mode.noted[0].shared


def test_a_draw_knows_its_line() -> None:
    _, mode = noted(lambda: torch.rand(2))
    assert mode.noted[0].place.rpartition(":")[0] == __file__
