"""Levels are levels, whatever is drawn: no distribution makes more false alarms than they say."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from parity.numerics import two_samples

LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
    "few values": lambda rng, shape: rng.integers(0, 3, shape).astype(float),
    "mostly one value": lambda rng, shape: (rng.random(shape) < 0.05).astype(float),
}


def levels(first: np.ndarray, second: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(9)
    return np.array(two_samples.sample_levels(first, second, np.full(first.shape[1], tolerance), rng))


@pytest.mark.parametrize("draws", [8, 64])
@pytest.mark.parametrize("law", LAWS)
def test_levels_are_kept_under_any_law(law: str, draws: int) -> None:
    rng, number = np.random.default_rng(0), 20_000
    first, second = (LAWS[law](rng, (draws, number)) for _ in range(2))
    found = levels(first, second)
    for level in (0.1, 0.01, 0.001):
        expected = level * number
        for alarms in (found < level).sum(axis=1):
            assert alarms <= expected + 4 * math.sqrt(expected), (law, level)
            assert law == "few values" or alarms >= expected / 20, "the test cannot fail"


def test_ranks_are_counted_by_hand() -> None:
    """Of the 70 ways to deal out 8 numbers, one puts the four smallest on the first side, two have U <= 1."""
    first, second = (
        np.array([[0.0, 0.0], [1, 1], [2, 2], [3, 4]]),
        np.array([[4.0, 3.0], [5, 5], [6, 6], [7, 7]]),
    )
    found = two_samples.rank_levels(first, second, np.random.default_rng(0))
    np.testing.assert_allclose(found, [2 / 70, 4 / 70])


def test_rounding_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    first = 1 + 1e-7 * rng.random((32, 3))
    assert (levels(first, first + 2e-7) < 1e-6).any()
    assert (levels(first, first + 2e-7, tolerance=1e-6) == 1).all()


def test_a_spread_is_seen_where_the_middle_agrees() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((64, 200)), 5 * rng.standard_normal((64, 200))
    low, high = levels(first, second)
    assert np.median(low) > 0.01
    assert np.mean(high < 1e-6) > 0.9


@pytest.mark.parametrize(("law", "sizes"), [("normal", 1.2), ("uniform", 0.8)])
def test_power_is_what_the_guide_says(law: str, sizes: float) -> None:
    """A standard deviation that is off by 1.2 / sqrt(n), of a normal law, or 0.8 / sqrt(n), of a uniform one.

    The level is that of a model of ten leaves with 100 statistics each, tested twice.
    """
    rng, draws, entries, level = np.random.default_rng(0), 64, 400, 0.5e-4 / 2000
    draw = rng.standard_normal if law == "normal" else lambda shape: rng.uniform(-1, 1, shape)
    stds = [np.stack([draw((100, entries)).std(axis=1) for _ in range(draws)]) for _ in range(2)]
    off = 1 + sizes / math.sqrt(entries)
    assert np.mean(levels(stds[0], off * stds[1])[0] < level) > 0.9
    assert np.mean(levels(stds[0], stds[1]) < level) == 0


def test_fixed_entries() -> None:
    odd = np.array([0, 1, 16])
    found = two_samples.fixed_levels(odd, 16)
    np.testing.assert_allclose(found, [1, 1, 2 / math.comb(32, 16)])
    assert two_samples.smallest_level(16) == found[-1]


def test_copies_are_found_through_a_scale_and_nothing_else_is() -> None:
    rng = np.random.default_rng(0)
    sketches = rng.standard_normal((16, 4, 8))
    sketches[:, 2] = 0.3 * sketches[:, 0] + 1
    sketches[:, 3] = 0.0
    assert two_samples.copies(sketches) == [(0, 2)]
    sketches[7, 2] = rng.standard_normal(8)  # one draw that differs is enough
    assert two_samples.copies(sketches) == []
