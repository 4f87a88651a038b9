"""Dropout without the inverted scaling: what is kept is 1 - p times too small, or as much too large."""

from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import literals, reference_numbers
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind

MOST = 6
"""Masks at the fault, all of which are scaled alike."""


def dropout_scales(fault: Fault) -> Iterator[Change]:
    """All values at the fault that a mask of zeros and ones is applied to, scaled by what is kept, or not."""
    numbers = [n for n in fault.active if _masks(fault, n)][:MOST]
    if not numbers:
        return
    shares = {round(k, 12) for c in reference_numbers(fault) for k in (c, 1 - c, 1 / (c or 1)) if 0 < k < 1}
    own = {round(k, 12) for c in literals(fault) for k in (c.value, 1 / (c.value or 1)) if 0 < k < 1}
    places = place_of(fault, fault.candidate.evaluations[numbers[0]].outputs[0])
    for which in dict.fromkeys([tuple(numbers), tuple(numbers[:1])]):
        for keep in sorted(shares):
            functions = {n: _scaled(fault.candidate.evaluations[n].function, 1 / keep) for n in which}
            text = (
                "<reference>'s dropout divides what it keeps by the share that is kept, <candidate>'s does "
            )
            text += f"not: divide by {number(keep)}"
            yield Change(CauseKind.SCALE, text, functions=functions, candidate_places=places)
        for keep in sorted(own):
            functions = {n: _scaled(fault.candidate.evaluations[n].function, keep) for n in which}
            text = "<candidate>'s dropout divides what it keeps by the share that is kept, "
            text += f"{number(keep)}, <reference>'s does not"
            yield Change(CauseKind.SCALE, text, functions=functions, candidate_places=places)


def _masks(fault: Fault, index: int) -> bool:
    """Whether an evaluation applies a mask of zeros and ones that nothing in the model decides."""
    evaluation = fault.candidate.evaluations[index]
    if evaluation.operation == "select_n":
        mask = fault.value(evaluation.inputs[0])
        zeros = [i for i in evaluation.inputs[1:] if not np.any(fault.value(i))]
        return mask.dtype.kind == "b" and bool(zeros) and _is_mixed(mask)
    operands = [fault.value(i) for i in evaluation.inputs]
    masks = [a for a in operands if a.size > 1 and bool(np.isin(a, (0, 1)).all()) and _is_mixed(a)]
    return evaluation.operation == "mul" and len(masks) == 1


def _is_mixed(mask: Array) -> bool:
    return bool(mask.any()) and not bool(mask.all())


def _scaled(function: Function, factor: float) -> Function:
    def compute(values: Sequence[Value]) -> Sequence[Value]:
        return [np.asarray(value) * factor for value in function(values)]

    return compute
