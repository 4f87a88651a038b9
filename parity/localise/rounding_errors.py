"""The values of a run in a narrow dtype, each beside the exact one: that of the same program in float64."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.numerics.arrays import eps_of, to_numpy
from parity.numerics.complex_parts import real_parts
from parity.numerics.noise import ordinary
from parity.trace.graph import NodeKind, Trace
from parity.trace.rounded_uses import same_operations
from parity.trace.vocabulary import CASTS


class Error(NamedTuple):
    """How far a value is from the exact one.

    Attributes:
        broken: entries that are no finite numbers, where the exact ones are.
        gap: magnitude of the difference of all other entries, zero at fillers.
        scale: the largest exact entry.
    """

    broken: Bool[np.ndarray, "..."]
    gap: Float[np.ndarray, "..."]
    scale: float

    @property
    def largest(self) -> float:
        """The largest difference."""
        return float(self.gap.max(initial=0.0))


class RoundedRun:
    """One side's values in a run in a narrow dtype, each with the exact one where it is known.

    Attributes:
        trace: of the run in the narrow dtype.
        exact_trace: of the run in float64.
        moves: how far one-ulp noise of the narrow dtype moves each exact value.
        exact_moves: how far one-ulp noise of float64 moves it.
        dtype: the narrow one.
        pairs: node of the narrow run -> its node in the exact one.
    """

    def __init__(self, trace: Trace, exact: Trace, moves: Sequence[float], dtype: str) -> None:
        """Pair the values of two runs of one program.

        Args:
            trace: of the run in the narrow dtype.
            exact: of the run in float64.
            moves: how far one-ulp noise of the narrow dtype moves each exact value.
            dtype: the narrow one.
        """
        self.trace, self.exact_trace, self.moves, self.dtype = trace, exact, moves, dtype
        self.exact_moves = [move * eps_of("float64") / eps_of(dtype) for move in moves]
        self.pairs = dict(same_operations(trace, exact))
        for index, node in enumerate(trace.nodes):  # a cast that only this run has repeats its operand
            if index not in self.pairs and node.operation in CASTS and node.inputs[0] in self.pairs:
                self.pairs[index] = self.pairs[node.inputs[0]]

    def value(self, index: int) -> Float[np.ndarray, "..."]:
        """A value of the narrow run, in float64."""
        return to_numpy(self.trace.nodes[index].array)

    def exact(self, index: int) -> Float[np.ndarray, "..."] | None:
        """The exact value of a node of the narrow run; None where that is not known."""
        node = self.trace.nodes[index]
        if node.kind is not NodeKind.OPERATION or not node.floating:
            return self.value(index)  # what goes in is as good as it can be
        if index not in self.pairs:
            return None
        found = self.exact_trace.nodes[self.pairs[index]].array
        return found if found.shape == tuple(node.value.shape) else None

    def error(self, index: int) -> Error | None:
        """How far a floating value is from the exact one; None where that is not known."""
        exact = self.exact(index) if self.trace.nodes[index].floating else None
        return None if exact is None else error_of(self.value(index), exact)

    def holds(self, index: int) -> bool:
        """Whether the narrow dtype can hold the exact value: it neither overflows nor becomes zero."""
        exact = self.exact(index)
        if exact is None or not self.trace.nodes[index].floating:
            return True
        error = error_of(to_numpy(self.rounded(index)), exact)
        return not error.broken.any() and error.largest <= eps_of(self.dtype) * error.scale

    def rounded(self, index: int) -> Shaped[np.ndarray, "..."]:
        """The exact value as the narrow run can hold it; its own where the exact one is not known."""
        own, exact = self.trace.nodes[index].array, self.exact(index)
        with np.errstate(over="ignore", invalid="ignore"):
            return own if exact is None else np.asarray(exact).astype(own.dtype)


@np.errstate(invalid="ignore", over="ignore")
def error_of(value: Shaped[np.ndarray, "..."], exact: Shaped[np.ndarray, "..."]) -> Error:
    """How far a value is from the exact one.

    Args:
        value: of a run in a narrow dtype.
        exact: of the same shape.
    """
    value, exact = real_parts(np.asarray(value)), real_parts(np.asarray(exact))
    usual = np.isfinite(exact) & ordinary(exact)
    gap = np.where(usual & np.isfinite(value), np.abs(value - exact), 0.0)
    scale = float(np.max(np.abs(exact), where=usual, initial=0.0))
    return Error(~np.isfinite(value) & np.isfinite(exact), gap, scale)
