"""Code that runs more than once: what is wrong with it is wrong in every one of its executions.

At one of them a change can fit by coincidence (a state is zero in the first step, two faults cancel in the
last), and a change at one of them may mend nothing before all others are changed, too.
"""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.masks import masks, masks_of_several
from parity.diagnose.mutations import mutations
from parity.diagnose.numbers_in_code import constants
from parity.diagnose.targets import same
from parity.diagnose.trials import Change
from parity.localise.comparison import Value


def everywhere(fault: Fault, change: Change) -> Change | None:
    """A change of operations or numbers of the code wherever it runs and disagrees; None of anything else.

    Args:
        fault: the fault.
        change: what is changed at the fault.
    """
    trace = fault.candidate
    if any(index not in fault.pure for index in change.values):
        return None  # a value, and no code
    functions = {k: f for number, f in change.functions.items() for k in _runs(fault, number, change.of_code)}
    values: dict[int, Value] = dict(change.values)
    for index, value in change.values.items():
        for number in fault.readers(index):
            position = trace.evaluations[number].inputs.index(index)
            for other in _runs(fault, number, of_code=True):
                read = trace.evaluations[other].inputs
                alike = len(read) > position and np.array_equal(
                    fault.value(read[position]), fault.value(index)
                )
                if alike and read[position] in fault.pure:
                    values[read[position]] = value
    return change._replace(values=values, functions=functions)


def _runs(fault: Fault, number: int, of_code: bool) -> list[int]:
    """Where the code of an evaluation runs and disagrees; of a loop, whose steps are one code, all steps."""
    steps = fault.steps(number) if of_code else []
    return sorted({*fault.disagreeing(number), *steps})


def explains(fault: Fault, change: Change) -> bool:
    """Whether the faulty value agrees once a change is made wherever it says, from the start.

    What agreed before in another step of a loop must agree still: a factor of 0 that is left out looks like
    a sum too many in the one step that has it.

    Args:
        fault: the fault.
        change: nodes and evaluations of the candidate's trace, not of the fault alone.
    """
    target = fault.target
    changed = {fault.node(k).step for index in change.values for k in fault.consumers[index]}
    changed.update(change.functions)
    steps = [number for number in changed if number >= 0 and len(fault.steps(number)) > 1]
    outputs = [i for n in steps for i in fault.candidate.evaluations[n].outputs]
    new = fault.comparison.replay(change.values, change.functions, until=max(target.node, *outputs, 0))
    value = np.asarray(new.get(target.node, target.actual))
    if value.shape != target.wanted.shape or not same(value, target.wanted, target.allowed):
        return False
    agreed = (i for i in outputs if i in new and fault.comparison.partners[i])
    return all(fault.comparison.matches(i, np.asarray(new[i])) for i in agreed)


def _is_wider(code: Change, change: Change) -> bool:
    """Whether the code runs elsewhere, too."""
    return len(code.functions) > len(change.functions) or len(code.values) > len(change.values)


def holds_everywhere(fault: Fault, change: Change) -> bool:
    """Whether a change explains the fault if the code is changed wherever it runs; true of anything else.

    Args:
        fault: the fault.
        change: one that explains it where it stands.
    """
    code = None if change.everywhere else everywhere(fault, change)
    return code is None or not _is_wider(code, change) or explains(fault, code)


def changes_everywhere(fault: Fault) -> Iterator[Change]:
    """Operations, numbers and masks that explain the fault only if the code is changed wherever it runs."""
    tried = set()
    for family in (masks_of_several, masks, mutations, constants):
        for change in family(fault):
            if fault.late:
                return
            code = everywhere(fault, change)
            if code is None or not _is_wider(code, change):
                continue
            same_code = change.text, frozenset(code.functions), frozenset(code.values)
            if same_code in tried:  # found at another of its executions
                continue
            tried.add(same_code)
            if explains(fault, code):
                yield Change(change.cause, change.text, {fault.target.node: fault.target.wanted})
