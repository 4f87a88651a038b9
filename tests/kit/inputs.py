"""Inputs: random numbers that are always the same, and where their axes go in JAX."""

import numpy as np

NWC = (0, 2, 1)
NHWC = (0, 2, 3, 1)
NDHWC = (0, 2, 3, 4, 1)


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    """Standard normal float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def integers(high: int, *shape: int, low: int = 0, seed: int = 2) -> np.ndarray:
    """Random integers from `low` up to, but without, `high`."""
    return np.random.default_rng(seed).integers(low, high, shape)
