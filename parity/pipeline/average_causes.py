"""Why two averages of weights differ: their decay, where they begin, or what kind of average they are.

An average is known by its fresh share f of each step: ``average += f (weights - average)``. An exponential
average has 1 - decay, an equal one 1 / (n + 1).
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side

EXACT = 1e-6
"""Two shares that differ by less are the same: relative. They are known to some roundings of the weights."""

Shares = Float[np.ndarray, " steps"]


def average_cause(sides: tuple[Side, Side], before: Mapping[str, Float[np.ndarray, "steps ..."]]) -> str:
    """What makes the candidate's average differ from the reference's, in words; "" where that is not clear.

    Args:
        sides: values of every step from equal weights; their updates agree.
        before: the weights before each step, by tensor.
    """
    base = sides[0].base
    names = [name for name in base["averages"] if name in before and name in base["update"]]
    weights = _rows({name: before[name] + base["update"][name] for name in names}, names)
    shares = [_shares(_rows(side.base["averages"], names), weights) for side in sides]
    kinds = [_kind(share) for share in shares]
    if kinds[0] and not kinds[1]:
        earlier = _rows(before, names)
        if _kind(_shares(_rows(sides[1].base["averages"], names), earlier)) == kinds[0]:
            return "<candidate> averages the weights from before each update, <reference> those behind it"
    if not all(kinds):
        return ""
    if kinds[0] != kinds[1]:
        swapped = ""
        if _same(shares[0], 1 - shares[1]):
            swapped = ": the two weights are swapped (`optax.incremental_update` takes 1 - decay)"
        return f"<reference> keeps {kinds[0]}, <candidate> {kinds[1]}{swapped}"
    first = [_rows(side.base["averages"], names)[0] for side in sides]
    copied = [np.allclose(average, weights[0], rtol=EXACT, atol=0) for average in first]
    if copied == [True, False]:
        share = shares[1][0]
        start = _rows(before, names)[0]
        zero = np.allclose(first[1], share * weights[0], rtol=EXACT, atol=0)
        begins = (
            "zero"
            if zero
            else "the weights before training"
            if np.allclose(first[1], start + share * (weights[0] - start), rtol=EXACT, atol=0)
            else ""
        )
        if begins:
            return (
                f"the average of <candidate> begins at {begins}; <reference> copies the weights at its first "
                "update"
            )
    return ""


def _rows(arrays: Arrays, names: list[str]) -> Float[np.ndarray, "steps values"]:
    return np.concatenate([arrays[n].reshape(len(arrays[n]), -1).astype(np.float64) for n in names], axis=1)


def _shares(average: Float[np.ndarray, "steps values"], weights: Float[np.ndarray, "steps values"]) -> Shares:
    """The fresh share of each step but the first; NaN where the average is no such mixture."""
    way, moved = weights[1:] - average[:-1], np.diff(average, axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.sum(way * moved, axis=1) / np.sum(way * way, axis=1)
    left = np.abs(moved - share[:, None] * way).max(axis=1, initial=0.0)
    return np.where(left <= EXACT * np.abs(moved).max(axis=1, initial=0.0), share, np.nan)


def _kind(shares: Shares) -> str:
    """What average it is, in words; "" if it is none that is known."""
    if len(shares) < 2 or np.isnan(shares).any():
        return ""
    if _same(shares, np.full_like(shares, shares[0])):
        return f"an exponential average with the decay {1 - shares[0]:.6g}"
    if every := _period(shares):
        at = shares[shares > 0]
        if _same(at, np.full_like(at, at[0])):
            return f"an exponential average with the decay {1 - at[0]:.6g}, moved every {every} steps"
    numbers = np.arange(1.0, len(shares) + 1)
    if _same(shares, 1 / (numbers + 1)):
        return "the equal average of all steps"
    for shift in (0, 1):  # counted from zero or from one
        rising = 9 / (10 + numbers + shift)
        if _same(shares, np.maximum(rising, shares[-1])):
            most = "" if _same(shares, rising) else f", at most {1 - shares[-1]:.6g}"
            return f"an exponential average with a decay that rises as (1 + n) / (10 + n){most}"
    return ""


def _period(shares: Shares) -> int:
    """In how many steps the average moves once; 0 where it moves in every one, or not regularly."""
    at = np.flatnonzero(shares > 0)
    gaps = set(np.diff(at).tolist())
    if len(at) < 2 or len(gaps) > 1 or at[0] >= (every := gaps.pop()):
        return 0
    return every if every > 1 and at[-1] + every >= len(shares) else 0


def _same(a: Shares, b: Shares) -> bool:
    return bool(np.allclose(a, b, rtol=10 * EXACT, atol=0))
