"""Weights moved off the values they start from: zeros and ones, as at initialisation, hide faults."""

import numpy as np
from jaxtyping import Shaped

from parity.arrays import Arrays, is_float
from parity.weights import Plan

JITTER = 0.1
"""How far every weight is moved, relative to it: far enough to leave zeros and ones."""


def jittered(weights: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Every weight moved by about a tenth: none stays zero or one, and none changes its sign by much.

    Tensors without a negative entry (variances, scales) stay without one.
    """
    moved: dict[str, Shaped[np.ndarray, ...]] = {}
    for number, (name, array) in enumerate(weights.items()):
        if not is_float(array) or not array.size:
            moved[name] = array
            continue
        rng = np.random.default_rng(number)
        wide = array.astype(np.float64)
        typical = float(np.sqrt(np.mean(wide**2))) or 1.0
        step = wide * JITTER * rng.uniform(-1, 1, wide.shape)
        if wide.min() < 0 or not wide.any():
            step = step + JITTER * typical * rng.uniform(-1, 1, wide.shape)
        moved[name] = np.asarray(wide + step, np.float32)
    return moved


def moved_alike(
    plan: Plan, weights: Arrays, jax_weights: Arrays, moved: Arrays
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The same moves in JAX's layout, on top of what the JAX side holds.

    Args:
        plan: the weight plan.
        weights: PyTorch's tensors by name.
        jax_weights: JAX's leaves by path, which may differ from what the plan makes of `weights`.
        moved: the moved tensors by name.
    """

    def leaves(tensors: Arrays) -> dict[str, Shaped[np.ndarray, "..."]]:
        return plan.to_jax({n: a for n, a in tensors.items() if n not in plan.unused}, exact=True)

    before, after = leaves(weights), leaves(moved)
    return {
        path: leaf
        if np.array_equal(before[path], jax_weights[path])
        else jax_weights[path] + (leaf - before[path])
        for path, leaf in after.items()
    }
