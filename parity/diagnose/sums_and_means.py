"""A sum on one side, a mean on the other; sums divided by something else."""

import itertools
from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import computed_numbers, literals
from parity.diagnose.phrases import number
from parity.diagnose.tolerances import SAME_DECIMALS
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind


def sums_and_means(fault: Fault) -> Iterator[Change]:
    """Sums at the fault that are divided by the count of what they add, without that, and the other way."""
    for literal in literals(fault):
        count = literal.use.summed
        plain = literal.value if "div" in literal.use.operations else 1 / (literal.value or np.inf)
        if count > 1 and literal.use.operations & {"div", "mul"} and round(plain - count, SAME_DECIMALS) == 0:
            text = f"<candidate> takes the mean of {count} entries, <reference> their sum"
            yield Change(CauseKind.REDUCTION, text, {literal.node: np.ones_like(fault.value(literal.node))})
    for index in fault.computed():
        node = fault.node(index)
        count = fault.value(node.inputs[0]).size // max(1, fault.value(index).size) if node.inputs else 0
        if node.operation == "reduce_sum" and count > 1 and fault.value(index).dtype.kind == "f":
            text = f"<candidate> takes the sum of {count} entries, <reference> their mean"
            yield Change(CauseKind.REDUCTION, text, {index: fault.value(index) / count})


def other_divisors(fault: Fault) -> Iterator[Change]:
    """A sum divided by a count, where the candidate divides it by what it computes; or the other way."""
    for evaluation in (fault.candidate.evaluations[step] for step in fault.active):
        if evaluation.operation != "div" or len(evaluation.inputs) != 2:
            continue
        node = fault.node(fault.rearranged_from(evaluation.inputs[0])[-1])
        divisor = evaluation.inputs[1]
        if node.operation != "reduce_sum" or fault.value(divisor).dtype.kind != "f":
            continue
        held, summand = fault.value(divisor), fault.value(node.inputs[0])
        known = (
            {}
            if divisor in fault.pure
            else {float(count): f"the count {number(count)}" for count in _counts(summand.shape)}
        )
        for what, value in computed_numbers(fault):
            known.setdefault(value, what)
        source = fault.node(fault.rearranged_from(divisor)[-1])
        own = "a count" if divisor in fault.pure else f"the {source.operation}"
        for value, what in known.items():
            if value and not np.allclose(held, value, rtol=1e-9, atol=0.0):
                text = f"the sum is divided by {what} in <reference>, by {own} in <candidate>"
                yield Change(CauseKind.REDUCTION, text, {divisor: np.full_like(held, value)})


def _counts(shape: tuple[int, ...]) -> list[int]:
    """How many entries there are along some of the axes."""
    some = (axes for count in range(1, len(shape) + 1) for axes in itertools.combinations(shape, count))
    return sorted({int(np.prod(axes)) for axes in some}, reverse=True)
