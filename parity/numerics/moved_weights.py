"""Weights moved off the values they start from: zeros and ones, as at initialisation, hide faults."""

import functools

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays, is_float
from parity.numerics.complex_parts import by_parts

JITTER = 0.1
"""How far every weight is moved, relative to it: far enough to leave zeros and ones."""


def jittered(weights: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Move every weight by about a tenth: none stays zero or one, and none changes its sign by much.

    Tensors without a negative entry (variances, scales) stay without one; infinities, as a mask holds them,
    stay what they are.

    Args:
        weights: by name.

    Returns:
        Arrays of the same shapes, floating ones float32, complex ones complex64; the same for the
        same weights.
    """
    moved: dict[str, Shaped[np.ndarray, ...]] = {}
    for number, (name, array) in enumerate(weights.items()):
        if not is_float(array) or not array.size:
            moved[name] = array
            continue
        moved[name] = by_parts(functools.partial(_jittered, np.random.default_rng(number)), array)
    return moved


def _jittered(rng: np.random.Generator, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    finite = np.isfinite(array)
    wide = np.where(finite, array, 0.0).astype(np.float64)
    typical = float(np.sqrt(np.sum(wide**2) / max(int(finite.sum()), 1))) or 1.0
    step = wide * JITTER * rng.uniform(-1, 1, wide.shape)
    if wide.min() < 0 or not wide.any():
        step = step + JITTER * typical * rng.uniform(-1, 1, wide.shape)
    return np.asarray(np.where(finite, wide + step, array).astype(np.float32))
