"""Where one code runs again, and values that a change reads there though the code does not."""

from collections.abc import Sequence

from parity.diagnose.fault import Fault
from parity.localise.comparison import Function, Value
from parity.trace.executions import executions, in_turn


def runs_of(fault: Fault, index: int) -> list[int]:
    """A value in every run of its code; of several values of one line those in the same place of it.

    Args:
        fault: the fault.
        index: node of the candidate that an evaluation has made.
    """
    alike = fault.same_result(index, executions(fault.candidate, fault.node(index).step))
    width = next((n for n, i in enumerate(alike) if n and alike[0] in fault.ancestors(i)), len(alike))
    found = alike[alike.index(index) % width :: width]
    return found if len(found) > 1 else fault.in_all_steps(index)


def repeats_of(fault: Fault, index: int) -> list[int]:
    """A value in every run of its code that is called from the same lines: in a loop, written out or not.

    Args:
        fault: the fault.
        index: node of the candidate that an evaluation has made.
    """
    steps, number = fault.in_all_steps(index), fault.node(index).step
    if len(steps) > 1 or not fault.node(index).spot.file:
        return steps
    return fault.same_result(index, in_turn(fault.candidate, fault.on_line(number), number))


def keeping(fault: Fault, number: int, kept: dict[int, Value], function: Function | None = None) -> Function:
    """An evaluation that leaves its results behind.

    Args:
        fault: the fault.
        number: index of the evaluation.
        kept: takes them, by node.
        function: what it is computed by; None: as the code does.
    """
    evaluation = fault.candidate.evaluations[number]

    def compute(given: Sequence[Value]) -> Sequence[Value]:
        results = (function or evaluation.function)(given)
        kept.update(zip(evaluation.outputs, results, strict=True))
        return results

    return compute
