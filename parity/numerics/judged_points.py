"""Which points of a leaf fail, and of which nothing can be said: the rules of the yardstick, point by point.

A leaf that is not over time has one point. The symbols are those of `parity.numerics.yardstick`.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from parity.numerics.lost_accuracy import NULL_SHARE, LostAccuracy
from parity.numerics.measured_leaf import MeasuredLeaf, norm
from parity.report.verdicts import LIMIT

INCONCLUSIVE_SHARE = 0.1
"""Noise above this share of the scale of the quantity's group: nothing can be said."""


class Points(NamedTuple):
    """What is found at each point in time.

    Attributes:
        failed: the two sides differ.
        hidden: nothing can be said: noise is too large, or both sides have the same NaN or infinity.
        null: a difference that is no failure, since the quantity is zero within rounding on both sides.
        lost: the candidate loses accuracy by its own rounding; None where that was not asked.
    """

    failed: Bool[np.ndarray, " points"]
    hidden: Bool[np.ndarray, " points"]
    null: Bool[np.ndarray, " points"]
    lost: Bool[np.ndarray, " points"] | None = None

    @property
    def first_failure(self) -> int | None:
        """The first point that fails."""
        return int(np.argmax(self.failed)) if self.failed.any() else None

    @property
    def horizon(self) -> int | None:
        """The first point of which nothing can be said."""
        return int(np.argmax(self.hidden)) if self.hidden.any() else None


def judge_points(
    leaf: MeasuredLeaf,
    judged: Float[np.ndarray, " points"],
    group_scale: float | Float[np.ndarray, " points"],
    tolerance: tuple[float, float] | None,
) -> Points:
    """Which points fail, given rho or, in a narrower dtype, the accuracy ratio of each.

    Args:
        leaf: both sides.
        judged: the ratio at each point; at most 10 passes.
        group_scale: largest magnitude in the quantity's group.
        tolerance: (rtol, atol) to judge by instead, or None.
    """
    failed = ~(judged <= LIMIT)  # NaN must not pass
    null = (leaf.magnitude <= LIMIT * leaf.yardstick) & (leaf.noise <= NULL_SHARE * group_scale) & failed
    failed &= ~null
    # What moves by no more than the rounding of what it is added to is zero, and hides nothing.
    hidden = ~(leaf.noise <= np.maximum(INCONCLUSIVE_SHARE * group_scale, leaf.floor))
    if tolerance is not None:
        rtol, atol = tolerance
        gap = np.abs(leaf.gap)
        failed = ~(gap <= atol + rtol * np.abs(leaf.reference)).all(axis=1)
        hidden = np.zeros_like(failed)
    finite = leaf.both_finite.all(axis=1)
    failed &= ~hidden
    if not finite.all():
        failed = np.where(finite, failed, _differ_beside_infinities(leaf))
    hidden = hidden | ~finite & ~failed
    if leaf.reference.shape[1] == 0:
        hidden = np.ones_like(hidden)
    return Points(failed, hidden, null)


def without_excuse(
    points: Points, leaf: MeasuredLeaf, group_scale: float | Float[np.ndarray, " points"], lost: LostAccuracy
) -> Points:
    """The points judged by the noise of the side that does not lose accuracy.

    Args:
        points: as the noise of both sides judges them.
        leaf: both sides.
        group_scale: largest magnitude in the quantity's group.
        lost: which side loses accuracy at which point.
    """
    enough = INCONCLUSIVE_SHARE * group_scale
    failed = points.failed | lost.candidate & (leaf.noise_reference <= enough)
    settled = failed | lost.reference & (leaf.noise_candidate <= enough)
    return points._replace(failed=failed, hidden=points.hidden & ~settled, lost=lost.candidate)


def _differ_beside_infinities(leaf: MeasuredLeaf) -> Bool[np.ndarray, " points"]:
    """Of rows with NaN or infinity, which never pass: whether those are elsewhere, or of another sign."""
    both_nan = np.isnan(leaf.reference) & np.isnan(leaf.candidate)
    same_places = ((leaf.reference == leaf.candidate) | both_nan | leaf.both_finite).all(axis=1)
    return np.asarray(~same_places | _finite_part_differs(leaf))


def _finite_part_differs(leaf: MeasuredLeaf) -> Bool[np.ndarray, " points"]:
    """Of rows with NaN or infinity: whether finite entries lie over a thousandth of their size apart.

    Noise says nothing here (infinity minus infinity), so only what is plainly another number counts.
    """
    reference, candidate = (np.where(leaf.both_finite, v, 0.0) for v in (leaf.reference, leaf.candidate))
    largest = np.maximum(norm(reference), norm(candidate))
    return np.asarray(norm(candidate - reference) > 1e-3 * largest)
