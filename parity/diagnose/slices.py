"""Slices of computed values and of weights that begin at another entry."""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.neighbours import Other
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import Evaluation
from parity.trace.vocabulary import REARRANGING

MOST_STARTS = 8
"""Entries before and after the first one of a slice that are tried as the first."""

MOST_PLACES = 64
"""Places of a slice up to which it is moved along several axes at once."""


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
    lengths = tuple(end - start for start, end in zip(starts, ends, strict=True))
    for moved in _moves(starts, [whole - part for whole, part in zip(shape, lengths, strict=True)]):
        packed = all(lengths[a] > 1 and not (start - starts[a]) % lengths[a] for a, start in moved.items())
        if packed and not parts:
            continue
        cause = CauseKind.SHIFT if any(lengths[a] > 1 for a in moved) else CauseKind.SELECTION
        told = (
            f"from {start} (of {shape[a]} along axis {a}), not from {starts[a]},"
            for a, start in moved.items()
        )
        begins = [moved.get(axis, start) for axis, start in enumerate(starts)]
        at = tuple(slice(b, b + n, step) for b, n, step in zip(begins, lengths, steps, strict=True))
        yield Other(cause, f"takes the entries {' and '.join(told)}", lambda x, at=at: x[at])


def _moves(starts: Sequence[int], last: Sequence[int]) -> list[dict[int, int]]:
    """Axis -> another start on it: along one axis each, and along several where that is not too much."""
    near = [
        range(max(0, start - MOST_STARTS), min(end, start + MOST_STARTS) + 1)
        for start, end in zip(starts, last, strict=True)
    ]
    if math.prod(map(len, near)) > MOST_PLACES:
        return [
            {axis: place} for axis, places in enumerate(near) for place in places if place != starts[axis]
        ]
    every = itertools.product(*near)
    moved = [{a: place for a, place in enumerate(chosen) if place != starts[a]} for chosen in every]
    return sorted(filter(None, moved), key=len)


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
