"""A loss divided by what is computed from the targets on one side: how many count, what they weigh."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import (
    as_rounded_there,
    behind,
    constant_divisors,
    of_a_loss,
    place_of,
    starts,
)
from parity.report.divergences import Place
from parity.report.kinds import CauseKind
from parity.trace.graph import Node
from parity.trace.vocabulary import FITTING, MASKING, SUMS, names

DIVIDING = names("div true_divide")


class Divisor(NamedTuple):
    """A number that the reference computes and divides by.

    Attributes:
        value: the number.
        what: what it is called.
        entries: how many entries it is the sum of.
        mask: which of them count, if it is a number of entries.
        places: where the reference divides by it.
    """

    value: float
    what: str
    entries: int
    mask: Array | None
    places: tuple[Place, ...]


def counted_divisors(fault: Fault) -> Iterator[Change]:
    """A constant by which the candidate's loss is divided, for what the reference computes and divides by."""
    if not of_a_loss(fault):
        return
    known = list(_computed(fault))
    if not known:
        return
    tables, following = as_rounded_there(fault), behind(fault, starts(fault))
    for index in following:
        yield from _of_each_row(fault, index, known)
        alone = fault.value(index).size == 1
        for operand, plain, inverse in constant_divisors(fault, index) if alone else ():
            array = fault.value(operand)
            for divisor in known:
                new = np.full_like(array, 1 / divisor.value if inverse else divisor.value)
                everything = ", all of them" if round(plain) == divisor.entries else ""
                own = f"<candidate> by {number(round(plain, 9))}{everything}"
                text = f"<reference> divides by {divisor.what}, {own}: divide by the same"
                change = Change(
                    CauseKind.REDUCTION,
                    text,
                    {operand: new, **tables},
                    everywhere=True,
                    reference_places=divisor.places,
                    candidate_places=place_of(fault, index),
                )
                yield change
                for summand, masked in _masked(fault, following, divisor.mask):
                    text = f"<reference> leaves out what its mask excludes and divides by {divisor.what}, "
                    text += f"<candidate> adds up all entries and divides {own.removeprefix('<candidate> ')}"
                    values = {**change.values, summand: masked}
                    yield change._replace(cause=CauseKind.MASK, text=text, values=values)


def _of_each_row(fault: Fault, index: int, known: list[Divisor]) -> Iterator[Change]:
    """Rows that are divided by what each has of the divisor, where the reference divides their sum."""
    node = fault.node(index)
    if node.operation != "div" or node.inputs[1] in fault.pure or fault.value(node.inputs[1]).size < 2:
        return
    own = fault.value(node.inputs[1])
    for divisor in known:
        if np.isclose(own.sum(), divisor.value):
            text = f"<reference> divides the sum of all entries by {divisor.what}, "
            text += f"<candidate> each of {own.size} rows by its own share and takes the mean of the rows"
            changed = {node.inputs[1]: np.full_like(own, divisor.value / own.size)}
            places = place_of(fault, index)
            yield Change(CauseKind.REDUCTION, text, changed, everywhere=True, candidate_places=places)


def _masked(fault: Fault, following: list[int], mask: Array | None) -> Iterator[tuple[int, Array]]:
    """What is added up, with zeros where a mask is not set."""
    if mask is None or mask.all():
        return
    for index in following:
        node = fault.node(index)
        if node.operation not in SUMS:
            continue
        summand = fault.value(node.inputs[0])
        if summand.size == mask.size and summand.dtype.kind == "f":
            yield node.inputs[0], np.where(mask.reshape(summand.shape), summand, 0.0)


def _computed(fault: Fault) -> Iterator[Divisor]:
    """What the reference computes from targets, weights of samples or outputs, and divides by."""
    nodes = fault.reference.nodes
    seen: set[float] = set()
    for node in nodes:
        if node.operation.strip("_") not in DIVIDING or len(node.inputs) != 2:
            continue
        divisor = node.inputs[1]
        if nodes[divisor].array.size != 1 or divisor in fault.reference_pure:
            continue
        value = float(nodes[divisor].array.reshape(()))
        source = nodes[divisor]
        while source.operation in FITTING and source.inputs:
            source = nodes[source.inputs[0]]
        if source.operation not in SUMS or not value or not np.isfinite(value) or value in seen:
            continue
        seen.add(value)
        summand = nodes[source.inputs[0]]
        while summand.operation in FITTING and summand.inputs:
            summand = nodes[summand.inputs[0]]
        mask = summand.array if summand.array.dtype.kind == "b" else None
        places = (node.place,) if node.place.file else ()
        yield Divisor(value, _sum_of(source, summand), summand.array.size, mask, places)


def _sum_of(total: Node, summand: Node) -> str:
    """What a sum is called: of a mask a number of entries, of other numbers their sum."""
    line = f" of line {total.spot.line}" if total.spot.line else ""
    if summand.array.dtype.kind == "b":
        if summand.array.all():
            return f"the number of entries, {summand.array.size}"
        left_out = summand.params.get("other") if summand.operation == "ne" else None
        if left_out is not None:
            return f"the number of targets other than {left_out} (a sum over a mask)"
        return f"the number of entries that a mask keeps (the sum{line})"
    if summand.operation in MASKING or np.ptp(summand.array) > 0:
        return f"the sum of the weights (the sum{line})"
    return f"what it sums up (the sum{line})"
