"""Numbers on both sides of a fault: the candidate's literals with their uses, the reference's settings."""

import math
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.naming import of_reference
from parity.trace.graph import Node
from parity.trace.vocabulary import COMPARISONS, names

ROOTS = frozenset({"sqrt", "rsqrt", "pow", "integer_pow", "div", "log", "log1p"})
THROUGH = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "convert_element_type", "expand_dims", "copy", "select_n"}
)
PICKING = frozenset({"gather", "dynamic_slice", "scatter", "scatter-add"})
SOFTMAX = frozenset({"exp", "exp2"})
SUMS = frozenset({"reduce_sum", "reduce_window_sum"})
REDUCTIONS = ("var", "std", "mean", "sum", "reduce_sum")
"""Beginnings of the names of the reference's reductions whose count may be a divisor."""

SHAPES = names("""
    shape sizes new_sizes slice_sizes limit_indices strides dimensions broadcast_dimensions permutation axes
    axis dimension window_dimensions window_strides base_dilation window_dilation lhs_dilation rhs_dilation
    feature_group_count batch_group_count num_keys exponent_bits mantissa_bits
""")
"""Settings of LAX that tell shapes and axes. What a program computes with stands in its constants."""


class NumberUse(NamedTuple):
    """How a number is used.

    Attributes:
        operations: that read it.
        rooted: whether it is added to something of which a root is taken, or by which is divided.
        compared: whether it decides a comparison.
        softmax: whether what it goes into is exponentiated.
        summed: of a divisor of a sum, over how many entries the sum went; else 0.
        squared: whether that sum is of squares.
        corrects: whether it is subtracted from the divisor of a sum.
        divides: whether something is divided by it.
        whole: whether it is an integer.
        indexes: whether it goes into an index by which entries are picked.
    """

    operations: frozenset[str]
    rooted: bool
    compared: bool
    softmax: bool
    summed: int
    squared: bool
    corrects: bool
    divides: bool
    whole: bool
    indexes: bool


class Literal(NamedTuple):
    """A number of the candidate: the node that the computation reads, its value, and how it is used."""

    node: int
    value: float
    use: NumberUse


def literals(fault: Fault) -> list[Literal]:
    """Constants of one number that the faulty operations read.

    Args:
        fault: the fault.

    Returns:
        One entry per constant, with its use; arrays of one number throughout count.
    """
    found = []
    for index in fault.constants:
        array = fault.value(index)
        if array.size and array.dtype.kind in "fiu" and np.all(array == array.flat[0]):
            if array.dtype.kind in "iu" and _is_of_a_division(fault, index):
                continue
            found.append(Literal(index, float(array.flat[0]), _use(fault, index)))
    return found


def _is_of_a_division(fault: Fault, index: int) -> bool:
    """Whether a whole number is none of the author's: `//` and `%` correct what they get by it."""
    read_by = fault.readers(index)
    if any(fault.operation(n) in ("div", "rem", "sign") for n in read_by):
        return False
    return any(fault.line(n) in fault.dividing_lines for n in read_by)


def reference_numbers(fault: Fault) -> list[float]:
    """Numbers among the reference's settings and constants at the fault, and the counts of its reductions.

    Args:
        fault: the fault.

    Returns:
        Each number once, in the order of computation.
    """
    found: dict[float, None] = {}
    for index in (*fault.reference_scope, *fault.reference_inputs):
        node = fault.reference.nodes[index]
        for name, value in node.params.items():
            for item in value if isinstance(value, list | tuple) else (value,):
                if name not in SHAPES and is_number(item) and not math.isnan(item):
                    found.setdefault(float(item))
        array, known = node.array, node.fixed or index in fault.reference_pure
        if known and array.size and array.dtype.kind in "fiu" and np.all(array == array.flat[0]):
            found.setdefault(float(array.flat[0]))
        counted = node.operation.startswith(REDUCTIONS) and node.inputs
        if counted and array.size and index in fault.reference_scope:
            count = fault.reference.nodes[node.inputs[0]].array.size // array.size
            found.setdefault(float(count))
            found.setdefault(float(count - 1))
    return list(found)


def computed_numbers(fault: Fault) -> list[tuple[str, float]]:
    """Single numbers that the reference computes at the fault, each with what it is called.

    Args:
        fault: the fault.
    """
    found = []
    for index in (*fault.reference_scope, *fault.reference_inputs):
        node = fault.reference.nodes[index]
        if node.backward and not fault.gradient:
            continue
        if node.array.size == 1 and node.array.dtype.kind == "f" and index not in fault.reference_pure:
            found.append((of_reference(fault, index), float(node.array.reshape(()))))
    return found


def single_numbers(fault: Fault, node: Node) -> list[float]:
    """The constants of one number that one of the reference's operations reads.

    Args:
        fault: the fault.
        node: the operation.
    """
    arrays = [fault.reference.nodes[i].array for i in node.inputs if i in fault.reference_pure]
    return [float(array.reshape(())) for array in arrays if array.size == 1 and array.dtype.kind in "fiu"]


def is_number(value: object) -> bool:
    """Whether a setting is a number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _use(fault: Fault, index: int) -> NumberUse:
    numbers = fault.readers(index)
    results = [o for n in numbers for o in fault.candidate.evaluations[n].outputs]
    return NumberUse(
        frozenset(fault.operation(n) for n in numbers),
        any(fault.reaches(o, ROOTS, 4) for o in results),
        any(_compared(fault, o) for o in results),
        any(fault.reaches(o, SOFTMAX, 12) for o in results),
        _count(fault, index),
        _is_of_squares(fault, index),
        any(fault.node(o).operation == "sub" and _divides(fault, o) for o in results if o in fault.pure),
        any(
            e.operation in ("div", "rem") and e.inputs[-1] == index
            for e in (fault.candidate.evaluations[n] for n in numbers)
        ),
        fault.value(index).dtype.kind in "iu",
        any(fault.reaches(o, PICKING, 6) for o in results),
    )


def _compared(fault: Fault, index: int) -> bool:
    """Whether a value is a truth value, or an integer that is compared with another."""
    array = fault.value(index)
    if array.dtype.kind == "b":
        return True
    read_by = {fault.node(k).operation for k in fault.consumers[index]}
    return array.dtype.kind in "iu" and bool(read_by & COMPARISONS)


def _count(fault: Fault, literal: int) -> int:
    """Over how many entries the sum went that a literal meets; 0 if it meets none."""
    counts = (
        _summed(fault, i) for n in fault.readers(literal) for i in fault.candidate.evaluations[n].inputs
    )
    return next(filter(None, counts), 0)


def _is_of_squares(fault: Fault, literal: int) -> bool:
    """Whether a sum that a literal meets adds squares."""
    read = [i for n in fault.readers(literal) for i in fault.candidate.evaluations[n].inputs]
    for sum_of in filter(None, (_sum_behind(fault, i) for i in read)):
        node = fault.node(fault.rearranged_from(sum_of.inputs[0])[-1])
        power = node.operation == "integer_pow" and node.params["y"] == 2
        if node.operation == "square" or power or (node.operation == "mul" and len(set(node.inputs)) == 1):
            return True
    return False


def _summed(fault: Fault, index: int) -> int:
    """Over how many entries a sum went; 0 for what is no sum."""
    node = _sum_behind(fault, index)
    return int(fault.value(node.inputs[0]).size // max(1, node.array.size)) if node is not None else 0


def _sum_behind(fault: Fault, index: int) -> Node | None:
    """The sum that a value is, or is fitted from; None if there is none."""
    for _ in range(6):
        node = fault.node(index)
        if node.operation in SUMS and node.inputs:
            return node
        if node.operation not in THROUGH or not node.inputs:
            return None
        index = node.inputs[-1]
    return None


def _divides(fault: Fault, index: int) -> bool:
    """Whether a sum is divided by a value, which may be cast and broadcast before."""
    edge = {index}
    for _ in range(4):
        following: set[int] = set()
        for k in {k for i in edge for k in fault.consumers[i]}:
            node = fault.node(k)
            if node.operation == "div" and any(_summed(fault, i) for i in node.inputs if i not in edge):
                return True
            if node.operation in THROUGH:
                following.add(k)
        edge = following
    return False
