"""Changes to the candidate's computation, and how one operation is computed again under them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from parity.localise.comparison import Comparison, Function, Value
from parity.report.divergences import Place
from parity.report.kinds import CauseKind


class Change(NamedTuple):
    """A hypothesis: the candidate's computation with something changed.

    Attributes:
        cause: the kind of fault that it would be.
        text: what is on both sides and what to do.
        values: node -> its value instead.
        functions: index of an evaluation -> what to compute it by instead.
        everywhere: whether all of it is tried from the start of the computation; it explains the fault only
            if every failed output agrees then.
        of_code: whether the functions are the code's, the same in every step of a loop, not made of what is
            computed in one of them.
        joined: nodes of the candidate that are joined wrongly, where no single operation is wrong: the fault
            stands where all of them are put together, on the line that leads to the first.
        reference_places: lines of the reference that tell more than those of its operations at the fault.
        candidate_places: the same of the candidate.
    """

    cause: CauseKind
    text: str
    values: Mapping[int, Value] = MappingProxyType({})
    functions: Mapping[int, Function] = MappingProxyType({})
    everywhere: bool = False
    of_code: bool = False
    joined: tuple[int, ...] = ()
    reference_places: tuple[Place, ...] = ()
    candidate_places: tuple[Place, ...] = ()


def recompute(
    comparison: Comparison, number: int, new: Mapping[int, Value], functions: Mapping[int, Function]
) -> dict[int, Value] | None:
    """One evaluation repeated with other values and functions.

    Args:
        comparison: with the trace, and what has been put in place in it.
        number: index of the evaluation.
        new: node -> its value, of those that differ from the trace.
        functions: index of an evaluation -> what to compute it by instead.

    Returns:
        Node -> result; None if the operands do not fit.
    """
    evaluation = comparison.candidate.evaluations[number]
    given = [new[i] if i in new else comparison.array(i) for i in evaluation.inputs]
    function = functions.get(number, evaluation.function)
    try:
        with np.errstate(all="ignore"):
            results = function(given)
    except Exception:  # a change of shapes that the operation does not take: no explanation
        return None
    return dict(zip(evaluation.outputs, results, strict=True))
