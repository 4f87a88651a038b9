"""Two JAX functions traced and compared: a reference that is no PyTorch program."""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.diagnose import diagnose
from parity.frameworks.jax.jax_model import read_jax
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.task import Task
from parity.localise import Comparison, candidate_places, find_regions, reference_places
from parity.numerics.noise import noise_run
from parity.numerics.perturbing import noisy
from parity.report.results import Cause, Place
from parity.trace.graph import Trace

Arrays = dict[str, np.ndarray]


def traced(function: Callable[..., Any], params: Arrays, inputs: Arrays) -> tuple[Trace, list[float]]:
    """The trace of f(params, *inputs) in float64, and how far one noise run moves each node."""
    program = JaxProgram(read_jax(function, params), Task(tuple(inputs)))
    trace = program.trace(params, inputs, backward=False)
    with noise_run(0, tracing=True):
        there = noisy(params, 0, "float64", inputs=False), noisy(inputs, 0, "float64", inputs=True)
        moved = program.trace(*there, backward=False)
    pairs = zip(trace.nodes, moved.nodes, strict=True)
    return trace, [move(a.array, b.array) if a.floating else 0.0 for a, b in pairs]


def move(a: np.ndarray, b: np.ndarray) -> float:
    """Twice the largest difference of the finite entries."""
    finite = np.isfinite(a) & np.isfinite(b)
    return 2.0 * float(np.max(np.abs(a[finite] - b[finite]), initial=0.0))


def compared(
    reference: Callable[..., Any], candidate: Callable[..., Any], params: Arrays, *inputs: np.ndarray
) -> Comparison:
    """The comparison of two JAX functions f(params, *inputs)."""
    named = {f"x{i}": array for i, array in enumerate(inputs)}
    (first, first_moves), (second, second_moves) = (
        traced(function, params, named) for function in (reference, candidate)
    )
    return Comparison(first, second, first_moves, second_moves)


def first_fault(
    reference: Callable[..., Any], candidate: Callable[..., Any], params: Arrays, *inputs: np.ndarray
) -> tuple[tuple[Place, ...], tuple[Place, ...], Cause | None]:
    """The first fault: the reference's places, the candidate's, and the cause."""
    comparison = compared(reference, candidate, params, *inputs)
    region = next(find_regions(comparison, "outputs"))
    diagnosis = diagnose(comparison, region)
    cause = diagnosis.cause if diagnosis is not None else None
    return reference_places(comparison.reference, region), candidate_places(comparison, region), cause
