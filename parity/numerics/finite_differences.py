r"""Gradients against finite differences in float64: a probe that no framework's autodiff can bend.

For a random direction v over some weights w, of length 1 in each of them,

    D(h) = (L(w + h v) - L(w - h v)) / 2h   is compared with   <gradient, v>

The error bound is measured, too. Truncation and kinks inside the step show in the spread of D(h), D(2h)
and D(4h). A kink exactly at w (ReLU of zero) does not: there the slopes to both sides differ, and their gap
g(h) = (L(w + h v) - 2 L(w) + L(w - h v)) / h stays as h shrinks, where that of a smooth loss halves; so
|2 g(h) - g(2h)| is added. The rounding of L adds eps |L| / h. Where all this leaves nothing to be said,
nothing is.

One direction over all weights catches a mistake that both sides share with probability one. Both may mean it,
as a detached value is meant, so that it is a finding and no failure. Where the two sides' gradients differ,
single weights tell which of them is the derivative.
"""

import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Inexact, Shaped

from parity.numerics.arrays import Arrays, eps_of
from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.judged_points import INCONCLUSIVE_SHARE
from parity.numerics.measured_leaf import FLOOR_ULPS
from parity.numerics.noise import Subject
from parity.numerics.unread import each
from parity.report.errors import is_of_a_model
from parity.report.results import LIMIT, Quantity, Stage, Verdict

STEP = 2.0**-19
"""h: smaller than the cube root of eps, which balances truncation and rounding of smooth functions,
because the error at the kinks of ReLU and max pooling grows with h."""

MOST_WEIGHTS = 4
"""How many weights are differenced by themselves, at most, where the two sides' gradients differ."""


class Slope(NamedTuple):
    """A directional derivative of a program's loss, as measured.

    Attributes:
        names: the weights that move.
        value: the derivative.
        bound: on its error.
        refused: further weights, which the model does not let be moved.
    """

    names: tuple[str, ...]
    value: float
    bound: float
    refused: tuple[str, ...] = ()

    def along(self, names: Collection[str]) -> "Slope | None":
        """This slope, if it is the one along these weights, as far as the model lets them move; else None.

        Args:
            names: the weights that must have moved.
        """
        return self if {*self.names, *self.refused} == set(names) else None


class Probed(NamedTuple):
    """What finite differences say of both sides' gradients.

    Attributes:
        quantities: a row for each side along all weights, and along each weight that differs.
        findings: what is no failure by itself, in words.
        unsaid: whether the loss has kinks there, or is too coarse, to say anything.
        shared: whether both sides agree on what is not the derivative.
        refused: weights along which nothing is said, because the model does not let them be moved.
    """

    quantities: list[Quantity]
    findings: tuple[str, ...]
    unsaid: bool
    shared: bool = False
    refused: tuple[str, ...] = ()


Gradients = Mapping[str, Shaped[np.ndarray, "..."]]
"""Gradients in float64 by the names of the weights."""


def measure_slope(subject: Subject, inputs: Arrays, names: Sequence[str]) -> Slope:
    """Measure the slope of a loss along one random direction.

    Args:
        subject: the program whose loss (group "loss", leaf "loss") is differenced, and its weights.
        inputs: named inputs.
        names: the weights that move, each by a direction of length 1.

    Returns:
        The slope along those that the model lets be moved; it may raise beside its weights, as one does that
        requires a triangular matrix to be one. With an infinite bound if it takes none of them.
    """
    try:
        return _measured(subject, inputs, names)
    except Exception as error:
        if not is_of_a_model(error):
            raise
    if len(names) > 1:  # halves, until what is refused stands alone
        half = len(names) // 2
        parts = [measure_slope(subject, inputs, part) for part in (names[:half], names[half:])]
        free = [name for part in parts for name in part.names]
        if 0 < len(free) < len(names):
            whole = measure_slope(subject, inputs, free)
            return whole._replace(refused=tuple(name for name in names if name not in whole.names))
    return Slope((), 0.0, np.inf, tuple(names))


def _measured(subject: Subject, inputs: Arrays, names: Sequence[str]) -> Slope:
    program, weights = subject
    along = {name: _direction(name, weights[name]) for name in names}

    def loss(step: float) -> float:
        def moved(name: str, weight: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
            if name not in along:
                return weight
            change = np.asarray(step * along[name])
            change += weight
            return change

        return float(program(each(weights, moved), inputs, "float64")["loss"]["loss"])

    here = loss(0.0)
    steps = (STEP, 2 * STEP, 4 * STEP)
    pairs = [(loss(h), loss(-h)) for h in steps]
    slopes = [(up - down) / (2 * h) for (up, down), h in zip(pairs, steps, strict=True)]
    gaps = [(up - 2 * here + down) / h for (up, down), h in zip(pairs, steps, strict=True)]
    rounding = FLOOR_ULPS * eps_of("float64") * max(abs(here), *map(abs, pairs[0])) / STEP
    bound = max(slopes) - min(slopes) + abs(2 * gaps[0] - gaps[1]) + rounding
    return Slope(tuple(names), slopes[0], bound)


def probe_gradients(
    slope_along: Callable[[Sequence[str]], Slope | None],
    names: Sequence[str],
    gradients: Mapping[str, Gradients],
    honest: Mapping[str, float],
    differing: Sequence[str],
) -> Probed:
    """Compare both sides' gradients with finite differences of the reference's loss.

    Args:
        slope_along: measures a slope; None where it cannot be had.
        names: the compared weights.
        gradients: of "reference" and "candidate".
        honest: how far an entry of the candidate's gradient of each weight may lie from the reference's:
            what rounding in one side alone explains is no mistake of its derivative.
        differing: weights whose gradients differ between the sides.
    """
    whole = slope_along(names) if names else None
    if whole is None:
        return Probed([], (), unsaid=bool(names))
    rows = _rows(whole, gradients, honest) if whole.names else []
    if rows is None:
        return Probed([], (), unsaid=True, refused=whole.refused)
    right = [row.verdict is Verdict.PASS for row in rows]
    if not differing:
        if all(right):
            return Probed(rows, (), unsaid=False, refused=whole.refused)
        shared = _SHARED.format(max(row.rho for row in rows))
        return Probed([], (shared,), False, shared=True, refused=whole.refused)
    found: list[Quantity] = []
    for name in [name for name in differing if name not in whole.refused][:MOST_WEIGHTS]:
        single = slope_along([name])
        of_one = None if single is None else _rows(single, gradients, honest)
        if of_one is not None and any(row.verdict is Verdict.PASS for row in of_one):
            found += of_one
    neither = (
        ()
        if found or any(right) or not rows
        else ("gradients: where they differ, neither is the loss's derivative",)
    )
    return Probed(found, neither, unsaid=False, refused=whole.refused)


_SHARED = (
    "gradients: both sides agree, and neither is the derivative of the loss along a random direction (finite "
    "differences, rho {:.2g}): as with detach() or stop_gradient, a rule written by hand, or rounding inside "
    "the model"
)


def _rows(
    slope: Slope, gradients: Mapping[str, Gradients], honest: Mapping[str, float]
) -> list[Quantity] | None:
    """A row for each side that has all of these gradients; None where nothing can be said."""
    having = [label for label, leaves in gradients.items() if all(name in leaves for name in slope.names)]
    projections, room = dict.fromkeys(having, 0.0), 0.0
    for name in slope.names:
        v = None
        for label in having:
            gradient = gradients[label][name]
            if v is None or (v.shape, v.dtype.kind) != (gradient.shape, gradient.dtype.kind):
                v = _direction(name, gradient)
            projections[label] += float(np.sum(real_parts(gradient) * real_parts(v)))
            if label == "candidate":
                room += honest.get(name, 0.0) * float(np.abs(v).sum())
    rows = []
    for label, projection in projections.items():
        bound = slope.bound + room * (label == "candidate")
        scale = max(abs(projection), abs(slope.value))
        if not slope.bound <= INCONCLUSIVE_SHARE * scale:
            return None
        rows.append(_quantity(slope, label, projection, bound, scale))
    return rows or None


def _quantity(slope: Slope, label: str, projection: float, bound: float, scale: float) -> Quantity:
    difference = abs(projection - slope.value)
    rho = difference / bound if bound > 0 else (0.0 if difference == 0 else np.inf)
    rho = np.inf if np.isnan(rho) else rho
    passed = rho <= LIMIT
    name = slope.names[0] if len(slope.names) == 1 else f"all {len(slope.names)} weights"
    return Quantity(
        Stage.GRADIENTS,
        "finite differences",
        name,
        "float64",
        Verdict.PASS if passed else Verdict.FAIL,
        rho,
        difference,
        scale,
        floor=bound,
        program=f"{label} against finite differences",
        notes=() if passed else ("this gradient is not the derivative of <reference>'s loss",),
    )


def _direction(name: str, like: Shaped[np.ndarray, "..."]) -> Inexact[np.ndarray, "..."]:
    """A random direction of length 1, complex if the weight is; the same for the same name and shape."""
    is_complex = like.dtype.kind == "c"
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    v = np.asarray(rng.standard_normal((*like.shape, *(2,) * is_complex)))
    v /= np.linalg.norm(v) or 1.0
    return of_parts(v) if is_complex else v
