r"""Gradients against finite differences in float64: the oracle that no framework's autodiff can bend.

For a leaf w of the weights and a random unit direction v,

    D(h) = (L(w + h v) - L(w - h v)) / 2h   is compared with   <gradient, v>

at the steps h, 2h and 4h. Truncation grows with h squared and a kink (ReLU) shows as a jump, so the
spread of the three D is a measured error bound; the rounding of L adds eps |L| / h.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Shaped

from parity.arrays import Arrays, eps_of
from parity.noise import Subject
from parity.result import LIMIT, Quantity, Verdict
from parity.yardstick import FLOOR_ULPS, INCONCLUSIVE_SHARE

STEP = 2.0**-19
"""h: smaller than the cube root of eps, which balances truncation and rounding of smooth functions,
because the error at the kinks of ReLU and max pooling grows with h."""

DIRECTIONS = 2
"""Random directions per leaf: a wrong gradient is orthogonal to both with probability zero."""


def check_gradients(
    subject: Subject,
    inputs: Arrays,
    gradients: Mapping[str, Mapping[str, Shaped[np.ndarray, "..."]]],
) -> list[Quantity]:
    """Judge gradients leaf by leaf against finite differences of a program's loss.

    Args:
        subject: the program whose loss (group "loss", leaf "loss") is differenced, and its weights.
        inputs: named inputs.
        gradients: label -> leaf -> float64 gradient at that point, e.g. one label per framework.

    Returns:
        One quantity per label and leaf, of the worst direction. Its `floor` is the error bound of the
        finite differences and its `scale` the gradient's projection. Where the bound exceeds a tenth
        of the largest projection of all leaves the verdict is inconclusive.
    """
    names = list(next(iter(gradients.values()), ()))
    measured: dict[str, list[tuple[Float[np.ndarray, ...], float, float]]] = {}
    for seed, name in enumerate(names):
        directions = _directions(np.random.default_rng(seed), subject.weights[name].shape)
        measured[name] = [(v, *_derivative(subject, inputs, name, v)) for v in directions]
    largest = max((abs(slope) for rows in measured.values() for _, slope, _ in rows), default=0.0)
    quantities = []
    for name, label in itertools.product(names, gradients):
        gradient = gradients[label][name]
        rho, difference, scale, bound = max(_against(v, s, b, gradient) for v, s, b in measured[name])
        notes: tuple[str, ...] = ()
        verdict = Verdict.PASS
        if rho > LIMIT:
            verdict, notes = Verdict.FAIL, ("the gradient is not the derivative of its own loss",)
        elif bound > INCONCLUSIVE_SHARE * largest:
            verdict, notes = Verdict.INCONCLUSIVE, ("finite differences are too coarse here to say anything",)
        quantity = Quantity(
            "gradients", "finite differences", name, "float64", verdict, rho, difference, scale
        )
        program = f"{label} against finite differences"
        shape = subject.weights[name].shape
        quantities.append(
            dataclasses.replace(quantity, floor=bound, program=program, shape=shape, notes=notes)
        )
    return quantities


def _directions(rng: np.random.Generator, shape: Sequence[int]) -> Iterator[Float[np.ndarray, "..."]]:
    for _ in range(DIRECTIONS):
        v = rng.standard_normal(tuple(shape))
        yield v / np.linalg.norm(v)


def _derivative(
    subject: Subject, inputs: Arrays, name: str, v: Float[np.ndarray, "..."]
) -> tuple[float, float]:
    """The directional derivative of the loss and a bound on its error."""
    program, weights = subject

    def loss(step: float) -> float:
        moved = {**weights, name: weights[name] + step * v}
        return float(program(moved, inputs, "float64")["loss"]["loss"])

    pairs = [(loss(h), loss(-h)) for h in (STEP, 2 * STEP, 4 * STEP)]
    slopes = [(up - down) / (2 * h) for (up, down), h in zip(pairs, (STEP, 2 * STEP, 4 * STEP), strict=True)]
    rounding = FLOOR_ULPS * eps_of("float64") * max(abs(pairs[0][0]), abs(pairs[0][1])) / STEP
    return slopes[0], max(slopes) - min(slopes) + rounding


def _against(
    v: Float[np.ndarray, "..."], slope: float, bound: float, gradient: Shaped[np.ndarray, "..."]
) -> tuple[float, float, float, float]:
    """(rho, difference, scale, bound) of one gradient along one direction; NaN counts as infinite."""
    projection = float(np.sum(gradient * v))
    difference = abs(projection - slope)
    rho = difference / bound if bound > 0 else (0.0 if difference == 0 else np.inf)
    return (rho if np.isfinite(rho) else np.inf, difference, max(abs(projection), abs(slope)), bound)
