"""Sentences on a difference, each written only where it holds within the yardstick.

The sides are called `<reference>` and `<candidate>`; the report puts their names in.
"""

import numpy as np
from jaxtyping import Bool, Float

from parity.report.rounded import rounded
from parity.report.verdicts import LIMIT

STABILITY_RATIO = 100.0
"""A side that moves this many times as far as the other under the same noise is reported."""

Points = Float[np.ndarray, " points"]


def on_shapes(t: tuple[int, ...], j: tuple[int, ...]) -> str:
    """That two shapes differ, and what may make them alike.

    Args:
        t: the reference's shape.
        j: the candidate's.
    """
    hint = "; give the permutation of its axes as `layout`" if sorted(t) == sorted(j) else ""
    return f"the shapes differ: {t} on <reference side>, {j} on <candidate side>{hint}"


def on_finiteness(
    finite_t: Bool[np.ndarray, " points"], finite_j: Bool[np.ndarray, " points"], *, over_time: bool
) -> list[str]:
    """Which side has NaN or infinity, and from which point of a curve on.

    Args:
        finite_t: where the reference is finite.
        finite_j: where the candidate is.
        over_time: whether the points are those of a curve.

    Returns:
        One sentence, or none where both are finite everywhere.
    """
    bad = [
        name
        for name, finite in (("<reference side>", finite_t), ("<candidate side>", finite_j))
        if not finite.all()
    ]
    if not bad:
        return []
    where = f" from point {int(np.argmin(finite_t & finite_j))} on" if over_time else ""
    return [f"NaN or infinity on {' and '.join(bad)}{where}"]


def on_stability(
    noise_t: Points, noise_j: Points, floor: Points, errors: tuple[Points, Points], least: Points
) -> list[str]:
    """Whether one side computes less stably: a fault must not hide in its own noise.

    A side that holds constants which the other does not have moves with the noise on them and computes no
    less accurately. So only a side whose rounding is larger, too, is called less stable.

    Args:
        noise_t: largest move of the reference under one-ulp noise, in units of the quantity.
        noise_j: likewise of the candidate.
        floor: rounding of the quantity itself, in the same unit.
        errors: difference between both precisions, of the reference and of the candidate, without noise.
        least: an error that says nothing: the rounding of the quantity itself in the narrower precision.

    Returns:
        One sentence, or none where neither side moves 100 times as far as the other.
    """
    low, high = np.maximum(np.minimum(noise_t, noise_j), floor), np.maximum(noise_t, noise_j)
    own, other = (np.where(noise_j > noise_t, *pair) for pair in (errors[::-1], errors))
    unstable = (high > STABILITY_RATIO * low) & (own > LIMIT * np.maximum(other, least))
    if not unstable.any():
        return []
    side = "<candidate side>" if noise_j[unstable][0] > noise_t[unstable][0] else "<reference side>"
    ratio = np.max(high[unstable] / low[unstable])
    return [f"stability: {side} moves {rounded(float(ratio))} times as far under the same one-ulp noise"]


def on_lost_accuracy(dtype: str, ratio: float) -> str:
    """Why a candidate that is the same function in float64 fails in a narrower dtype by its own rounding.

    Args:
        dtype: in which it fails.
        ratio: how many times as far as the reference one-ulp noise moves it.
    """
    return (
        f"accuracy: the same function in float64, but {dtype} on <candidate side> loses more: rounding moves "
        f"it {rounded(ratio)} times as far as <reference side>; look for a small difference of large "
        "numbers, such as a variance computed as E[x^2] - E[x]^2"
    )


def on_denormals(magnitude: float, smallest: float, dtype: str) -> list[str]:
    """Whether numbers are so small that a machine may take them for zero.

    Args:
        magnitude: the largest on either side.
        smallest: the smallest normal number of the dtype.
        dtype: its name.

    Returns:
        One sentence, or none where the numbers are zero or normal.
    """
    if not 0 < magnitude < smallest:
        return []
    return [f"denormal in {dtype}, below {smallest:.2g}: either side may flush it to zero"]


def on_difference(
    t: Float[np.ndarray, " values"], j: Float[np.ndarray, " values"], yardstick: float
) -> list[str]:
    """Whether the values are the same in another order, differ by a factor, or are zero on one side.

    Args:
        t: the reference's values.
        j: the candidate's.
        yardstick: the difference that rounding alone explains, in units of the quantity.

    Returns:
        One sentence, or none where nothing of this holds.
    """
    if not (np.isfinite(t).all() and np.isfinite(j).all()):
        return []
    if wrapped := _wrapped(t, j):
        return [f"the same integers modulo 2^{wrapped}: on one side they wrap, held in {wrapped} bits"]
    size = float(max(np.max(np.abs(t), initial=0.0), np.max(np.abs(j), initial=0.0)))
    if size == 0:
        return []
    t, j, allowed = t / size, j / size, LIMIT * yardstick / size  # squares of 1e200 would overflow
    if _permuted(t, j, allowed):
        return ["the same values in another order: look for a transpose, a reshape or a swapped axis"]
    square = float(t @ t)
    if square == 0:
        return ["zero on <reference side>"] if np.any(j != 0) else []
    factor = float(j @ t) / square
    if np.max(np.abs(j - factor * t)) > allowed * max(1.0, abs(factor)):
        return []
    if abs(factor) <= allowed / np.sqrt(square):
        return ["zero on <candidate side>"]
    near_one = abs(factor - 1) < 1e-6
    if t.size > 1 or (not near_one and abs(factor - round(factor)) < 1e-6 * abs(factor)):
        amount = f"(1 {factor - 1:+.3g})" if near_one else f"{factor:.{_digits(allowed)}g}"
        return [f"<candidate> = {amount} x <reference>: look for a reduction (sum, mean), a rate or a scale"]
    return []


def _digits(allowed: float) -> int:
    """How many digits of a number are known to this relative difference: from 3 to 8."""
    return 8 if allowed <= 0 else min(8, max(3, 1 + int(-np.log10(allowed))))


def _wrapped(t: Float[np.ndarray, " values"], j: Float[np.ndarray, " values"]) -> int:
    """The bits of integers in which two different arrays of integers are the same; 0 if there are none."""
    difference = j - t
    largest = max(np.abs(t).max(initial=0.0), np.abs(j).max(initial=0.0))
    if not difference.any() or largest >= 2.0**53 or (np.floor(t) != t).any() or (np.floor(j) != j).any():
        return 0
    return next((bits for bits in (32, 16, 8) if not (difference % 2.0**bits).any()), 0)


def _permuted(t: Float[np.ndarray, " values"], j: Float[np.ndarray, " values"], allowed: float) -> bool:
    """Whether two different arrays hold the same values within `allowed`; sorted only if their sums agree."""
    if t.size < 2 or np.array_equal(t, j):
        return False
    for one, other in ((t, j), (np.abs(t), np.abs(j))):
        if abs(float(one.sum()) - float(other.sum())) > 2 * t.size * allowed:
            return False
    return bool(np.max(np.abs(np.sort(t) - np.sort(j))) <= allowed)
