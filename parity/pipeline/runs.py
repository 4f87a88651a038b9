"""The runs of one comparison: every set of inputs, and once more with the weights moved."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.task import said_by
from parity.numerics.arrays import Arrays
from parity.numerics.moved_weights import jittered
from parity.numerics.noise import REPEATS, Program
from parity.weights import Plan

MOVED = "moved weights"
"""Title of the run whose weights are moved off the values they start from."""


class Run(NamedTuple):
    """One run of both sides.

    Attributes:
        title: what is told apart by; empty for the first.
        inputs: named inputs.
        weights: PyTorch's tensors by name.
        dtypes: the dtypes judged in it.
        repeats: its noise runs.
    """

    title: str
    inputs: Arrays
    weights: Arrays
    dtypes: tuple[str, ...]
    repeats: int


def runs_of(
    inputs: Sequence[Arrays],
    weights: Arrays,
    dtypes: tuple[str, ...],
    *,
    jitter: bool,
    tables: Collection[str] = (),
) -> Iterator[Run]:
    """Every set of inputs in every dtype; with `jitter` the first once more with moved weights, in float64.

    The last shows structure only, so half the noise runs do. `tables` are weights that JAX may hold as
    constants: they stay where they are.
    """
    for n, arrays in enumerate(inputs, 1):
        yield Run("" if n == 1 else f"inputs {n}", arrays, weights, dtypes, REPEATS)
    if jitter and "float64" in dtypes:
        moved = jittered(weights) | {name: weights[name] for name in tables}
        yield Run(MOVED, inputs[0], moved, ("float64",), REPEATS // 2)


def said(program: Program, framework: str) -> Program:
    """The same program, whose errors say which side raised them."""

    def run(own: Arrays, inputs: Arrays, dtype: str) -> Any:
        with said_by(framework):
            return program(own, inputs, dtype)

    return run


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
        return plan.to_leaves({n: a for n, a in tensors.items() if n not in plan.unused}, exact=True)

    before, after = leaves(weights), leaves(moved)
    return {
        path: leaf
        if np.array_equal(before[path], jax_weights[path])
        else jax_weights[path] + (leaf - before[path])
        for path, leaf in after.items()
    }
