"""Numbers on both sides of a fault: JAX's literals with how they are used, PyTorch's arguments."""

import math
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault

ROOTS = frozenset({"sqrt", "rsqrt", "pow", "integer_pow", "div", "log", "log1p"})
THROUGH = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "expand_dims", "copy", "select_n"}
)
SOFTMAX = frozenset({"exp", "exp2"})
SUMS = frozenset({"reduce_sum", "reduce_window_sum"})
COMPARISONS = frozenset({"lt", "le", "gt", "ge", "eq", "ne"})


class Use(NamedTuple):
    """How a number is used.

    Attributes:
        operations: that read it.
        rooted: whether it is added to something of which a root is taken, or by which is divided.
        compared: whether it decides a comparison.
        softmax: whether what it goes into is exponentiated.
        summed: of a divisor of a sum, over how many entries the sum went; else 0.
        whole: whether it is an integer.
    """

    operations: frozenset[str]
    rooted: bool
    compared: bool
    softmax: bool
    summed: int
    whole: bool


class Literal(NamedTuple):
    """A number on the JAX side: the node that the computation reads, its value, and how it is used."""

    node: int
    value: float
    use: Use


def literals(fault: Fault) -> list[Literal]:
    """Constants of one number that the faulty operations read."""
    found = []
    for index in fault.constants:
        array = fault.value(index)
        if array.size and array.dtype.kind in "fiu" and np.all(array == array.flat[0]):
            found.append(Literal(index, float(array.flat[0]), _use(fault, index)))
    return found


def reference_numbers(fault: Fault) -> list[float]:
    """Numbers among PyTorch's arguments and constants at the fault, and the counts of its reductions."""
    found: dict[float, None] = {}
    for index in (*fault.reference_scope, *fault.reference_inputs):
        node = fault.reference.nodes[index]
        for value in node.params.values():
            for item in value if isinstance(value, list | tuple) else (value,):
                if isinstance(item, int | float) and not isinstance(item, bool) and not math.isnan(item):
                    found.setdefault(float(item))
        array = node.array
        if node.fixed and array.size and array.dtype.kind in "fiu" and np.all(array == array.flat[0]):
            found.setdefault(float(array.flat[0]))
        counted = node.operation.startswith(("var", "std", "mean", "sum")) and node.inputs
        if counted and array.size and index in fault.reference_scope:
            count = fault.reference.nodes[node.inputs[0]].array.size // array.size
            found.setdefault(float(count))
            found.setdefault(float(count - 1))
    return list(found)


def _use(fault: Fault, index: int) -> Use:
    numbers = fault.readers(index)
    results = [o for n in numbers for o in fault.candidate.evaluations[n].outputs]
    return Use(
        frozenset(fault.operation(n) for n in numbers),
        any(fault.reaches(o, ROOTS, 4) for o in results),
        any(_compared(fault, o) for o in results),
        any(fault.reaches(o, SOFTMAX, 12) for o in results),
        _count(fault, index),
        fault.value(index).dtype.kind in "iu",
    )


def _compared(fault: Fault, index: int) -> bool:
    """Whether a value is a truth value, or an integer that is compared with another."""
    array = fault.value(index)
    if array.dtype.kind == "b":
        return True
    return array.dtype.kind in "iu" and any(fault.operation(n) in COMPARISONS for n in fault.readers(index))


def _count(fault: Fault, literal: int) -> int:
    for n in fault.readers(literal):
        for other in fault.candidate.evaluations[n].inputs:
            index = other
            for _ in range(6):
                node = fault.node(index)
                if node.operation in SUMS and node.inputs:
                    return int(fault.value(node.inputs[0]).size // max(1, fault.value(index).size))
                if node.operation not in THROUGH or not node.inputs:
                    break
                index = node.inputs[-1]
    return 0
