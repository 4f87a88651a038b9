"""Programs run with and without one-ulp noise: what the yardstick is measured from.

Both sides of a comparison, and every oracle, see the same noise wherever they hold the same numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from parity.arrays import Arrays, eps_of, is_float, round_to, significant_bits_at_most

REPEATS = 4
"""Noise runs K. The maximum over four draws underestimates the largest move by a small factor only."""

Values = dict[str, dict[str, Shaped[np.ndarray, "..."]]]
"""What a program returns: group -> leaf -> array, floating values held in float64."""

Program = Callable[[Arrays, Arrays, str], Values]
"""`program(weights, inputs, dtype)`: a deterministic function from named arrays to named values."""


def perturb(arrays: Arrays, k: int, eps: float, *, inputs: bool) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Noise run k: every floating value times (1 + eps u), u in {-1, 0, 1} from a hash of (value, k).

    Equal values get equal noise, on both sides and anywhere in the model, so tied weights stay tied and
    exact ties (max pooling, relu at zero) survive. Integers are left alone, and so are input values that
    have at most 8 significant bits (pixels, one-hot labels, masks): nobody rounded those.

    Args:
        arrays: named arrays; floating ones held in float64.
        k: number of the noise run.
        eps: machine epsilon of the dtype under test.
        inputs: whether these are inputs (the 8-bit exemption applies) rather than weights.
    """
    noisy = {}
    for name, array in arrays.items():
        if is_float(array):
            moved = array * (1 + eps * _signs(array, k))
            array = np.where(significant_bits_at_most(array, 8), array, moved) if inputs else moved
        noisy[name] = np.asarray(array)
    return noisy


def _signs(array: Float[np.ndarray, "..."], k: int) -> Float[np.ndarray, "..."]:
    """u in {-1, 0, 1} per entry: the splitmix64 finaliser of the value's bits and k, modulo 3."""
    with np.errstate(over="ignore"):
        z = np.array(array, dtype=np.float64, order="C").view(np.uint64)
        z = z + np.uint64(0x9E3779B97F4A7C15) * np.uint64(k + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return np.asarray((z % np.uint64(3)).astype(np.float64) - 1.0)  # of 0-d arrays NumPy makes scalars


class Side(NamedTuple):
    """One framework's values: unperturbed, under noise, and unperturbed in the other precision."""

    base: Values
    noisy: Sequence[Values]
    other: Values


Sides = Mapping[str, Side]
"""One program's values by dtype."""


class Subject(NamedTuple):
    """A program and the weights it runs with (the same numbers on both sides, unless a port lost some)."""

    program: Program
    weights: Arrays


def measure(
    subjects: Mapping[str, Subject], inputs: Arrays, dtypes: Sequence[str]
) -> dict[str, dict[str, Side]]:
    """Run every program with and without noise in every dtype; equal numbers see equal noise.

    float64 is always run unperturbed (it is the judge of the narrower dtypes), and float32 too (the
    float64 yardstick needs it for P).

    Args:
        subjects: the programs by label, with weights best representable in float32, held in float64.
        inputs: named inputs of all programs.
        dtypes: names of the floating dtypes to judge.

    Returns:
        label -> dtype -> `Side`.
    """
    bases = {
        dtype: {label: program(weights, inputs, dtype) for label, (program, weights) in subjects.items()}
        for dtype in dict.fromkeys(["float64", *dtypes, "float32"])
    }
    sides: dict[str, dict[str, Side]] = {label: {} for label in subjects}
    for dtype in dtypes:
        noisy: dict[str, list[Values]] = {label: [] for label in subjects}
        for k in range(REPEATS):
            moved = _noisy(inputs, k, dtype, inputs=True)
            for label, (program, weights) in subjects.items():
                noisy[label].append(program(_noisy(weights, k, dtype, inputs=False), moved, dtype))
        other = "float32" if dtype == "float64" else "float64"
        for label in subjects:
            sides[label][dtype] = Side(bases[dtype][label], noisy[label], bases[other][label])
    return sides


def _noisy(arrays: Arrays, k: int, dtype: str, *, inputs: bool) -> dict[str, Shaped[np.ndarray, "..."]]:
    rounded = {name: round_to(array, dtype) for name, array in arrays.items()}
    return perturb(rounded, k, eps_of(dtype), inputs=inputs)
