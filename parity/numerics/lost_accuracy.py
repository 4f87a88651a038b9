r"""Whether a side loses accuracy by its own rounding, so that it must not be excused by its own noise.

Two programs of one function have one condition number: one-ulp noise on weights and inputs moves the exact
value equally on both sides. What a side moves beyond that is its own rounding, carried along: it computes a
small number as the difference of large ones, for instance. With N_r, N_c, F, r64 and c64 as in
`parity.numerics.yardstick`, the candidate loses accuracy in a narrower dtype where all of this holds:

    N_c       > 100 max(N_r, F)               it moves a hundred times as far as the reference
    |c - r64| > 10 (|r - r64| + N_r + F)      without noise, too, it is that far off
    |c64 - r64| <= |c - r64| / 10             and in float64 that is gone: the same function

The second line is the judge's own with the candidate's noise left out. It keeps noise alone from counting:
a program that holds constants which the other does not have is moved by noise on them, yet computes no less
accurately. Likewise the reference, the other way round; a port may well be better than what it is a port of.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from parity.numerics.measured_leaf import MeasuredLeaf, norm
from parity.report.observations import STABILITY_RATIO
from parity.report.verdicts import LIMIT

NULL_SHARE = 1e-6
"""A quantity may be called zero only if its noise is at most this share of its group's scale."""


class LostAccuracy(NamedTuple):
    """The points at which one side alone loses accuracy.

    Attributes:
        candidate: where the candidate does, and the reference does not.
        reference: where the reference does, and the candidate is as near to float64 as its own noise allows.
    """

    candidate: Bool[np.ndarray, " points"]
    reference: Bool[np.ndarray, " points"]


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity are judged elsewhere
def lost_accuracy(
    leaf: MeasuredLeaf, group_scale: float | Float[np.ndarray, " points"], same_in_float64: bool | None
) -> LostAccuracy:
    """Which side of a leaf in a narrower dtype computes less accurately than the other.

    Of values over time nothing is said: training amplifies rounding by itself, on each side at its own time.
    Nor of a quantity that is zero in theory, which is all rounding on both sides.

    Args:
        leaf: in a dtype narrower than float64.
        group_scale: largest magnitude in the quantity's group.
        same_in_float64: whether the leaf passed in float64; None where it was not judged there.
    """
    exact = leaf.reference_other
    off = [norm(values - exact) for values in (leaf.reference, leaf.candidate)]
    noise = leaf.noise_reference, leaf.noise_candidate
    gone = norm(leaf.candidate_other - exact)
    finite = leaf.both_finite.all(axis=1) & np.isfinite(noise[0]) & np.isfinite(noise[1])
    judged = finite & (norm(exact) > NULL_SHARE * group_scale)
    if leaf.over_time or same_in_float64 is False:
        judged = np.zeros_like(judged)

    def loses(one: int, other: int) -> Bool[np.ndarray, " points"]:
        unstable = noise[one] > STABILITY_RATIO * np.maximum(noise[other], leaf.floor)
        wrong = off[one] > LIMIT * (off[other] + noise[other] + leaf.floor)
        return np.asarray(judged & unstable & wrong & (gone <= off[one] / LIMIT))

    accurate = off[1] <= LIMIT * (noise[1] + leaf.floor)
    return LostAccuracy(loses(1, 0), loses(0, 1) & accurate)


def amplification(leaf: MeasuredLeaf) -> Float[np.ndarray, " points"]:
    """How many times as far the candidate moves as the reference under the same noise.

    Args:
        leaf: both sides with their noise.

    Returns:
        N_c / max(N_r, F) at each point.
    """
    return np.asarray(leaf.noise_candidate / np.maximum(leaf.noise_reference, leaf.floor))
