"""Traces of both sides, each with how far one-ulp noise moves its values."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.model import Program
from parity.numerics.arrays import Arrays
from parity.pipeline.held_values import Key, held_in, in_float64
from parity.pipeline.measuring import Measured
from parity.pipeline.noisy_traces import largest_move, noisy_trace
from parity.pipeline.runs import Run
from parity.trace.graph import Node, Trace
from parity.trace.kept_values import absent, is_absent
from parity.trace.sketches import Sketched
from parity.trace.vocabulary import ROUNDING

NOISE_RUNS = 3
"""Noise runs of a trace in which a value lies on the border of a rounding; else one is enough."""

JUMP = 1e3
"""How many times as far as its operand noise moves a rounded value, if that crosses a border."""

Traced = tuple[Trace, list[float]]
"""A trace, and per node how far one noise run moves it."""


@runtime_checkable
class Traces(Protocol):
    """Where the reference's trace comes from: the model itself, or its recording."""

    def reference(self, run: Run, backward: bool) -> Traced | None:
        """The reference's trace in a run; None where there is none, and no place can be found.

        Args:
            run: the run whose inputs and weights are taken.
            backward: whether the trace must have gradients.
        """

    def held(self, key: Key) -> Sketched:
        """In what precision the reference holds its values.

        Args:
            key: the dtype, and whether the backward pass is traced, too.

        Raises:
            Exception: one that says why it is not known.
        """

    @property
    def in_float64(self) -> bool:
        """Whether the reference is a program in float64."""


class LiveTraces:
    """Traces of a reference that is here."""

    def __init__(self, both: Measured) -> None:
        """Traces of the reference of `both`."""
        self.both = both

    def reference(self, run: Run, backward: bool) -> Traced | None:
        """The reference's trace in a run.

        Args:
            run: the run whose inputs and weights are taken.
            backward: whether to record gradients, too.
        """
        program = self.both.reference_program
        if program is None:
            return None
        return traced(program, run.weights, run.inputs, backward)

    def held(self, key: Key) -> Sketched:
        """In what precision the reference holds its values.

        Args:
            key: the dtype, and whether the backward pass is traced, too.

        Raises:
            ValueError: if the reference is only recorded.
        """
        program, reference = self.both.reference_program, self.both.reference
        if program is None:
            raise ValueError("the reference is not here: only its recording is")
        return held_in(program, reference.weights, reference.inputs[0], key)

    @property
    def in_float64(self) -> bool:
        """Whether the reference is a program in float64."""
        return in_float64(self.both.reference.model)


def traced(
    program: Program, weights: Arrays, inputs: Arrays, backward: bool, *, replayable: bool = False
) -> Traced:
    """The trace of one run, and per node how far one noise run moves it.

    Args:
        program: of either framework.
        weights: by its own names.
        inputs: in the reference's layout.
        backward: whether to trace the gradients, too.
        replayable: whether values of the trace will be replaced.
    """
    trace = program.trace(weights, inputs, backward, replayable=replayable)
    others: list[Trace] = []
    moves = [0.0] * len(trace.nodes)
    while not others or (_jumps(trace, moves) and len(others) < NOISE_RUNS):
        others.append(noisy_trace(program, weights, inputs, backward, k=len(others), replayable=replayable))
        if len(others[-1].nodes) != len(trace.nodes):
            break
        runs = zip(*(other.nodes for other in others), strict=True)
        moves = [
            _move(node.array, *(other.array for other in moved)) if node.floating else 0.0
            for node, moved in zip(trace.nodes, runs, strict=True)
        ]
    return trace, moves


def _jumps(trace: Trace, moves: Sequence[float]) -> bool:
    """Whether noise moves a value from one side of a rounding that the author wrote to the other.

    Then it lay on the border, and all that follows seems to be moved as far as a fault would.
    """
    return any(
        0 < JUMP * moves[node.inputs[0]] < moves[index]
        for index, node in enumerate(trace.nodes)
        if node.operation in ROUNDING and node.inputs
    )


def moved_by_noise(program: Program, weights: Arrays, inputs: Arrays, trace: Trace) -> list[float]:
    """Per node of a forward trace whose values were kept elsewhere how far one noise run moves it.

    Args:
        program: of either framework.
        weights: by its own names.
        inputs: in the reference's layout.
        trace: of these weights and inputs; each value is read once.

    Returns:
        Zeros, where noise changes which operations run.
    """
    moves: list[float] = []

    def keep(node: Node) -> Any:
        number = len(moves)
        known = number < len(trace.nodes) and node.floating and not is_absent(trace.nodes[number].value)
        moves.append(_move(trace.nodes[number].array, node.array) if known else 0.0)
        return absent(node.value)

    noisy_trace(program, weights, inputs, False, keep=keep)
    return moves if len(moves) == len(trace.nodes) else [0.0] * len(trace.nodes)


def _move(base: Shaped[np.ndarray, "..."], *moved: Shaped[np.ndarray, "..."]) -> float:
    return 2.0 * largest_move(base, *moved)  # one run shows about half of the largest move
