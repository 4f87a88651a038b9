"""Constants that were found to be wrong, mended wherever their code runs: faults may hide behind them."""

from typing import NamedTuple

from parity.diagnose import Diagnosis
from parity.localise import Comparison, Region
from parity.localise.comparison import Value
from parity.pipeline.second_draw import SecondDraw
from parity.trace.executions import executions
from parity.trace.graph import NodeKind


class _Known(NamedTuple):
    """A constant: the evaluation that reads it, as which operand, what it should be, and by which cause."""

    number: int
    place: int
    value: Value
    diagnosis: Diagnosis


class KnownConstants:
    """Constants of the candidate with the reference's numbers.

    A fault is mended by the reference's value in its place. Where the same constant is wrong a second time,
    and something else as well before the next value that both sides have, no single change explains what is
    seen there; with the constant mended by its number, the rest is a fault of its own.
    """

    def __init__(self) -> None:
        """None is known yet."""
        self._known: list[_Known] = []

    def note(self, comparison: Comparison, diagnosis: Diagnosis | None) -> None:
        """Keep the constants that a cause is about.

        Args:
            comparison: both traces.
            diagnosis: the cause of a fault, if one was found.
        """
        values = diagnosis.change.values if diagnosis is not None else {}
        trace = comparison.candidate
        if diagnosis is None or any(trace.nodes[i].kind is not NodeKind.CONSTANT for i in values):
            return
        for number, evaluation in enumerate(trace.evaluations):
            for place, index in enumerate(evaluation.inputs):
                if index in values:
                    self._known.append(_Known(number, place, values[index], diagnosis))

    def mend(self, comparison: Comparison, region: Region, again: SecondDraw) -> Diagnosis | None:
        """Put the known numbers where the code of a fault reads those constants again.

        Args:
            comparison: both traces; mended.
            region: the fault.
            again: the same on another draw; told of what is mended.

        Returns:
            The cause that was met again; None if no known constant is read there.
        """
        trace, nodes, met = comparison.candidate, set(region.candidate_nodes), None
        for known in self._known:
            for number in executions(trace, known.number):
                evaluation = trace.evaluations[number]
                index = evaluation.inputs[known.place]
                if nodes.isdisjoint(evaluation.outputs) or index in comparison.replaced:
                    continue
                if trace.nodes[index].kind is NodeKind.CONSTANT:
                    comparison.put({index: known.value})
                    again.put({index: known.value})
                    met = known.diagnosis
        return met
