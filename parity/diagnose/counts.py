"""Divisors that are the counts of what is summed: a mean stays one."""

import itertools
import math

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import Literal, is_number, single_numbers

NEAR = 1e-6
"""Difference up to which a number is a count."""


def stays_a_mean(fault: Fault, literal: Literal, new: float) -> bool:
    """Whether a number is the count of what is summed and divided by it, and another one would be no count.

    Then the sum is a mean as it should be, and what differs is a factor.

    Args:
        fault: the fault.
        literal: a number of the candidate.
        new: the number that is tried in its place.
    """
    use = literal.use
    plain, other = (x if "div" in use.operations else 1 / (x or math.inf) for x in (literal.value, new))
    if not use.summed or use.squared or abs(plain - use.summed) > NEAR:
        return False
    nodes, numbers = fault.reference.nodes, (*fault.reference_scope, *fault.reference_inputs)
    factors = {
        n
        for node in (nodes[i] for i in numbers)
        if node.operation in ("mul", "mul_") and node.array.size == 1
        for n in (*filter(is_number, node.params.values()), *single_numbers(fault, node))
    }
    if any(math.isclose(plain / (other or math.inf), factor) for factor in factors):
        return True
    shapes = {fault.value(i).shape for i in (*fault.inputs, *fault.computed())}
    counts = {
        int(np.prod(some))
        for shape in shapes
        for n in range(len(shape) + 1)
        for some in itertools.combinations(shape, n)
    }
    return not any(abs(other - count) < NEAR for count in {*counts, use.summed - 1})
