"""One named array of both sides, point by point in time, with what rounding may do to it.

The symbols N, F and P are those of `parity.numerics.yardstick`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.numerics.arrays import eps_of, smallest_normal
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import Side, relative_scale
from parity.report.results import LIMIT

FLOOR_ULPS = 4.0
"""F in units of eps: a handful of roundings that noise on the inputs cannot show."""

ROUNDING_SHARE = 2.0**-26
"""P per unit of float32 rounding: eps64 / eps32 is 2^-29, times 8 for the spread between summation orders."""


class Criterion(NamedTuple):
    """How one group of values is judged.

    Attributes:
        stage: the stage it belongs to.
        over_time: whether axis 0 of each leaf is time, judged point by point, each leaf by its own scale.
        scale: largest magnitude behind the values per leaf name, for F: an update is as exact as the
            weight it is added to, 1 - x as exact as 1. None, or no entry: the values themselves.
        decided_by: for a leaf that counts decisions (an accuracy) the leaf that holds the margins.
        kind: leaf name -> kind, for a group over time whose leaves are of few kinds (all gradients are of
            one): at each point a leaf is judged beside the largest of its kind. None: by its own scale.
    """

    stage: str
    over_time: bool = False
    scale: Mapping[str, float] | None = None
    decided_by: Mapping[str, str] = {}
    kind: Callable[[str], str] | None = None


@dataclasses.dataclass(frozen=True)
class MeasuredLeaf:
    """A leaf of both sides with its noise, floor and rounding; one row per point in time.

    A leaf that is not over time has one row. Values are float64, huge entries in their own scale; complex
    ones are their real and imaginary parts, one beside the other.

    Attributes:
        reference: the reference's values.
        candidate: the candidate's values.
        reference_other: the reference's in the other precision: float32 for float64, float64 for all others.
        candidate_other: likewise the candidate's.
        noise_reference: largest move of the reference under one-ulp noise.
        noise_candidate: likewise of the candidate.
        floor: F.
        rounding: P.
        shape: of the leaf, time included.
        over_time: whether a row is a point in time.
    """

    reference: Float[np.ndarray, "points values"]
    candidate: Float[np.ndarray, "points values"]
    reference_other: Float[np.ndarray, "points values"]
    candidate_other: Float[np.ndarray, "points values"]
    noise_reference: Float[np.ndarray, " points"]
    noise_candidate: Float[np.ndarray, " points"]
    floor: Float[np.ndarray, " points"]
    rounding: Float[np.ndarray, " points"]
    shape: tuple[int, ...]
    over_time: bool

    @property
    def noise(self) -> Float[np.ndarray, " points"]:
        """N, the larger of both sides' moves."""
        return np.asarray(np.maximum(self.noise_reference, self.noise_candidate))

    @property
    def yardstick(self) -> Float[np.ndarray, " points"]:
        """N + F + P: the distance that rounding alone explains."""
        return np.asarray(self.noise + self.floor + self.rounding)

    @functools.cached_property
    def gap(self) -> Float[np.ndarray, "points values"]:
        """Candidate minus reference."""
        return np.asarray(self.candidate - self.reference)

    @functools.cached_property
    def difference(self) -> Float[np.ndarray, " points"]:
        """Max norm of candidate minus reference."""
        return norm(self.gap)

    @functools.cached_property
    def magnitude(self) -> Float[np.ndarray, " points"]:
        """The larger max norm of the two sides."""
        return np.asarray(np.maximum(norm(self.reference), norm(self.candidate)))

    @functools.cached_property
    def both_finite(self) -> Bool[np.ndarray, "points values"]:
        """Where neither side has NaN or infinity."""
        return np.asarray(np.isfinite(self.reference) & np.isfinite(self.candidate))


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity are judged as such
def measure_leaf(
    reference: Side, candidate: Side, group: str, name: str, rule: Criterion, dtype: str
) -> MeasuredLeaf | None:
    """Gather the values, noise, floor and rounding of one leaf.

    Args:
        reference: the reference's values in `dtype`.
        candidate: the candidate's.
        group: the group that the leaf belongs to.
        name: the leaf, which both sides have.
        rule: how the group is judged.
        dtype: name of the floating dtype that is judged.

    Returns:
        The leaf; None if its two shapes differ.
    """
    sides = (reference, candidate)
    values = [side.base[group][name] for side in sides]
    others = [side.other[group][name] for side in sides]
    shape = values[0].shape
    if values[1].shape != shape:
        return None
    if any(value.dtype.kind == "c" for value in values):
        values, others = (
            [real_parts(np.asarray(v, np.complex128)) for v in both] for both in (values, others)
        )

    def rows(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "points values"]:
        scaled = array if isinstance(scale, float) else np.asarray(array / scale)
        wide = np.asarray(scaled, np.float64, order="C")
        return wide.reshape(shape[0] if rule.over_time else 1, -1)

    # Huge entries (a mask's -1e9) are judged in their own scale, and set nobody else's.
    scale = relative_scale(np.asarray(np.maximum(np.abs(values[0]), np.abs(values[1]))))
    own = [rows(value) for value in values]
    other = [rows(value) for value in others]
    magnitude = np.maximum(norm(own[0]), norm(own[1]))
    if rule.scale is not None:
        magnitude = np.maximum(magnitude, rule.scale.get(name, 0.0))
    # What is below the smallest normal number, a machine may flush to zero.
    floor = np.maximum(FLOOR_ULPS * eps_of(dtype) * magnitude, smallest_normal(dtype))
    rounding = np.zeros_like(floor)
    if dtype == "float64":
        gaps = [_finite_norm(a - b) for a, b in zip(other, own, strict=True)]
        rounding = ROUNDING_SHARE * np.maximum(gaps[0], gaps[1])
    if name in rule.decided_by:
        margins = measure_leaf(reference, candidate, group, rule.decided_by[name], rule, dtype)
        if margins is not None:
            near = np.abs(margins.reference) <= LIMIT * margins.yardstick[:, None]
            floor = floor + np.mean(near, axis=1) / LIMIT
            rounding = np.zeros_like(floor)  # a count has no rounding of its own
    noise = [_moves(side.moves[group][name], over_time=rule.over_time) for side in sides]
    return MeasuredLeaf(
        own[0],
        own[1],
        other[0],
        other[1],
        noise[0],
        noise[1],
        floor,
        rounding,
        shape,
        rule.over_time,
    )


@np.errstate(invalid="ignore", over="ignore")
def own_errors(
    leaf: MeasuredLeaf, dtype: str
) -> tuple[tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]], Float[np.ndarray, " points"]]:
    """How far each side lies from itself in the other precision, and the least such error that says anything.

    Args:
        leaf: both sides.
        dtype: name of the floating dtype that is judged.

    Returns:
        The errors of the reference and of the candidate, 0 where one is not finite; F of the narrower dtype.
    """
    pairs = ((leaf.reference, leaf.reference_other), (leaf.candidate, leaf.candidate_other))
    errors = [np.nan_to_num(norm(own - other), nan=0.0, posinf=0.0) for own, other in pairs]
    wider = eps_of("float32") / eps_of("float64") if dtype == "float64" else 1.0
    return (errors[0], errors[1]), leaf.floor * wider


def _moves(moves: Shaped[np.ndarray, "..."], *, over_time: bool) -> Float[np.ndarray, " points"]:
    """The largest move at each point in time, of the moves of each entry of the first axis."""
    points = moves.shape[0] if over_time else 1
    rows = moves.reshape(points, moves.size // max(points, 1))
    return np.asarray(rows.max(axis=1, initial=0.0), np.float64)


def _finite_norm(rows: Float[np.ndarray, "points values"]) -> Float[np.ndarray, " points"]:
    """`norm` of what is finite: where float32 overflows it says nothing of rounding, and excuses nothing."""
    largest = norm(rows)
    if np.isfinite(largest).all():
        return largest
    return norm(np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0))


def norm(rows: Shaped[np.ndarray, "points values"]) -> Float[np.ndarray, " points"]:
    """Max norm of each row.

    Args:
        rows: one row per point in time.

    Returns:
        0 for an empty row, NaN for one that has NaN.
    """
    # Without an array of magnitudes; adding zero makes 0.0 of -0.0.
    return np.asarray(np.maximum(rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0)) + 0.0)


def ratio(a: Float[np.ndarray, " points"], b: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """a / b per point, where 0/0 is 0 and the ratio of a positive number to 0 is huge or infinite.

    Args:
        a: at least 0, or NaN.
        b: likewise.

    >>> ratio(np.array([0.0, 6.0]), np.array([0.0, 3.0])).tolist()
    [0.0, 2.0]
    """
    return np.where(a == 0, 0.0, a / np.where(b == 0, np.where(a == 0, 1.0, np.finfo(float).tiny), b))


def largest_magnitude(arrays: Sequence[Shaped[np.ndarray, "..."]]) -> float:
    """Largest finite magnitude in several arrays; 0 where there is none.

    Args:
        arrays: of any shapes.
    """
    sizes = [np.abs(array[np.isfinite(array)]).max(initial=0.0) for array in arrays]
    return float(max(sizes, default=0.0))
