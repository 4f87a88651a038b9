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

import numpy as np
from jaxtyping import Float, Shaped

from parity.numerics.arrays import Arrays, eps_of
from parity.numerics.noise import Subject
from parity.numerics.yardstick import FLOOR_ULPS, INCONCLUSIVE_SHARE
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
    """Evenly spaced names of a large model, at least two; of a small one all.

    >>> sample(["a", "b", "c", "d", "e"], numbers=100_000_000)
    ['a', 'e']
    """
    count = max(2, min(len(names), MOST_LEAVES, int(MOST_NUMBERS / max(1, numbers))))
    if count >= len(names):
        return list(names)
    return [names[round(i * (len(names) - 1) / (count - 1))] for i in range(count)]


def check_gradients(
    subject: Subject,
    inputs: Arrays,
    gradients: Mapping[str, Mapping[str, Shaped[np.ndarray, "..."]]],
) -> tuple[list[Quantity], list[str]]:
    """Judge gradients leaf by leaf against finite differences of a program's loss.

    Args:
        subject: the program whose loss (group "loss", leaf "loss") is differenced, and its weights.
        inputs: named inputs.
        gradients: label -> leaf -> float64 gradient at that point, e.g. one label per framework.

    Returns:
        One quantity per label and leaf, of the worst direction: its `floor` is the error bound of the
        finite differences and its `scale` the gradient's projection. And the names of the leaves that
        are not judged, because the bound exceeds a tenth of the largest projection of all leaves.
    """
    all_names = list(next(iter(gradients.values()), ()))
    names = sample(all_names, sum(a.size for a in subject.weights.values()))
    measured: dict[str, list[tuple[Float[np.ndarray, ...], float, float]]] = {}
    for seed, name in enumerate(names):
        count = DIRECTIONS if len(names) == len(all_names) else 1
        directions = _directions(np.random.default_rng(seed), subject.weights[name].shape, count)
        measured[name] = [(v, *_derivative(subject, inputs, name, v)) for v in directions]
    largest = max((abs(slope) for rows in measured.values() for _, slope, _ in rows), default=0.0)
    quantities, not_judged = [], []
    for name in names:
        worst = {
            label: max(_against(*row, leaves[name]) for row in measured[name])
            for label, leaves in gradients.items()
        }
        bound = max(bound for _, _, bound in measured[name])
        if not bound <= INCONCLUSIVE_SHARE * largest:
            not_judged.append(name)
            continue
        for label, (rho, difference, scale, floor) in worst.items():
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
                    shape=subject.weights[name].shape,
                    notes=() if passed else ("this gradient is not the derivative of <reference>'s loss",),
                )
            )
    left_out = len(all_names) - len(names)
    return quantities, not_judged + ([f"{left_out} more weights (a sample was taken)"] if left_out else [])


def _directions(
    rng: np.random.Generator, shape: Sequence[int], count: int
) -> Iterator[Float[np.ndarray, "..."]]:
    for _ in range(count):
        v = rng.standard_normal(tuple(shape))
        yield np.asarray(v / np.linalg.norm(v))


def _derivative(
    subject: Subject, inputs: Arrays, name: str, v: Float[np.ndarray, "..."]
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
    v: Float[np.ndarray, "..."], slope: float, bound: float, gradient: Shaped[np.ndarray, "..."]
) -> tuple[float, float, float, float]:
    """(rho, difference, scale, bound) of one gradient along one direction; NaN counts as infinite."""
    projection = float(np.sum(gradient * v))
    difference = abs(projection - slope)
    rho = difference / bound if bound > 0 else (0.0 if difference == 0 else np.inf)
    return (np.inf if np.isnan(rho) else rho, difference, max(abs(projection), abs(slope)), bound)
