"""Slices of computed values and of weights that begin at another entry."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.neighbours import Other
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import Evaluation
from parity.trace.vocabulary import REARRANGING

MOST_STARTS = 8
"""Entries before and after the first one of a slice that are tried as the first."""


def other_slices(fault: Fault, evaluation: Evaluation, *, parts: bool = True) -> Iterator[Other]:
    """As many entries, from another one on; of a long axis those that begin near by.

    Args:
        fault: the fault.
        evaluation: a slice.
        parts: whether to try what lies a multiple of the slice's length away, too.
    """
    params, shape = evaluation.params, fault.value(evaluation.inputs[0]).shape
    starts, ends = params["start_indices"], params["limit_indices"]
    steps = params["strides"] or (1,) * len(shape)
    taken = [slice(*ends) for ends in zip(starts, ends, steps, strict=True)]
    for axis, length in enumerate(shape):
        start, many = starts[axis], ends[axis] - starts[axis]
        for other in range(max(0, start - MOST_STARTS), min(length - many, start + MOST_STARTS) + 1):
            if other != start and (parts or many == 1 or (other - start) % many):
                cause = CauseKind.SHIFT if many > 1 else CauseKind.SELECTION
                text = f"takes the entries from {other} (of {length} along axis {axis}), not from {start},"
                at = (*taken[:axis], slice(other, other + many, steps[axis]), *taken[axis + 1 :])
                yield Other(cause, text, lambda x, at=at: x[at])


def sliced_operands(fault: Fault) -> Iterator[Change]:
    """The same of what is read at the fault and was cut from a weight, or before.

    Another whole part of what is packed is another operand, which other families name.
    """
    for index in (*fault.inputs, *fault.constants):
        behind: list[Evaluation] = []
        for source in fault.rearranged_from(index):
            step = fault.node(source).step
            if step < 0 or fault.node(source).operation not in REARRANGING:
                break
            evaluation = fault.candidate.evaluations[step]
            if evaluation.operation == "slice":
                for other in other_slices(fault, evaluation, parts=False):
                    value = np.asarray(other.function(fault.value(evaluation.inputs[0])))
                    for one in reversed(behind):
                        value = np.asarray(one.function([value])[0])
                    text = f"<reference> {other.text} of what <candidate> slices"
                    yield Change(other.cause, text, {index: value})
                break
            behind.append(evaluation)
