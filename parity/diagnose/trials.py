"""Changes to a JAX computation, and how one equation is computed again under them."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from parity.localise.walk import Comparison

Function = Callable[[Sequence[Any]], Sequence[Any]]


class Change(NamedTuple):
    """A hypothesis: the JAX computation with something changed.

    Attributes:
        cause: a name of `parity.diagnose.CAUSES`.
        text: what is on both sides and what to do.
        values: node -> its value instead.
        functions: index of an evaluation -> what to compute it by instead.
    """

    cause: str
    text: str
    values: Mapping[int, Any] = MappingProxyType({})
    functions: Mapping[int, Function] = MappingProxyType({})


def evaluate(
    comparison: Comparison, number: int, new: Mapping[int, Any], functions: Mapping[int, Function]
) -> dict[int, Any] | None:
    """The results of one evaluation by node, of other values and functions; None if the operands do not fit.

    Args:
        comparison: with the trace, and what has been put in place in it.
        number: of the evaluation.
        new: values that differ from the trace's.
        functions: evaluation -> what to compute it by instead.
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
