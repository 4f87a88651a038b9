r"""The yardstick: how far apart two honest programs may lie, measured instead of guessed.

For every compared quantity q, with t the PyTorch value and j the JAX value, max norms over the tensor
and eps of the dtype:

    N_t, N_j  largest move of t, of j, over K runs in which both sides see the same noise: every
              floating weight and input times (1 + eps u), u in {-1, 0, 1} drawn from a hash of
              (value, k), so that equal values stay equal and exact ties survive
    N         max(N_t, N_j)
    F         4 eps max|q|: the rounding of q itself (of an update: 4 eps max|w|)
    P         2^-26 max(|t32 - t64|, |j32 - j64|), in float64 only: rounding shrinks with the
              precision, a different function does not
    rho       max|j - t| / (N + F + P), with 0/0 = 0; at most 10 passes

A quantity over time is judged point by point. In float64 a rho above 10 means a different function. In
a narrower dtype the float64 value q64 is the judge: |j - q64| <= 10 (|t - q64| + N + F), since the
PyTorch side may be the less accurate one.

An accuracy moves in steps of one sample, so its floor is the share of samples that may honestly change
sides: those whose margin is within ten times the yardstick of the margins (ten, because rho up to ten
passes), divided by ten (so that rho = 10 is exactly that share).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.numerics.arrays import eps_of
from parity.numerics.noise import Side, Sides, relative_scale
from parity.report import observations as wording
from parity.report.results import LIMIT, Curve, Quantity, Stage, Verdict

FLOOR_ULPS = 4.0
"""F in units of eps: a handful of roundings that noise on the inputs cannot show."""

ROUNDING_SHARE = 2.0**-26
"""P per unit of float32 rounding: eps64 / eps32 is 2^-29, times 8 for the spread between summation orders."""

INCONCLUSIVE_SHARE = 0.1
"""Noise above this share of the scale of the quantity's group: nothing can be said."""

NULL_SHARE = 1e-6
"""A quantity may be called zero only if its noise is at most this share of its group's scale."""


class Rule(NamedTuple):
    """How one group of values is judged.

    Attributes:
        stage: the stage it belongs to.
        over_time: whether axis 0 of each leaf is time, judged point by point, each leaf by its own scale.
        scale: largest magnitude behind the values per leaf name, for F: an update is as exact as the
            weight it is added to, 1 - x as exact as 1. None, or no entry: the values themselves.
        decided_by: for a leaf that counts decisions (an accuracy) the leaf that holds the margins.
    """

    stage: str
    over_time: bool = False
    scale: Mapping[str, float] | None = None
    decided_by: Mapping[str, str] = {}


FORWARD: Mapping[str, Rule] = {
    "outputs": Rule("forward"),
    "loss": Rule("forward"),
    "gradients": Rule("gradients"),
}
"""What a forward and backward pass is compared by."""


def compare(
    expected: Sides,
    actual: Sides,
    groups: Mapping[str, Rule],
    *,
    program: str = "candidate",
    tolerance: tuple[float, float] | None = None,
) -> list[Quantity]:
    """Judge every quantity of every group and dtype; a leaf that only one side has is a failure.

    Args:
        expected: PyTorch's values by dtype.
        actual: JAX's values by dtype, leaves under PyTorch's names.
        groups: the groups to compare and how; others are ignored.
        program: label of what is compared, e.g. "candidate" or "by hand".
        tolerance: (rtol, atol): pass where |j - t| <= atol + rtol |t| in every entry, instead of the
            yardstick; rho is still reported.
    """
    quantities: list[Quantity] = []
    same_in_float64: dict[tuple[str, str], bool] = {}
    for dtype in sorted(expected, key=lambda dtype: dtype != "float64"):  # float64 decides structure
        torch_side, jax_side = expected[dtype], actual[dtype]
        for group, rule in groups.items():
            ours, theirs = torch_side.base.get(group, {}), jax_side.base.get(group, {})
            common = [name for name in ours if name in theirs]
            scale = _scale([ours[n] for n in common] + [theirs[n] for n in common])
            for name in dict.fromkeys([*ours, *theirs]):
                blank = Quantity(Stage(rule.stage), group, name, dtype, Verdict.FAIL, program=program)
                if name not in common:
                    side = "<reference side>" if name in ours else "<candidate side>"
                    note = f"only {side} has it: nothing to compare it with"
                    quantities.append(dataclasses.replace(blank, notes=(note,)))
                    continue
                evidence = _gather(torch_side, jax_side, group, name, rule, dtype)
                quantity = _judge(blank, evidence, scale, same_in_float64.get((group, name)), tolerance)
                if dtype == "float64":
                    same_in_float64[group, name] = quantity.verdict is Verdict.PASS
                quantities.append(quantity)
    return quantities


class _Evidence(NamedTuple):
    """All that is needed to judge one leaf, one row per point in time (one row if not over time)."""

    t: Shaped[np.ndarray, "points values"]
    j: Shaped[np.ndarray, "points values"]
    t_other: Shaped[np.ndarray, "points values"]
    j_other: Shaped[np.ndarray, "points values"]
    noise_t: Float[np.ndarray, " points"]
    noise_j: Float[np.ndarray, " points"]
    floor: Float[np.ndarray, " points"]
    rounding: Float[np.ndarray, " points"]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    over_time: bool


@np.errstate(invalid="ignore", over="ignore")  # NaN and infinity are judged as such
def _gather(
    torch_side: Side, jax_side: Side, group: str, name: str, rule: Rule, dtype: str
) -> _Evidence | None:
    """Noise, floor and rounding of one leaf; None when the two shapes differ."""
    values = [side.base[group][name] for side in (torch_side, jax_side)]
    shapes = (values[0].shape, values[1].shape)
    if shapes[0] != shapes[1]:
        return None

    def rows(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "points values"]:
        return array.reshape(array.shape[0] if rule.over_time else 1, -1).astype(np.float64)

    def move(side: Side) -> Float[np.ndarray, " points"]:
        moves = side.moves[group][name]
        points = moves.shape[0] if rule.over_time else 1
        largest: Float[np.ndarray, " points"] = moves.reshape(points, moves.size // max(points, 1)).max(
            axis=1, initial=0.0
        )
        return largest

    # Huge entries (a mask's -1e9) are judged in their own scale, and set nobody else's.
    scale = relative_scale(np.asarray(np.maximum(np.abs(values[0]), np.abs(values[1]))))
    t, j = (rows(np.asarray(value / scale)) for value in values)
    t_other, j_other = (rows(np.asarray(side.other[group][name] / scale)) for side in (torch_side, jax_side))
    eps = eps_of(dtype)
    magnitude = np.maximum(_norm(t), _norm(j))
    if rule.scale is not None:
        magnitude = np.maximum(magnitude, rule.scale.get(name, 0.0))
    floor = FLOOR_ULPS * eps * magnitude
    rounding = np.zeros_like(floor)
    if dtype == "float64":
        # Where float32 overflows it says nothing of rounding, and must not excuse anything.
        gaps = [np.nan_to_num(gap, nan=0.0, posinf=0.0, neginf=0.0) for gap in (t_other - t, j_other - j)]
        rounding = ROUNDING_SHARE * np.maximum(_norm(gaps[0]), _norm(gaps[1]))
    noise_t, noise_j = move(torch_side), move(jax_side)
    if name in rule.decided_by:
        margins = _gather(torch_side, jax_side, group, rule.decided_by[name], rule, dtype)
        if margins is not None:
            reach = np.maximum(margins.noise_t, margins.noise_j) + margins.floor + margins.rounding
            floor = floor + np.mean(np.abs(margins.t) <= LIMIT * reach[:, None], axis=1) / LIMIT
            rounding = np.zeros_like(floor)  # a count has no rounding of its own
    return _Evidence(t, j, t_other, j_other, noise_t, noise_j, floor, rounding, shapes, rule.over_time)


@np.errstate(invalid="ignore", over="ignore")
def _judge(
    blank: Quantity,
    evidence: _Evidence | None,
    group_scale: float,
    same_in_float64: bool | None,
    tolerance: tuple[float, float] | None,
) -> Quantity:
    """The verdict on one leaf, with what can be said about the difference."""
    if evidence is None:
        return dataclasses.replace(blank, notes=("the two sides have different shapes; see the layout",))
    e = evidence
    noise = np.maximum(e.noise_t, e.noise_j)
    yardstick = noise + e.floor + e.rounding
    difference = _norm(e.j - e.t)
    rho = _ratio(difference, yardstick)
    accuracy = None
    if blank.dtype != "float64":
        accuracy = _ratio(_norm(e.j - e.t_other), _norm(e.t - e.t_other) + noise + e.floor)
    if e.over_time:
        group_scale = _scale([e.t, e.j])

    notes: list[str] = []
    failed = ~((rho if accuracy is None else accuracy) <= LIMIT)  # NaN must not pass
    null = (
        (np.maximum(_norm(e.t), _norm(e.j)) <= LIMIT * yardstick)
        & (noise <= NULL_SHARE * group_scale)
        & failed
    )
    if null.any():
        notes.append("zero within rounding on both sides")
    failed &= ~null
    hidden = ~(noise <= INCONCLUSIVE_SHARE * group_scale)
    if tolerance is not None:
        rtol, atol = tolerance
        failed = ~(np.abs(e.j - e.t) <= atol + rtol * np.abs(e.t)).all(axis=1)
        hidden = np.zeros_like(failed)
    finite_t, finite_j = np.isfinite(e.t).all(axis=1), np.isfinite(e.j).all(axis=1)
    # NaN and infinity never pass; in other places, or of another sign, they are a fault.
    same_places = np.all((e.t == e.j) | (np.isnan(e.t) & np.isnan(e.j)) | _both_finite(e), axis=1)
    failed = np.where(finite_t & finite_j, failed & ~hidden, ~same_places | _finite_part_differs(e))
    hidden = hidden | ~(finite_t & finite_j) & ~failed
    if e.t.shape[1] == 0:
        hidden = np.ones_like(hidden)
        notes.append("empty: there is nothing to compare")
    notes += wording.on_finiteness(finite_t, finite_j, over_time=e.over_time)

    first_failure = int(np.argmax(failed)) if failed.any() else None
    horizon = int(np.argmax(hidden)) if hidden.any() else None
    if first_failure is not None:
        verdict = Verdict.FAIL
        notes += wording.on_difference(e.t[first_failure], e.j[first_failure], yardstick[first_failure])
        if same_in_float64:
            notes.append(
                f"accuracy: the same function in float64, but {blank.dtype} on <candidate side> loses more"
            )
    elif horizon is not None:
        verdict = Verdict.INCONCLUSIVE
        if finite_t.all() and finite_j.all() and e.t.size:
            where = f" from point {horizon} on" if e.over_time else ""
            notes.append(f"one-ulp noise moves it by over a tenth of its scale{where}: nothing can be said")
    else:
        verdict = Verdict.PASS
        if accuracy is not None and (rho > LIMIT).any() and not null.any():
            notes.append("<reference> is further from float64 than <candidate> is")
    notes += wording.on_stability(e.noise_t, e.noise_j, e.floor)

    # The point that represents a curve in tables: its first failure, else its worst rho.
    point = first_failure if first_failure is not None else int(np.argmax(np.nan_to_num(rho, nan=np.inf)))
    gap = np.nan_to_num(np.abs(e.j[point] - e.t[point]), nan=np.inf)
    flat = int(np.argmax(gap)) if gap.size else 0
    inner = e.shapes[0][1:] if e.over_time else e.shapes[0]
    index = tuple(int(i) for i in np.unravel_index(flat, inner)) if gap.size else None
    return dataclasses.replace(
        blank,
        verdict=verdict,
        rho=float(rho[point]),
        difference=float(difference[point]),
        scale=float(np.maximum(_norm(e.t), _norm(e.j))[point]),
        noise_reference=float(e.noise_t[point]),
        noise_candidate=float(e.noise_j[point]),
        floor=float(e.floor[point]),
        rounding=float(e.rounding[point]),
        accuracy=None if accuracy is None else float(accuracy[point]),
        shape=e.shapes[0],
        index=(point, *index) if e.over_time and index is not None else index,
        notes=tuple(notes),
        curve=_curve(e, yardstick, rho, first_failure, horizon) if e.over_time else None,
    )


def _both_finite(e: _Evidence) -> Bool[np.ndarray, "points values"]:
    both: Bool[np.ndarray, "points values"] = np.isfinite(e.t) & np.isfinite(e.j)
    return both


def _finite_part_differs(e: _Evidence) -> Bool[np.ndarray, " points"]:
    """Of rows with NaN or infinity: whether finite entries lie over a thousandth of their size apart.

    Noise says nothing here (infinity minus infinity), so only what is plainly another number counts.
    """
    both = _both_finite(e)
    t, j = np.where(both, e.t, 0.0), np.where(both, e.j, 0.0)
    differs: Bool[np.ndarray, " points"] = _norm(j - t) > 1e-3 * np.maximum(_norm(t), _norm(j))
    return differs


def _curve(
    e: _Evidence,
    yardstick: Float[np.ndarray, " points"],
    rho: Float[np.ndarray, " points"],
    first_failure: int | None,
    horizon: int | None,
) -> Curve:
    """The points of a quantity over time; an array-valued metric is shown by its largest magnitude."""
    expected, actual = (v[:, 0] if v.shape[1] == 1 else _norm(v) for v in (e.t, e.j))

    def plain(values: Float[np.ndarray, " points"]) -> tuple[float, ...]:
        return tuple(float(value) for value in values)

    return Curve(plain(expected), plain(actual), plain(yardstick), plain(rho), first_failure, horizon)


def _norm(rows: Shaped[np.ndarray, "points values"]) -> Float[np.ndarray, " points"]:
    """Max norm of each row; 0 for empty rows, NaN where a row has NaN."""
    norm: Float[np.ndarray, " points"] = np.abs(rows).max(axis=1, initial=0.0)
    return norm


def _ratio(a: Float[np.ndarray, " points"], b: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """a / b with 0/0 = 0 and a/0 = inf."""
    return np.where(a == 0, 0.0, a / np.where(b == 0, np.where(a == 0, 1.0, np.finfo(float).tiny), b))


def _scale(arrays: Sequence[Shaped[np.ndarray, "..."]]) -> float:
    """Largest finite magnitude of several arrays."""
    sizes = [np.abs(a[np.isfinite(a)]).max(initial=0.0) for a in arrays]
    return float(max(sizes, default=0.0))
