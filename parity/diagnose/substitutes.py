"""Values of the reference in the place of an operand, and what it means that they belong there."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.extra import GLUE, MOST_LEFT_OUT
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described, of_reference, told_apart
from parity.diagnose.numbers import single_numbers
from parity.diagnose.operand_roles import has_another_use, is_statistic, kind_of_packing, parents, source_of
from parity.diagnose.order import moved, same_entries
from parity.diagnose.phrases import with_numbers
from parity.diagnose.targets import Array
from parity.localise.comparison import unmatched
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind
from parity.trace.vocabulary import MASKING, TILING

MOST = 40
"""Values of the reference that are tried in place of an operand."""


MOST_READ = 16
"""Operands that are tried."""


MOST_HIDDEN = 4
"""Operations that one which the candidate lacks may stand for: more of them are no missing step."""


class Substitute(NamedTuple):
    """A value of the reference in the shape of an operand.

    Attributes:
        t: its node in the reference's trace.
        twin: the candidate's node with the same value, if there is one.
        value: the value.
    """

    t: int
    twin: int | None
    value: Array


class Explained(NamedTuple):
    """What it means that the reference reads another value: the kind of cause, and the text.

    `wholly` is of what stands for many operations: it explains the fault only if every failed output agrees.
    """

    cause: CauseKind
    text: str
    wholly: bool = False


def operands_at(fault: Fault) -> list[int]:
    """Operands: what the faulty operations read, arrays of constants included.

    Where much is read behind the fault before all of it comes together, as in a network with a sum over its
    layers, what the faulty operations read themselves comes last.

    Args:
        fault: the fault.
    """
    arrays = [i for i in fault.constants if fault.value(i).size > 1]
    found = [i for i in (*fault.inputs, *arrays) if fault.value(i).size > 1]
    if len(found) > MOST_READ:
        found.sort(key=fault.read_here.__contains__)
    return [*_repeated(fault), *found[-MOST_READ:]]


def _repeated(fault: Fault) -> list[int]:
    """Weights that are repeated at the fault for every example, as a learned start is."""
    inside = [i for i in fault.region.candidate_nodes if fault.node(i).operation in TILING]
    return [
        i for i in inside if i != fault.region.j and fault.node(source_of(fault, i)).kind is NodeKind.WEIGHT
    ]


def substitutes(fault: Fault, index: int) -> list[Substitute]:
    """Values of the reference that fit in place of an operand, nearest to the fault first.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    old = fault.value(index)
    found: list[Substitute] = []
    near = [*reversed(fault.reference_inputs), *[t for t in fault.reference_scope if t != fault.region.t]]
    for t in near[:MOST]:
        node = fault.reference.nodes[t]
        if node.array.size != old.size or (node.array.dtype.kind == "f") != (old.dtype.kind == "f"):
            continue
        twin = _twin(fault, index, t)
        if twin is not None and is_mended(fault, twin, index):
            continue
        for value in fault.from_reference(t, old.shape):
            if not np.array_equal(value, old):
                found.append(Substitute(t, twin, value.astype(old.dtype)))
    return found


def _twin(fault: Fault, index: int, t: int) -> int | None:
    """The candidate's node with a value of the reference: first one that the code of an operand computes."""
    own, twins = fault.node(index), fault.twins.get(t, [])
    alike = (k for k in twins if k != index and fault.node(k).spot.at == own.spot.at)
    same = (k for k in alike if fault.node(k).operation == own.operation)
    return next(same, twins[0] if twins else None)


def is_mended(fault: Fault, twin: int, index: int) -> bool:
    """Whether a value is right since it was put in place, where the same code as an operand's was wrong.

    Args:
        fault: the fault.
        twin: node of the candidate, the value.
        index: another one, the operand.
    """
    return any(
        fault.node(i).operation == fault.node(k).operation and fault.node(i).spot.at == fault.node(k).spot.at
        for i in fault.rearranged_from(twin)
        if i in fault.comparison.replaced
        for k in fault.rearranged_from(index)
    )


def explained(fault: Fault, index: int, substitute: Substitute) -> Explained | None:
    """What it means that the reference reads another value than an operand; None if that explains nothing.

    Args:
        fault: the fault.
        index: node of the candidate.
        substitute: the value.
    """
    node, other = fault.node(index), fault.reference.nodes[substitute.t]
    operation = other.operation.strip("_")
    there = of_reference(fault, substitute.t)
    here = described(fault, index)
    text = f"<candidate> reads {here} where <reference> reads {there}"
    if index in fault.pure:
        stale = substitute.t in fault.reference_static
        if fault.value(index).dtype.kind in "iu":
            other_ones = f"<candidate> reads other indices: {here} in place of <reference>'s {operation}"
            return Explained(CauseKind.SELECTION, other_ones)
        if same_entries(substitute.value, fault.value(index)):
            mixed = f"{here} holds the numbers of <reference>'s {operation} in another order"
            return Explained(CauseKind.ORDER, mixed)
        return Explained(CauseKind.STALE_WEIGHTS, text) if stale else None
    normalises = is_statistic(fault, index)
    is_input = fault.node(source_of(fault, index)).kind is NodeKind.INPUT
    if normalises and not is_input and not (node.fixed and (other.fixed or has_another_use(fault, index))):
        return Explained(CauseKind.STATISTICS, text)
    if node.fixed and other.fixed:
        new = not same_entries(substitute.value, fault.value(index))
        return Explained(CauseKind.SWAPPED_WEIGHTS, text) if new else None
    if node.fixed:
        computed = substitute.twin is not None and _is_computed(fault, substitute.twin)
        return Explained(CauseKind.OPERANDS, text) if normalises or computed else None
    twin = substitute.twin
    if twin is not None and parents(fault, index) & parents(fault, twin):
        return Explained(kind_of_packing(fault, index), f"{text}: another part of the same packed value")
    if twin is not None and both_compute(fault, index, twin):
        here, instead = told_apart(fault, index, twin)
        unread = "" if any(k in fault.relevant for k in fault.consumers[twin]) else ", which nothing reads"
        text = f"<candidate> reads {here} where <reference> reads what is {instead} in <candidate>{unread}"
        return Explained(CauseKind.OPERANDS, text)
    order = moved(fault, index, substitute.value)
    if order is not None:
        return Explained(CauseKind.ORDER, f"{here}: {order}")
    goes_on = f"<candidate> goes on computing before this, <reference> reads {there} as it is"
    if twin is not None and twin in fault.ancestors(index) and is_undone(fault, index, twin):
        return Explained(CauseKind.EXTRA_TERM, goes_on)
    path = way_between(fault, set(fault.comparison.partners[index]), substitute.t)
    if path:
        return goes_through(fault, index, path)
    if twin is None:
        return None
    if twin in fault.ancestors(index):
        return Explained(CauseKind.EXTRA_TERM, goes_on)
    return Explained(CauseKind.OPERANDS, text)


def goes_through(fault: Fault, index: int, path: Sequence[int]) -> Explained | None:
    """The reference computes on, along a path, before it reads what the candidate reads as it is.

    Args:
        fault: the fault.
        index: node of the candidate.
        path: nodes of the reference.

    Returns:
        None if it does so many things that they name no cause.
    """
    here = described(fault, index)
    nodes = [fault.reference.nodes[t] for t in path]
    nodes = [node for node in nodes if node.operation not in GLUE] or nodes
    operations = {node.operation for node in nodes}
    if len(operations) > MOST_LEFT_OUT:
        return None
    done = ", ".join(dict.fromkeys(with_numbers(node, single_numbers(fault, node)) for node in nodes))
    text = f"<reference> goes through {done} before this, <candidate> reads {here} as it is"
    if operations & MASKING:
        return Explained(CauseKind.RECURRENCE if fault.node(index).spot.step else CauseKind.MASK, text)
    return Explained(CauseKind.MISSING_TERM, text, _hides(fault, path))


def _is_computed(fault: Fault, index: int) -> bool:
    node = fault.node(index)
    return node.kind is NodeKind.OPERATION and not node.fixed


def both_compute(fault: Fault, index: int, twin: int) -> bool:
    """Whether both sides compute an operand and what belongs in its place: another value was read.

    Args:
        fault: the fault.
        index: node of the candidate.
        twin: the candidate's node with what belongs there.
    """
    if any(fault.node(i).kind is not NodeKind.OPERATION for i in (index, twin)):
        return False
    if same_entries(fault.value(twin), fault.value(index)):
        return False  # the same in another order
    if twin not in fault.ancestors(index):
        return True
    return bool(fault.comparison.partners[index]) and not is_undone(fault, index, twin)


def is_undone(fault: Fault, index: int, earlier: int) -> bool:
    """Whether the candidate computes back to what the reference has before an earlier value.

    Args:
        fault: the fault.
        index: node of the candidate.
        earlier: node that it was computed from.
    """
    partners = fault.comparison.partners
    before = fault.reference.ancestors(partners[earlier]) if partners[index] else set()
    return not before.isdisjoint(partners[index])


def way_between(fault: Fault, starts: set[int], end: int) -> list[int] | None:
    """The reference's operations from one of some values to another, if it is near.

    Args:
        fault: the fault.
        starts: nodes of the reference.
        end: another one.

    Returns:
        Nodes, the end first; None if it takes more than four steps.
    """
    edge, path = {end}, [end]
    for _ in range(4):
        before = {i for t in edge for i in fault.reference.nodes[t].inputs}
        if before & starts:
            return path
        edge = {i for i in before if fault.reference.nodes[i].kind is NodeKind.OPERATION}
        path += sorted(edge)
    return None


def _hides(fault: Fault, path: Sequence[int]) -> bool:
    """Whether operations of the reference read what many others compute that the candidate has not."""
    inside, nodes = set(path), fault.reference.nodes
    waiting = [i for t in path for i in nodes[t].inputs if i not in inside]
    behind, _ = unmatched(fault.reference, waiting, fault.comparison.reference_agrees)
    return sum(nodes[i].operation not in GLUE for i in behind if i not in inside) > MOST_HIDDEN


def are_alike(a: Array, b: Array) -> bool:
    """Whether one of two values fits in the place of the other and makes a difference.

    Args:
        a: any array.
        b: another one.
    """
    return a.shape == b.shape and a.dtype.kind == b.dtype.kind and not np.array_equal(a, b)
