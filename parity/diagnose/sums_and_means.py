"""A sum on one side, a mean on the other."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import literals
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
