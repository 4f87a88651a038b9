"""What can be said in words about a difference; said only when it matches within the yardstick."""

import numpy as np
from jaxtyping import Bool, Float

from parity.report.verdicts import LIMIT

STABILITY_RATIO = 100.0
"""One side moving this many times as far as the other under the same noise is reported."""

Points = Float[np.ndarray, " points"]


def on_finiteness(
    finite_t: Bool[np.ndarray, " points"], finite_j: Bool[np.ndarray, " points"], *, over_time: bool
) -> list[str]:
    """Which side has NaN or infinity, and from which point of a curve on."""
    bad = [
        name
        for name, finite in (("<reference side>", finite_t), ("<candidate side>", finite_j))
        if not finite.all()
    ]
    if not bad:
        return []
    where = f" from point {int(np.argmin(finite_t & finite_j))} on" if over_time else ""
    return [f"NaN or infinity on {' and '.join(bad)}{where}"]


def on_stability(noise_t: Points, noise_j: Points, floor: Points) -> list[str]:
    """The same function computed less stably: a fault must not hide in its own noise."""
    low, high = np.maximum(np.minimum(noise_t, noise_j), floor), np.maximum(noise_t, noise_j)
    unstable = high > STABILITY_RATIO * low
    if not unstable.any():
        return []
    side = "<candidate side>" if noise_j[unstable][0] > noise_t[unstable][0] else "<reference side>"
    ratio = np.max(high[unstable] / low[unstable])
    return [f"stability: {side} moves {ratio:.0f} times as far under the same one-ulp noise"]


def on_difference(
    t: Float[np.ndarray, " values"], j: Float[np.ndarray, " values"], yardstick: float
) -> list[str]:
    """The same values in another order, a constant factor, or zero on one side."""
    if not (np.isfinite(t).all() and np.isfinite(j).all()):
        return []
    size = float(max(np.max(np.abs(t), initial=0.0), np.max(np.abs(j), initial=0.0)))
    if size == 0:
        return []
    t, j, honest = t / size, j / size, LIMIT * yardstick / size  # squares of 1e200 would overflow
    if _permuted(t, j, honest):
        return ["the same values in another order: look for a transpose, a reshape or a swapped axis"]
    square = float(t @ t)
    if square == 0:
        return ["zero on <reference side>"] if np.any(j != 0) else []
    factor = float(j @ t) / square
    if np.max(np.abs(j - factor * t)) > honest * max(1.0, abs(factor)):
        return []
    if abs(factor) <= honest / np.sqrt(square):
        return ["zero on <candidate side>"]
    near_one = abs(factor - 1) < 1e-6
    if t.size > 1 or (not near_one and abs(factor - round(factor)) < 1e-6 * abs(factor)):
        amount = f"(1 {factor - 1:+.3g})" if near_one else f"{factor:.8g}"
        return [f"<candidate> = {amount} x <reference>: look for a reduction (sum, mean), a rate or a scale"]
    return []


def _permuted(t: Float[np.ndarray, " values"], j: Float[np.ndarray, " values"], honest: float) -> bool:
    """Whether two arrays that differ hold the same values within `honest`; sorted only if sums allow it."""
    if t.size < 2 or np.array_equal(t, j):
        return False
    for one, other in ((t, j), (np.abs(t), np.abs(j))):
        if abs(float(one.sum()) - float(other.sum())) > 2 * t.size * honest:
            return False
    return bool(np.max(np.abs(np.sort(t) - np.sort(j))) <= honest)
