"""Where one code runs again, and values that a change reads there though the code does not."""

from collections.abc import Sequence

from parity.diagnose.fault import Fault
from parity.localise.comparison import Function, Value
from parity.trace.executions import executions


def runs_of(fault: Fault, index: int) -> list[int]:
    """A value in every run of its code; of several values of one line those in the same place of it.

    Args:
        fault: the fault.
        index: node of the candidate that an evaluation has made.
    """
    evaluations, number = fault.candidate.evaluations, fault.node(index).step
    place = evaluations[number].outputs.index(index)
    alike = [evaluations[n].outputs[place] for n in executions(fault.candidate, number)]
    width = next((n for n, i in enumerate(alike) if n and alike[0] in fault.ancestors(i)), len(alike))
    found = alike[alike.index(index) % width :: width]
    return found if len(found) > 1 else fault.in_all_steps(index)


def repeats_of(fault: Fault, index: int) -> list[int]:
    """A value in every run of its code that is called from the same lines: in a loop, written out or not.

    Args:
        fault: the fault.
        index: node of the candidate that an evaluation has made.
    """
    evaluations, number = fault.candidate.evaluations, fault.node(index).step
    place = evaluations[number].outputs.index(index)
    steps = fault.steps(number)
    found = steps if len(steps) > 1 else executions(fault.candidate, number, called_alike=True)
    return [evaluations[n].outputs[place] for n in found]


def keeping(fault: Fault, number: int, kept: dict[int, Value]) -> Function:
    """An evaluation that leaves its results behind.

    Args:
        fault: the fault.
        number: index of the evaluation.
        kept: takes them, by node.
    """
    evaluation = fault.candidate.evaluations[number]

    def compute(given: Sequence[Value]) -> Sequence[Value]:
        results = evaluation.function(given)
        kept.update(zip(evaluation.outputs, results, strict=True))
        return results

    return compute
