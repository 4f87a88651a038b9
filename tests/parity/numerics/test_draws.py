"""The stream that two models draw from: the same numbers in every precision, distributed as asked."""

import numpy as np
import pytest

from parity.numerics import draws
from parity.numerics.draws import Share, share_of

MANY = (400, 50)


def test_uniform_numbers_are_the_same_in_float32_and_never_0_or_1() -> None:
    u = draws.uniform(Share(3), MANY)
    assert np.array_equal(u.astype(np.float32).astype(np.float64), u)
    assert 0 < u.min() < 0.001 < 0.999 < u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert abs(u.var() - 1 / 12) < 0.002


def test_normal_numbers() -> None:
    z = draws.normal(Share(4), MANY)
    assert np.array_equal(z.astype(np.float32).astype(np.float64), z)
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    assert abs((np.abs(z) < 1.96).mean() - 0.95) < 0.01
    assert np.array_equal(draws.normal(Share(4, mirrored=True), MANY), -z)


def test_other_distributions() -> None:
    assert abs(draws.exponential(Share(5), MANY).mean() - 1) < 0.03
    assert abs(draws.gumbel(Share(5), MANY).mean() - np.euler_gamma) < 0.03
    mirrored = draws.gumbel(Share(5, mirrored=True), MANY)
    assert np.allclose(-np.log(draws.exponential(Share(5), MANY)), mirrored, rtol=0, atol=1e-12)
    whole = draws.integers(Share(6), MANY, -2, 3)
    assert set(whole.reshape(-1)) == {-2, -1, 0, 1, 2}
    assert abs(draws.below(Share(7), MANY, 0.9).mean() - 0.9) < 0.01


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.3, 0.5, 0.9])
def test_a_mask_does_not_depend_on_how_the_rate_was_rounded(rate: float) -> None:
    exact = draws.below(Share(8), MANY, 1 - rate)
    assert np.array_equal(exact, draws.below(Share(8), MANY, float(np.float32(1) - np.float32(rate))))
    assert not np.array_equal(exact, draws.below(Share(8), MANY, 1 - rate - 0.01))


def test_other_numbers_are_other_draws() -> None:
    assert not np.array_equal(draws.uniform(Share(0), MANY), draws.uniform(Share(1), MANY))
    assert np.array_equal(draws.uniform(Share(0), MANY), draws.uniform(Share(0), MANY))


@pytest.mark.parametrize("axes", [(0, 2, 3, 1), (0, 3, 1, 2), (3, 2, 1, 0)])
def test_axes_lead_from_the_reference_to_the_candidate(axes: tuple[int, ...]) -> None:
    one = draws.uniform(Share(2), (2, 3, 4, 5))
    other = one.transpose(axes)
    assert np.array_equal(draws.uniform(Share(2, axes), other.shape), other)


def test_axes_of_length_1_make_no_difference() -> None:
    flat = draws.uniform(Share(2), (6,))
    assert np.array_equal(draws.uniform(Share(2), (6, 1, 1)).reshape(6), flat)
    assert draws.uniform(Share(2), ()).shape == ()


def test_draws_beyond_the_known_ones_read_their_own_number() -> None:
    shares = (Share(4), Share(2))
    assert [share_of(shares, index).number for index in range(4)] == [4, 2, 2, 3]
