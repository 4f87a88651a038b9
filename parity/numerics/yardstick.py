r"""The yardstick: how far rounding alone moves two equal programs apart, measured instead of guessed.

For every compared quantity q, with r the reference's value and c the candidate's, max norms over the
tensor and eps of the dtype:

    N_r, N_c  largest move of r, of c, over K runs in which both sides see the same noise: every
              floating weight and input times (1 + eps u), u in {-1, 0, 1} drawn from a hash of
              (value, k), so that equal values stay equal and exact ties survive
    N         max(N_r, N_c)
    F         4 eps max|q|: the rounding of q itself (of an update: 4 eps max|w|)
    P         2^-26 max(|r32 - r64|, |c32 - c64|), in float64 only: rounding shrinks with the
              precision, a different function does not
    rho       max|c - r| / (N + F + P), with 0/0 = 0; at most 10 passes

A quantity over time is judged point by point. In float64 a rho above 10 means a different function. In
a narrower dtype the reference's float64 value r64 is the judge: |c - r64| <= 10 (|r - r64| + N + F), since
the reference may be the less accurate side. N leaves out the noise of a candidate that loses accuracy by its
own rounding (`parity.numerics.lost_accuracy`): that is `fail: accuracy`, however large its noise.

An accuracy moves in steps of one sample, so its floor is the share of samples that rounding may move to the
other side: those whose margin is within ten times the yardstick of the margins (ten, because rho up to ten
passes), divided by ten (so that rho = 10 is exactly that share).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from parity.numerics.arrays import DTYPES, smallest_normal
from parity.numerics.judged_points import INCONCLUSIVE_SHARE, Points, judge_points, without_excuse
from parity.numerics.lost_accuracy import amplification, lost_accuracy
from parity.numerics.measured_leaf import (
    Criterion,
    MeasuredLeaf,
    largest_magnitude,
    measure_leaf,
    norm,
    own_errors,
    ratio,
)
from parity.numerics.noise import SideByDtype
from parity.report import observations as wording
from parity.report.results import LIMIT, Curve, Quantity, Stage, Verdict

FORWARD: Mapping[str, Criterion] = {
    "outputs": Criterion("forward"),
    "loss": Criterion("forward"),
    "gradients": Criterion("gradients"),
}
"""What a forward and backward pass is compared by."""


def judge_quantities(
    reference: SideByDtype,
    candidate: SideByDtype,
    groups: Mapping[str, Criterion],
    *,
    program: str = "candidate",
    tolerance: tuple[float, float] | None = None,
) -> list[Quantity]:
    """Judge every quantity of every group and dtype; a leaf that only one side has is a failure.

    But for parts that one side's loss tells of: the loss is their sum, and they are left out.

    Args:
        reference: the reference's values by dtype.
        candidate: the candidate's values by dtype, leaves under the reference's names.
        groups: the groups to compare and how; others are ignored.
        program: label of what is compared, e.g. "candidate" or "by hand".
        tolerance: (rtol, atol): pass where |c - r| <= atol + rtol |r| in every entry, instead of the
            yardstick; rho is still reported.

    Returns:
        A quantity per dtype, group and leaf, those in float64 first.
    """
    quantities: list[Quantity] = []
    same_in_float64: dict[tuple[str, str], bool] = {}
    for dtype in sorted(reference, key=lambda dtype: dtype != "float64"):  # float64 decides structure
        sides = (reference[dtype], candidate[dtype])
        for group, rule in groups.items():
            leaves = [side.base.get(group, {}) for side in sides]
            common = [name for name in leaves[0] if name in leaves[1]]
            scale = largest_magnitude([side[name] for side in leaves for name in common])
            by_kind = _largest_by_kind(leaves, common, rule)
            for name in dict.fromkeys([*leaves[0], *leaves[1]]):
                blank = Quantity(Stage(rule.stage), group, name, dtype, Verdict.FAIL, program=program)
                if name not in common and group == "loss" and name != "loss":
                    continue
                if name not in common:
                    side = "<reference side>" if name in leaves[0] else "<candidate side>"
                    note = f"only {side} has it: nothing to compare it with"
                    quantities.append(dataclasses.replace(blank, notes=(note,)))
                    continue
                leaf = measure_leaf(*sides, group, name, rule, dtype)
                if leaf is None:
                    shapes = wording.on_shapes(*(tuple(side[name].shape) for side in leaves))
                    quantities.append(dataclasses.replace(blank, notes=(shapes,)))
                    continue
                if leaf.over_time:
                    own = largest_magnitude([leaf.reference, leaf.candidate])
                    beside = by_kind[rule.kind(name)] if rule.kind is not None else own
                else:
                    beside = scale
                quantity = _judge(blank, leaf, beside, same_in_float64.get((group, name)), tolerance)
                if dtype == "float64":
                    same_in_float64[group, name] = quantity.verdict is Verdict.PASS
                quantities.append(quantity)
    return quantities


def _largest_by_kind(
    leaves: Sequence[Mapping[str, np.ndarray]], common: Sequence[str], rule: Criterion
) -> dict[str, Float[np.ndarray, " points"]]:
    """At each point the largest magnitude of the leaves of each kind; none where the rule knows no kinds."""
    found: dict[str, Float[np.ndarray, " points"]] = {}
    for name in common if rule.kind is not None else ():
        assert rule.kind is not None
        for side in leaves:
            rows = np.abs(side[name]).reshape(len(side[name]), -1)
            largest = np.max(rows, axis=1, where=np.isfinite(rows), initial=0.0)
            known = found.get(rule.kind(name))
            found[rule.kind(name)] = largest if known is None else np.maximum(known, largest)
    return found


@np.errstate(invalid="ignore", over="ignore")
def _judge(
    blank: Quantity,
    leaf: MeasuredLeaf,
    group_scale: float | Float[np.ndarray, " points"],
    same_in_float64: bool | None,
    tolerance: tuple[float, float] | None,
) -> Quantity:
    """The verdict on one leaf, with what can be said about the difference."""
    rho, accuracy = ratio(leaf.difference, leaf.yardstick), None
    if blank.dtype != "float64":
        exact = leaf.reference_other
        accuracy = ratio(norm(leaf.candidate - exact), norm(leaf.reference - exact) + leaf.noise + leaf.floor)
    points = judge_points(leaf, rho if accuracy is None else accuracy, group_scale, tolerance)
    if accuracy is not None and tolerance is None:
        lost = lost_accuracy(leaf, group_scale, same_in_float64)
        points = without_excuse(points, leaf, group_scale, lost)
    less_accurate_reference = accuracy is not None and bool((rho > LIMIT).any()) and not points.null.any()
    verdict, notes = _verdict(blank.dtype, leaf, points, same_in_float64, less_accurate_reference)

    # The point that represents a curve in tables: its first failure, else its worst rho.
    first = points.first_failure
    point = int(np.argmax(np.nan_to_num(rho, nan=np.inf))) if first is None else first
    return dataclasses.replace(
        blank,
        verdict=verdict,
        rho=float(rho[point]),
        difference=float(leaf.difference[point]),
        scale=float(leaf.magnitude[point]),
        noise_reference=float(leaf.noise_reference[point]),
        noise_candidate=float(leaf.noise_candidate[point]),
        floor=float(leaf.floor[point]),
        rounding=float(leaf.rounding[point]),
        accuracy=None if accuracy is None else float(accuracy[point]),
        shape=leaf.shape,
        index=_worst_index(leaf, point),
        notes=tuple(notes),
        curve=_curve(leaf, rho, points) if leaf.over_time else None,
    )


def _verdict(
    dtype: str,
    leaf: MeasuredLeaf,
    points: Points,
    same_in_float64: bool | None,
    less_accurate_reference: bool,
) -> tuple[Verdict, list[str]]:
    """The verdict on a leaf and its notes, in the order in which they are shown."""
    finite = [np.isfinite(values).all(axis=1) for values in (leaf.reference, leaf.candidate)]
    notes = ["zero within rounding on both sides"] if points.null.any() else []
    if leaf.reference.shape[1] == 0:
        notes.append("empty: there is nothing to compare")
    notes += wording.on_finiteness(*finite, over_time=leaf.over_time)
    first, horizon = points.first_failure, points.horizon
    if first is not None:
        if points.lost is not None and points.lost[first]:
            return Verdict.FAIL, [*notes, wording.on_lost_accuracy(dtype, float(amplification(leaf)[first]))]
        verdict = Verdict.FAIL
        notes += wording.on_difference(leaf.reference[first], leaf.candidate[first], leaf.yardstick[first])
        if same_in_float64:
            notes.append(
                f"accuracy: the same function in float64, but {dtype} on <candidate side> loses more"
            )
    elif horizon is not None and _same_but_for_narrow_noise(dtype, leaf, points, same_in_float64):
        verdict = Verdict.PASS
        notes.append(f"one ulp of {dtype} moves it by over a tenth of its scale; it agrees in float64")
    elif horizon is not None:
        verdict = Verdict.INCONCLUSIVE
        if finite[0].all() and finite[1].all() and leaf.reference.size:
            where = f" from point {horizon} on" if leaf.over_time else ""
            notes.append(f"one-ulp noise moves it by over a tenth of its scale{where}: nothing can be said")
    else:
        verdict = Verdict.PASS
        if less_accurate_reference:
            notes.append("<reference> is further from float64 than <candidate> is")
    largest = float(leaf.magnitude.max(initial=0.0))
    notes += wording.on_denormals(largest, smallest_normal(dtype), dtype)
    errors, least = own_errors(leaf, dtype)
    return verdict, notes + wording.on_stability(
        leaf.noise_reference, leaf.noise_candidate, leaf.floor, errors, least
    )


def _same_but_for_narrow_noise(
    dtype: str, leaf: MeasuredLeaf, points: Points, same_in_float64: bool | None
) -> bool:
    """Whether a value that agrees in float64 agrees in a narrow dtype as far as that dtype can tell.

    One ulp of bfloat16 moves what lies at a kink across it: of the gradients behind a ReLU little can be said
    in it. What was computed there must be near, and finite, all the same.
    """
    if dtype in DTYPES or leaf.over_time or not same_in_float64 or not leaf.both_finite.all():
        return False
    near = leaf.difference <= INCONCLUSIVE_SHARE * leaf.magnitude
    return leaf.reference.size > 0 and bool(near[points.hidden].all())


def _worst_index(leaf: MeasuredLeaf, point: int) -> tuple[int, ...] | None:
    """Index into the leaf of the largest difference at a point; None in an empty leaf."""
    gap = np.abs(leaf.gap[point])
    if not gap.size:
        return None
    if not np.isfinite(leaf.difference[point]):
        gap = np.nan_to_num(gap, nan=np.inf)
    inner = leaf.shape[1:] if leaf.over_time else leaf.shape
    parts = gap.size // max(1, math.prod(inner))  # two of a complex number
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(gap)) // parts, inner))
    return (point, *index) if leaf.over_time else index


def _curve(leaf: MeasuredLeaf, rho: Float[np.ndarray, " points"], points: Points) -> Curve:
    """The points of a quantity over time; an array-valued metric is shown by its largest magnitude."""
    values = [v[:, 0] if v.shape[1] == 1 else norm(v) for v in (leaf.reference, leaf.candidate)]
    reference, candidate, yardstick, ratios = (
        tuple(float(value) for value in row) for row in (*values, leaf.yardstick, rho)
    )
    return Curve(reference, candidate, yardstick, ratios, points.first_failure, points.horizon)
