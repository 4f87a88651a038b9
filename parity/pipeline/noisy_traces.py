"""Traces of a program under one-ulp noise, and how far it moves a value."""

import functools
from typing import Any

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.model import Program
from parity.numerics.arrays import Arrays
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import noise_run, ordinary
from parity.numerics.perturbing import noisy
from parity.trace.graph import Trace


def noisy_trace(
    program: Program,
    weights: Arrays,
    inputs: Arrays,
    backward: bool,
    *,
    k: int = 0,
    dtype: str = "float64",
    **how: Any,
) -> Trace:
    """The trace of noise run k.

    Args:
        program: of either framework.
        weights: by its own names.
        inputs: in the reference's layout.
        backward: whether to trace the gradients, too.
        k: number of the noise run, from 0.
        dtype: of whose ulps the noise is.
        **how: what else `Program.trace` takes.
    """
    with noise_run(k, tracing=True):
        there = noisy(weights, k, dtype, inputs=False), noisy(inputs, k, dtype, inputs=True)
        return program.trace(*there, backward, **how)


@np.errstate(invalid="ignore", over="ignore")
def largest_move(base: Shaped[np.ndarray, "..."], *moved: Shaped[np.ndarray, "..."]) -> float:
    """How far noise moves an entry of a value; in several runs, what it moves in each of them.

    Args:
        base: the value without noise.
        *moved: the same with noise, in one run or more; zero where one has another shape.
    """
    if any(base.shape != other.shape for other in moved):
        return 0.0
    base = real_parts(base)
    gap = functools.reduce(np.minimum, (np.abs(real_parts(other) - base) for other in moved))
    return float(np.max(gap, where=ordinary(base) & np.isfinite(gap), initial=0.0))
