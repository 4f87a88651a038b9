r"""Gradients against finite differences in float64: the oracle that no framework's autodiff can bend.

For a leaf w of the weights and a random unit direction v,

    D(h) = (L(w + h v) - L(w - h v)) / 2h   is compared with   <gradient, v>

The error bound is measured, too. Truncation and kinks inside the step show in the spread of D(h), D(2h)
and D(4h). A kink exactly at w (ReLU of zero) does not: there the slopes to both sides differ, and their gap
g(h) = (L(w + h v) - 2 L(w) + L(w - h v)) / h stays as h shrinks, where that of a smooth loss halves; so
|2 g(h) - g(2h)| is added. The rounding of L adds eps |L| / h. Where all this leaves nothing to be said of a
leaf, it is not judged, and the report says so.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Inexact, Shaped

from parity.numerics.arrays import Arrays, eps_of
from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.measured_leaf import FLOOR_ULPS
from parity.numerics.noise import Subject
from parity.numerics.yardstick import INCONCLUSIVE_SHARE
from parity.report.errors import is_of_a_model
from parity.report.results import LIMIT, Quantity, Stage, Verdict

STEP = 2.0**-19
"""h: smaller than the cube root of eps, which balances truncation and rounding of smooth functions,
because the error at the kinks of ReLU and max pooling grows with h."""

DIRECTIONS = 2
"""Random directions per leaf, one where leaves are sampled: a wrong gradient is orthogonal to
them with probability zero."""


MOST_LEAVES, MOST_NUMBERS = 12, 5e7
"""Of models with more leaves, or with so many numbers times leaves, an evenly spaced sample is judged: both
sides' gradients are compared with each other leaf by leaf; this is the oracle for a mistake they share."""


def sample(names: Sequence[str], numbers: int) -> list[str]:
    """Evenly spaced names of a large model, at least two; all names of a small one.

    Args:
        names: of its weights.
        numbers: how many numbers all weights have together.

    >>> sample(["a", "b", "c", "d", "e"], numbers=100_000_000)
    ['a', 'e']
    """
    count = max(2, min(len(names), MOST_LEAVES, int(MOST_NUMBERS / max(1, numbers))))
    if count >= len(names):
        return list(names)
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


class Slopes(NamedTuple):
    """Directional derivatives of one program's loss, as measured.

    Attributes:
        rows: per judged weight and direction (slope, bound on its error).
        left_out: how many weights a sample leaves out.
    """

    rows: Mapping[str, Sequence[tuple[float, float]]]
    left_out: int = 0


def measure_slopes(subject: Subject, inputs: Arrays, names: Sequence[str]) -> Slopes:
    """Measure the slope of a loss along random directions of each weight.

    Args:
        subject: the program whose loss (group "loss", leaf "loss") is differenced, and its weights.
        inputs: named inputs.
        names: the weights whose gradients are to be judged; of many an evenly spaced sample is taken.

    Returns:
        The slopes; with an infinite bound where the model raises beside its weights, as one does that
        requires a triangular matrix to be one.
    """
    chosen = sample(names, sum(a.size for a in subject.weights.values()))
    count = DIRECTIONS if len(chosen) == len(names) else 1
    rows: dict[str, Sequence[tuple[float, float]]] = {}
    for number, name in enumerate(chosen):
        directions = _directions(number, subject.weights[name], count)
        try:
            rows[name] = [_derivative(subject, inputs, name, v) for v in directions]
        except Exception as error:
            if not is_of_a_model(error):
                raise
            rows[name] = [(0.0, np.inf)] * count
    return Slopes(rows, len(names) - len(chosen))


def judge_gradients(
    slopes: Slopes,
    gradients: Mapping[str, Mapping[str, Shaped[np.ndarray, "..."]]],
    honest: Mapping[str, Mapping[str, float]],
) -> tuple[list[Quantity], list[str]]:
    """Judge gradients leaf by leaf against measured slopes.

    Args:
        slopes: of the reference's loss.
        gradients: label -> weight -> float64 gradient at that point, one label per program.
        honest: label -> weight -> how far an entry of this gradient may honestly lie from the reference's
            (its yardstick): what rounding in one side alone explains is no mistake of its derivative.

    Returns:
        One quantity per label and weight, of the worst direction: its `floor` is the error bound and its
        `scale` the gradient's projection. And the weights that are not judged, because the bound exceeds a
        tenth of the largest slope.
    """
    largest = max((abs(slope) for rows in slopes.rows.values() for slope, _ in rows), default=0.0)
    quantities, not_judged = [], []
    for number, (name, rows) in enumerate(slopes.rows.items()):
        if not max(bound for _, bound in rows) <= INCONCLUSIVE_SHARE * largest:
            not_judged.append(name)
            continue
        for label, leaves in gradients.items():
            gradient = leaves[name]
            room = honest.get(label, {}).get(name, 0.0)
            rho, difference, scale, floor = max(
                _against(v, slope, bound + room * float(np.abs(v).sum()), gradient)
                for v, (slope, bound) in zip(_directions(number, gradient, len(rows)), rows, strict=True)
            )
            passed = rho <= LIMIT
            quantities.append(
                Quantity(
                    Stage.GRADIENTS,
                    "finite differences",
                    name,
                    "float64",
                    Verdict.PASS if passed else Verdict.FAIL,
                    rho,
                    difference,
                    scale,
                    floor=floor,
                    program=f"{label} against finite differences",
                    shape=gradient.shape,
                    notes=() if passed else ("this gradient is not the derivative of <reference>'s loss",),
                )
            )
    return quantities, not_judged


def _directions(
    seed: int, like: Shaped[np.ndarray, "..."], count: int
) -> Iterator[Inexact[np.ndarray, "..."]]:
    """Random unit directions of a weight's shape, complex if it is; the same for the same seed."""
    rng = np.random.default_rng(seed)
    is_complex = like.dtype.kind == "c"
    for _ in range(count):
        v = rng.standard_normal((*like.shape, *(2,) * is_complex))
        unit = np.asarray(v / np.linalg.norm(v))
        yield of_parts(unit) if is_complex else unit


def _derivative(
    subject: Subject, inputs: Arrays, name: str, v: Inexact[np.ndarray, "..."]
) -> tuple[float, float]:
    """The directional derivative of the loss and a bound on its error."""
    program, weights = subject

    def loss(step: float) -> float:
        moved = {**weights, name: np.asarray(weights[name] + step * v)}
        return float(program(moved, inputs, "float64")["loss"]["loss"])

    here = loss(0.0)
    steps = (STEP, 2 * STEP, 4 * STEP)
    pairs = [(loss(h), loss(-h)) for h in steps]
    slopes = [(up - down) / (2 * h) for (up, down), h in zip(pairs, steps, strict=True)]
    gaps = [(up - 2 * here + down) / h for (up, down), h in zip(pairs, steps, strict=True)]
    rounding = FLOOR_ULPS * eps_of("float64") * max(abs(here), *map(abs, pairs[0])) / STEP
    return slopes[0], max(slopes) - min(slopes) + abs(2 * gaps[0] - gaps[1]) + rounding


def _against(
    v: Inexact[np.ndarray, "..."], slope: float, bound: float, gradient: Shaped[np.ndarray, "..."]
) -> tuple[float, float, float, float]:
    """(rho, difference, scale, bound) of one gradient along one direction; NaN counts as infinite."""
    projection = float(np.sum(real_parts(gradient) * real_parts(v)))
    difference = abs(projection - slope)
    rho = difference / bound if bound > 0 else (0.0 if difference == 0 else np.inf)
    return (np.inf if np.isnan(rho) else rho, difference, max(abs(projection), abs(slope)), bound)
