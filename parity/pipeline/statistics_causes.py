"""Why running statistics differ: another momentum, an update that is not kept, another variance."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

SAME = 1e-6
"""Relative: two multiples that differ by less are one number. Statistics start from float32 weights."""


class Update(NamedTuple):
    """A running statistic before a run, and what the run made of it on both sides, in float64.

    Attributes:
        before: the same on both sides.
        reference: after the reference's run.
        candidate: after the candidate's.
    """

    before: Float[np.ndarray, "..."]
    reference: Float[np.ndarray, "..."]
    candidate: Float[np.ndarray, "..."]

    @property
    def turned(self) -> "Update":
        """With the sides exchanged."""
        return Update(self.before, self.candidate, self.reference)


def cause(update: Update) -> str:
    """What makes the candidate's update another than the reference's, in words; "" where that is not clear.

    Args:
        update: one that differs.

    >>> cause(Update(np.zeros(2), np.array([0.1, 0.3]), np.array([0.9, 2.7])))[:66]
    '<candidate> moves it 9 x as far as <reference>: another momentum ('
    >>> cause(Update(np.zeros(2), np.array([0.1, 0.3]), np.zeros(2)))
    '<candidate> does not update it: the new statistic is not kept, or not computed'
    """
    first, second = update.reference - update.before, update.candidate - update.before
    if not second.any():
        return "<candidate> does not update it: the new statistic is not kept, or not computed"
    if not first.any():
        return "<reference> does not update it, <candidate> does"
    share = float(np.sum(first * second) / np.sum(first * first))
    if first.size > 1 and np.abs(second - share * first).max() <= SAME * np.abs(second).max():
        hint = "PyTorch's momentum is the share of the new batch, Flax's and Haiku's that of the old value"
        return f"<candidate> moves it {share:.6g} x as far as <reference>: another momentum ({hint})"
    return ""


def biased(update: Update, momentum: float) -> int | None:
    """The number of values n, if the candidate keeps the variance over n where the reference has n - 1.

        reference   (1 - momentum) before + momentum v n / (n - 1)
        candidate   (1 - momentum) before + momentum v

    Args:
        update: PyTorch's as the reference.
        momentum: PyTorch's.

    Returns:
        n, of at least 2; None where that does not explain the difference.

    >>> biased(Update(np.ones(2), np.array([1.1, 1.3]), np.array([1.06, 1.22])), 0.1)
    5
    """
    kept = (1 - momentum) * update.before
    first, second = update.reference - kept, update.candidate - kept
    if not second.any():
        return None
    ratio = float(np.sum(first * second) / np.sum(second * second))
    if ratio <= 1 or np.abs(first - ratio * second).max() > SAME * np.abs(first).max():
        return None
    count = ratio / (ratio - 1)
    near = round(count)
    return near if near >= 2 and abs(count - near) <= 1e-3 * near else None
