"""A loss as a function of what it is given: where it begins, its values by what they are, its lines.

A loss is one number, and its formula is written in many ways: that of one side has intermediate values that
the other's has not. So the inputs of the whole loss are what is changed, and all of it is computed again.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.functions import sigmoid, softmax
from parity.diagnose.targets import Array
from parity.localise.comparison import failing
from parity.report.divergences import Place
from parity.trace.graph import NodeKind

MOST_STARTS = 8
"""Values that a loss is computed from, of which hypotheses are tried."""

CLOSE = 1e-9
"""Relative difference up to which a value is taken for what it is computed as."""

FLOAT32 = 1.2e-7
"""Relative difference that rounding to float32 explains."""

FEWEST = 4
"""Entries that a value must have to be known by them."""


def of_a_loss(fault: Fault) -> bool:
    """Whether what differs are single numbers: a loss, or several."""
    failed = failing(fault.comparison, fault.group)
    return not fault.gradient and bool(failed) and all(fault.value(j).size == 1 for _, j in failed)


def starts(fault: Fault) -> list[int]:
    """What the loss is computed from: outputs of the model, targets, and what goes into the fault."""
    outputs = fault.candidate.outputs.get("outputs", {}).values() if fault.group == "loss" else ()
    own = fault.candidate.ancestors([j for _, j in failing(fault.comparison, fault.group)])
    found = [i for i in (*outputs, *fault.candidate.inputs.values(), *fault.inputs) if i in own]
    return [i for i in dict.fromkeys(found) if fault.value(i).size >= FEWEST][:MOST_STARTS]


def behind(fault: Fault, sources: Sequence[int]) -> list[int]:
    """The operations between some values and the loss, in order of computation.

    Args:
        fault: the fault.
        sources: nodes of the candidate.
    """
    reached, found = set(sources), []
    own = fault.candidate.ancestors([j for _, j in failing(fault.comparison, fault.group)])
    for index, node in enumerate(fault.candidate.nodes):
        if index in own and node.kind is NodeKind.OPERATION and not reached.isdisjoint(node.inputs):
            reached.add(index)
            found.append(index)
    return found


def constant_divisors(fault: Fault, index: int) -> Iterator[tuple[int, float, bool]]:
    """The single constants that a value is divided by, or multiplied with.

    Args:
        fault: the fault.
        index: node of the candidate.

    Yields:
        Node, divisor, and whether it is a factor instead.
    """
    node = fault.node(index)
    if node.operation not in ("div", "mul") or len(node.inputs) != 2:
        return
    for operand in node.inputs[1:] if node.operation == "div" else node.inputs:
        if operand in fault.pure and fault.value(operand).size == 1:
            held = float(fault.value(operand).reshape(()))
            inverse = node.operation == "mul"
            yield operand, 1 / (held or np.inf) if inverse else held, inverse


def holding(fault: Fault, value: Array, among: Sequence[int]) -> list[int]:
    """Nodes that hold a value, in whatever shape.

    Args:
        fault: the fault.
        value: floating numbers.
        among: nodes of the candidate.
    """
    return [i for i in among if is_value(fault.value(i), value)]


def is_value(array: Array, value: Array) -> bool:
    """Whether an array holds a value, which is finite, in its order.

    Args:
        array: any array.
        value: floating numbers; axes of length one do not matter.
    """
    return (
        array.size == value.size
        and array.dtype.kind == "f"
        and np.squeeze(array).shape == np.squeeze(value).shape
        and bool(np.allclose(array.reshape(-1), value.reshape(-1), rtol=CLOSE, atol=CLOSE))
    )


def forms(x: Array) -> Iterator[tuple[str, Array]]:
    """What a model's outputs may be put through before a loss, of what gives finite numbers.

    Args:
        x: the outputs.

    Yields:
        Name and value.
    """
    known: list[tuple[str, Array]] = [("sigmoid", sigmoid(x)), ("log sigmoid", -np.logaddexp(0.0, -x))]
    for axis in range(x.ndim - 1, 0, -1):
        known.append((f"softmax along axis {axis}", softmax(x, axis)))
        known.append((f"log softmax along axis {axis}", x - np.logaddexp.reduce(x, axis, keepdims=True)))
    known += [("exponential", np.exp(x)), ("tanh", np.tanh(x))]
    if x.min() > 0:
        known.append(("logarithm", np.log(x)))
    yield from ((name, value) for name, value in known if np.isfinite(value).all())


def as_rounded_there(fault: Fault) -> dict[int, Array]:
    """Tables of constants that the reference holds rounded to float32, as it holds them."""
    there = [n.array for n in fault.reference.nodes if n.kind is NodeKind.CONSTANT and n.value.shape]
    found: dict[int, Array] = {}
    for index in fault.pure:
        node = fault.node(index)
        if node.kind is not NodeKind.CONSTANT or not node.floating or fault.value(index).size < 2:
            continue
        for array in there:
            alike = array.shape == node.value.shape and array.dtype.kind == "f"
            if alike and np.allclose(array, fault.value(index), rtol=FLOAT32, atol=0.0):
                found[index] = array.astype(np.float64)
    return found


def place_of(fault: Fault, index: int) -> tuple[Place, ...]:
    """The line of a node of the candidate, if it has one.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    place = fault.node(index).place
    return (place,) if place.file else ()
