"""The place of a fault on another draw of inputs and weights, for causes to be tried again there."""

import os
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Shaped

from parity.localise import Comparison, Region, in_place
from parity.localise.comparison import Value
from parity.numerics.another_draw import drawn_again
from parity.numerics.arrays import Arrays
from parity.numerics.moved_weights import jittered
from parity.pipeline.measuring import Measured
from parity.pipeline.runs import Run, moved_alike
from parity.pipeline.traced_gradients import under_tensor_names
from parity.trace.graph import Trace


class SecondDraw:
    """Both sides traced once more, with other numbers, when the first cause is to be confirmed."""

    def __init__(self, both: Measured, run: Run, own: Arrays, backward: bool, first: Comparison) -> None:
        """Keep what is needed to trace again.

        Args:
            both: the two sides; of a recorded reference there is no other draw.
            run: the run whose traces have been compared.
            own: the candidate's weights in it.
            backward: whether the traces have gradients.
            first: the traces of that run, compared.
        """
        self._both, self._run, self._own, self._backward = both, run, own, backward
        self._first = first
        self._second: Comparison | None = None
        self._sought = False
        self._waiting: list[Callable[[Comparison], bool]] = []

    def note(self, region: Region) -> None:
        """Take down a fault that will be mended before the next is looked for; called before that is done."""
        layout = self._layout(region)

        def mended(second: Comparison) -> bool:
            values = self._values(second, region, layout)
            if values is not None:
                second.put(values)
            return values is not None

        self._waiting.append(mended)

    def put(self, values: Mapping[int, Value]) -> None:
        """Take down constants that are mended by their numbers, which are the same in every draw.

        Args:
            values: node of the candidate -> its value from now on.
        """

        def mended(second: Comparison) -> bool:
            second.put(values)
            return True

        self._waiting.append(mended)

    def at(self, region: Region) -> tuple[Comparison, Region] | None:
        """The same place on the other draw; None where the two draws are not computed alike.

        Args:
            region: the fault in the first draw, not yet mended.
        """
        second = self._comparison()
        if second is None:
            return None
        while self._waiting:
            if not self._waiting.pop(0)(second):
                return None
        values = self._values(second, region, self._layout(region))
        if values is None:
            return None
        return second, region._replace(value=values.pop(region.j), beside=values)

    def _layout(self, region: Region) -> int:
        """In which of the layouts that fit the reference's value stands in the fault."""
        placed = region.placed
        for number, values in enumerate(in_place(self._first, region.ts, region.js)):
            if all(np.array_equal(v, placed[j], equal_nan=v.dtype.kind == "f") for j, v in values.items()):
                return number
        return 0

    @staticmethod
    def _values(
        second: Comparison, region: Region, layout: int
    ) -> dict[int, Shaped[np.ndarray, "..."]] | None:
        found = enumerate(in_place(second, region.ts, region.js))
        return next((values for number, values in found if number == layout), None)

    def _comparison(self) -> Comparison | None:
        if not self._sought:
            self._sought = True
            self._second = self._traced(whole=True) or self._traced(whole=False)
        return self._second

    def _traced(self, *, whole: bool) -> Comparison | None:
        """Both sides traced with other numbers; None if they do not compute the same operations with them."""
        program = self._both.reference_program
        if program is None:
            return None
        inputs = drawn_again(self._run.inputs, whole=whole)
        try:
            weights, own = self._moved()
            reference = program.trace(weights, inputs, self._backward)
            candidate = self._both.candidate_program.trace(own, inputs, self._backward, replayable=True)
        except Exception:  # numbers that a model does not take
            if os.environ.get("PARITY_DEBUG"):
                raise
            return None
        plan, first = self._both.candidate.plan, self._first
        under_tensor_names(reference if plan.reversed else candidate, plan)
        if not (_alike(reference, first.reference) and _alike(candidate, first.candidate)):
            return None
        _take_names(reference, first.reference)
        _take_names(candidate, first.candidate)
        return Comparison(reference, candidate, first.reference_moves, first.candidate_moves)

    def _moved(self) -> tuple[Arrays, Mapping[str, Shaped[np.ndarray, "..."]]]:
        plan, weights = self._both.candidate.plan, self._run.weights
        kept = {n: weights[n] for n in (*plan.unused, *plan.missing) if n in weights}
        moved = jittered(weights) | kept
        return moved, moved_alike(plan, weights, self._own, moved)


def _alike(trace: Trace, other: Trace) -> bool:
    """Whether two traces are the same operations on values of the same shapes."""
    return len(trace.nodes) == len(other.nodes) and all(
        a.operation == b.operation and a.inputs == b.inputs and a.value.shape == b.value.shape
        for a, b in zip(trace.nodes, other.nodes, strict=True)
    )


def _take_names(trace: Trace, other: Trace) -> None:
    """Outputs under the names that they have in another trace of the same program."""
    trace.outputs = other.outputs
