"""Do two samples of draws come from one distribution? Exact answers that assume nothing about it.

A draw is one number of one initial model, such as the standard deviation of a leaf. If both sides draw
alike, their draws are exchangeable: every way of dealing them out to the two sides is equally likely.
Ranks therefore have a known distribution, whatever that of the draws is, and however the entries of one
leaf depend on one another (an orthogonal matrix): only the draws must be independent. Ties are broken by
lot, which keeps the levels exact.
"""

import functools
import math

import numpy as np
from jaxtyping import Float, Int

LEAST_DRAWS, MOST_DRAWS = 8, 256
"""Draws per side: with fewer no level is small enough to matter, with more the exact table takes minutes."""


@functools.cache
def _cumulative(draws: int) -> Float[np.ndarray, "..."]:
    """P(U <= u) of Mann and Whitney's U for two samples of this size, u = 0 ... draws^2.

    The largest of m + n numbers is one of the m with probability m / (m + n), and then exceeds all n:
    ``p(u; m, n) = m/(m+n) p(u - n; m - 1, n) + n/(m+n) p(u; m, n - 1)``.
    """
    before = [np.ones(1)] * (draws + 1)  # m = 0
    for m in range(1, draws + 1):
        now = [np.ones(1)]
        for n in range(1, draws + 1):
            p = np.zeros(m * n + 1)
            p[n:] += m / (m + n) * before[n]
            p[: m * (n - 1) + 1] += n / (m + n) * now[n - 1]
            now.append(p)
        before = now
    return np.asarray(np.cumsum(before[draws]))


def rank_levels(
    reference: Float[np.ndarray, "D K"], candidate: Float[np.ndarray, "D K"], rng: np.random.Generator
) -> Float[np.ndarray, "K"]:
    """The level at which the ranks of each of K statistics tell the two samples apart, from both ends.

    Args:
        reference: D draws of each statistic.
        candidate: likewise.
        rng: breaks ties.

    Returns:
        Levels (p-values): under equal distributions at most q with probability at most q.

    >>> apart = np.arange(8.0)[:, None]
    >>> rank_levels(apart, apart + 8, np.random.default_rng(0)) * math.comb(16, 8)
    array([2.])
    """
    draws = len(reference)
    pooled = np.concatenate([reference, candidate])
    order = np.lexsort((rng.random(pooled.shape), pooled), axis=0)
    ranks = np.arange(2 * draws)[:, None]
    u = np.sum(ranks * (order < draws), axis=0) - draws * (draws - 1) // 2
    return np.asarray(np.minimum(1.0, 2 * _cumulative(draws)[np.minimum(u, draws**2 - u)]))


def sample_levels(
    reference: Float[np.ndarray, "D K"],
    candidate: Float[np.ndarray, "D K"],
    tolerance: Float[np.ndarray, "K"],
    rng: np.random.Generator,
) -> tuple[Float[np.ndarray, "K"], Float[np.ndarray, "K"]]:
    """The levels at which K statistics lie elsewhere on one side, and at which they spread more.

    The spread is tested by the distance from the median of all draws of both sides, which does not depend
    on who drew what.

    Args:
        reference: D draws of each statistic.
        candidate: likewise.
        tolerance: what rounding explains, per statistic; samples that agree to it, draw by draw in order of
            size, have level 1.
        rng: breaks ties.

    Returns:
        Two levels per statistic.
    """
    levels = []
    middle = np.median(np.concatenate([reference, candidate]), axis=0)
    for first, second in (
        (reference, candidate),
        (np.abs(reference - middle), np.abs(candidate - middle)),
    ):
        equal = np.max(np.abs(np.sort(first, axis=0) - np.sort(second, axis=0)), axis=0) <= tolerance
        levels.append(np.where(equal, 1.0, rank_levels(first, second, rng)))
    return levels[0], levels[1]


def fixed_levels(odd: Int[np.ndarray, "..."], draws: int) -> Float[np.ndarray, "..."]:
    """The level at which all draws with another value than the usual one lie on one side.

    Dealt out at random, t such draws of 2 D are all on one given side with probability
    ``C(D, t) / C(2 D, t)``.

    Args:
        odd: t, the number of such draws, per entry.
        draws: D, the draws of each side.

    >>> fixed_levels(np.array([0, 1, 8]), 8) * np.array([1, 1, math.comb(16, 8)])
    array([1., 1., 2.])
    """
    table = [min(1.0, 2 * math.comb(draws, t) / math.comb(2 * draws, t)) for t in range(draws + 1)]
    return np.asarray(np.array(table)[odd])


def smallest_level(draws: int) -> float:
    """The smallest level that any of these tests can give with so many draws per side.

    Args:
        draws: of each side.
    """
    return 2 / math.comb(2 * draws, draws)


def copies(sketches: Float[np.ndarray, "D U S"]) -> list[tuple[int, ...]]:
    """Groups of arrays that are the same numbers in every draw, but for a factor and a constant.

    Two arrays that are drawn apart do not agree so in every one of D draws, whatever their distribution.

    Args:
        sketches: S entries of each of U arrays, in D draws.

    Returns:
        Groups of at least two indices of arrays; arrays that do not vary are in none.
    """
    centred = sketches - sketches.mean(axis=2, keepdims=True)
    size = np.linalg.norm(centred, axis=2, keepdims=True)
    varies = np.all(size[..., 0] > 0, axis=0)
    unit = centred / np.where(size > 0, size, 1.0)
    groups: list[list[int]] = []
    for index in np.flatnonzero(varies):
        for group in groups:
            if np.max(np.abs(unit[:, group[0]] - unit[:, index])) < 1e-3:
                group.append(int(index))
                break
        else:
            groups.append([int(index)])
    return [tuple(group) for group in groups if len(group) > 1]
