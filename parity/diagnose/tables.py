"""Tables that hold other numbers: anchors, windows, index maps and masks that were worked out beforehand.

Of such a constant the trace knows the numbers and not the lines that made them. It is put in place of what
the reference computes, or holds as a buffer: it is the cause if nothing is left to explain then.
"""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.arrangements import arranged
from parity.diagnose.fault import DEPTHS, Fault
from parity.diagnose.numbers import PICKING
from parity.diagnose.order import UNORDERED, moved
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.numerics.complex_parts import widened
from parity.report.kinds import CauseKind
from parity.trace.graph import Node, NodeKind
from parity.trace.vocabulary import COMPARISONS

FEWEST = 4
"""Entries of a table; what is smaller is tried as a number or as an operand."""

MOST_PARTS = 512
"""Parts along an axis up to which their order is looked at."""

MOST_COMPARED = 10**7
"""Pairs of entries that are compared with each other."""

MOST_LISTED = 12
"""Parts of which the order is written down."""

ROUNDED = 1e-6
"""Relative difference up to which two entries are the same: one side may hold its table in float32."""

MOST_TRIED = 12
"""Exchanges that are tried; each computes the whole candidate again."""


def tables(fault: Fault) -> Iterator[Change]:
    """A constant of the candidate that the reference does not hold, exchanged for one that only it holds."""
    if fault.depth != DEPTHS[0]:
        return  # all before the fault was looked at
    tried = 0
    for index in _own(fault):
        for t in _of_reference(fault, fault.value(index).size):
            for value in arranged(fault.reference.nodes[t].array, fault.value(index).shape):
                if tried >= MOST_TRIED:
                    return
                new = _as_kind(value, fault.value(index))
                if new is None or np.array_equal(new, fault.value(index)):
                    continue
                tried += 1
                yield _exchange(fault, index, t, new)
                break  # the likeliest layout


def _own(fault: Fault) -> list[int]:
    """The candidate's constants before the fault that are no value of the reference's."""
    return [
        i
        for i in sorted(fault.ancestors(fault.region.j))
        if _is_table(fault.node(i)) and not fault.comparison.partners[i]
    ]


def _of_reference(fault: Fault, size: int) -> list[int]:
    """The tables of so many entries that the candidate does not hold, the last to be computed first."""
    before = fault.reference.ancestors([fault.region.t])
    return [
        i
        for i in sorted(before & (fault.reference_static | fault.reference_pure), reverse=True)
        if fault.reference.nodes[i].array.size == size and i not in fault.twins
    ]


def _as_kind(value: Array, like: Array) -> Array | None:
    """A value with the dtype of another one; None where it has no such numbers."""
    if value.dtype.kind == "b" or like.dtype.kind == "b":
        return value.copy() if value.dtype.kind == like.dtype.kind else None
    if like.dtype.kind in "iu" and value.dtype.kind == "f":
        return None
    return value.astype(like.dtype)


def _exchange(fault: Fault, index: int, t: int, new: Array) -> Change:
    old = fault.value(index)
    nodes = fault.candidate.nodes
    same = [i for i, other in enumerate(nodes) if _is_table(other) and _same(other.array, old)]
    alike = dict.fromkeys((index, *same), new)
    readers = [fault.node(k) for i in alike for k in fault.consumers[i]]
    line = next((node.spot.line for node in readers if node.spot.line), 0)
    where = f" that line {line} reads" if line else ""
    node = fault.reference.nodes[t]
    there = node.operation if node.kind is not NodeKind.OPERATION else f"line {node.spot.line}"
    text = f"the constant ({'x'.join(map(str, old.shape))}){where} is not what <reference> has ({there}): "
    order = _parts(old, new) or moved(fault, index, new)
    cause = CauseKind.ORDER if order else CauseKind.CONSTANT
    if old.dtype.kind in "biu":
        cause = CauseKind.MASK if _makes_a_mask(fault, index) else CauseKind.SELECTION
    return Change(
        cause,
        text + (order if order and order != UNORDERED else _difference(old, new)),
        alike,
        everywhere=True,
        reference_places=(node.place,) if node.spot.file else (),
        candidate_places=tuple(reader.place for reader in readers if reader.spot.file)[:1],
    )


def _makes_a_mask(fault: Fault, index: int) -> bool:
    """Whether a table is a mask, or compared to make one; an index is compared, too, before it picks."""
    compared = fault.reaches(index, COMPARISONS, 3) and not fault.reaches(index, PICKING, 6)
    return fault.value(index).dtype.kind == "b" or compared


def _is_table(node: Node) -> bool:
    array = node.array if node.kind is NodeKind.CONSTANT else np.zeros(0)
    return bool(array.size >= FEWEST and array.dtype.kind in "biuf" and np.any(array != array.flat[0]))


def _same(one: Array, other: Array) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one, other)


def _parts(old: Array, new: Array) -> str:
    """In words: the parts along one axis stand in another order, or are shifted; empty if they do not."""
    for axis, length in reversed(list(enumerate(old.shape))):
        if not 1 < length <= MOST_PARTS or old.size * length > MOST_COMPARED:
            continue
        a, b = (np.moveaxis(widened(array), axis, 0).reshape(length, -1) for array in (old, new))
        near = np.isclose(b[:, None], a[None], rtol=ROUNDED, atol=0.0, equal_nan=True).all(-1)
        for step in range(1, length):
            if near[np.arange(length), (np.arange(length) - step) % length].all():
                least = min(step, step - length, key=abs)
                return f"in <reference> it is shifted by {least:+d} along axis {axis}"
        order = near.argmax(1).tolist()
        if near.any(1).all() and sorted(order) == list(range(length)) != order and length <= MOST_LISTED:
            return f"<reference> has the parts along axis {axis} in the order {tuple(order)}"
    return ""


def _difference(old: Array, new: Array) -> str:
    """How many entries are others, and the first of them."""
    a, b = widened(old), widened(new)
    different = np.argwhere(~np.isclose(a, b, rtol=ROUNDED, atol=0.0, equal_nan=True))
    if not len(different):
        return "the numbers are off by rounding"
    first = tuple(int(i) for i in different[0])
    one, other = (format(array[first].item(), ".6g") for array in (b, a))
    return (
        f"{len(different)} of {old.size} entries differ, the first at {list(first)}: {one} in <reference>, "
        f"{other} in <candidate>"
    )
