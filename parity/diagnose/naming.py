"""What values of the candidate are called in a text."""

from collections.abc import Sequence

from parity.diagnose.fault import Fault
from parity.trace.graph import Node, NodeKind
from parity.trace.vocabulary import FITTING, PARTS, REARRANGING

OF_A_STEP = frozenset({"scan_slice"})
"""What takes a step's part of what a loop goes over: it is called what it is a part of."""

MOST_NAMED = 2
"""Weights that are named with a value; more would be most of a network."""


def described(fault: Fault, index: int) -> str:
    """What a value of the candidate is called in a text.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    node, part = fault.node(_computed(fault, index)), ""
    way = [fault.node(i) for i in fault.rearranged_from(index)]
    if way[-1].kind in (NodeKind.INPUT, NodeKind.WEIGHT):
        node, part = way[-1], _a_part(way[:-1])
    if node.kind is NodeKind.OPERATION:
        return f"the {node.operation}{_on_its_line(node)}"
    return (
        f"{part}the {node.kind.value} {node.operation}"
        if node.kind is not NodeKind.CONSTANT
        else "a constant"
    )


def _a_part(way: Sequence[Node]) -> str:
    return "a part of " if any(node.operation in PARTS - FITTING for node in way) else ""


def _computed(fault: Fault, index: int) -> int:
    """What a value is before it was fitted into a shape, if that was computed."""
    for source in fault.rearranged_from(index):
        node = fault.node(source)
        if node.kind is not NodeKind.OPERATION:
            break
        if node.operation not in FITTING | OF_A_STEP:
            return source
    return index


def _on_its_line(node: Node) -> str:
    return f" of line {node.spot.line}" if node.spot.line else ""


def of_reference(fault: Fault, index: int) -> str:
    """What a value of the reference is called in a text; one that is only rearranged, what it is made of.

    Args:
        fault: the fault.
        index: node of the reference.
    """
    nodes = fault.reference.nodes
    node, way = nodes[index], []
    while node.operation in REARRANGING and node.kind is NodeKind.OPERATION:
        read = [i for i in node.inputs if nodes[i].kind is not NodeKind.CONSTANT]
        if len(read) != 1:
            break
        way.append(node)
        node = nodes[read[0]]
    if node.kind is NodeKind.CONSTANT or nodes[index].kind is NodeKind.CONSTANT:
        node = nodes[index]
    if node.kind is NodeKind.OPERATION:
        return f"the {node.operation.strip('_')}{_on_its_line(node)}"
    return f"{_a_part(way)}the {node.kind.value} {node.operation}".strip()


def in_candidate(fault: Fault, index: int) -> str:
    """What a value of the candidate is called where both sides are spoken of.

    Args:
        fault: the fault.
        index: node of the candidate.
    """
    name = described(fault, index)
    return name if " input " in name or " weight " in name else f"{name} in <candidate>"


def told_apart(fault: Fault, one: int, other: int) -> tuple[str, str]:
    """What two values of the candidate are called; those of one line are numbered.

    Of two that one is computed from the other, the later is told with the weights that lie between.

    Args:
        fault: the fault.
        one: node of the candidate.
        other: another one.
    """
    first, second = described(fault, one), described(fault, other)
    if one in fault.ancestors(other):
        second += _weights_between(fault, one, other)
    elif other in fault.ancestors(one):
        first += _weights_between(fault, other, one)
    one, other = _computed(fault, one), _computed(fault, other)
    if first != second or fault.node(one).kind is not NodeKind.OPERATION:
        return first, second
    spot, operation = fault.node(one).spot, fault.node(one).operation
    if spot.at == fault.node(other).spot.at and spot.step != fault.node(other).spot.step:
        return first, f"{described(fault, other)} of {'an earlier' if other < one else 'a later'} step"
    calls = _calling_lines(fault, one, other)
    if calls[0] != calls[1]:
        return f"{first} (called from line {calls[0]})", f"{second} (called from line {calls[1]})"
    alike = [
        i
        for i, node in enumerate(fault.candidate.nodes)
        if node.operation == operation and node.spot.at == spot.at and node.spot.callers == spot.callers
    ]
    leaving = [i for i in alike if any(fault.node(k).spot.at != spot.at for k in fault.consumers[i])]
    if one in leaving and other in leaving:  # what a line gives, and not what it computes on the way
        alike = leaving
    if fault.node(one).step == fault.node(other).step:  # two results of one operation
        alike = [i for i in alike if fault.node(i).step == fault.node(one).step]
    else:  # of a loop the values of one step
        step = [i for i in alike if one not in fault.ancestors(i) and i not in fault.ancestors(one)]
        alike = sorted({one, *step}) if other in step else alike
    a, b = (f"number {alike.index(i) + 1} of {len(alike)}" if i in alike else "" for i in (one, other))
    if len(alike) > 2 or fault.node(one).step != fault.node(other).step:  # then a number says little
        a, b = (_weights_between(fault, y, x)[1:] or n for x, y, n in ((one, other, a), (other, one, b)))
    return f"{first} ({a})", f"{second} ({b})"


def _calling_lines(fault: Fault, one: int, other: int) -> tuple[int, int]:
    """The lines of the nearest calls that two values of one line differ in; 0 if there are none."""
    frames = zip(*(fault.node(i).spot.callers for i in (one, other)), strict=False)
    apart = ((a.line, b.line) for a, b in frames if a.line != b.line)
    return next(apart, (0, 0))


def _weights_between(fault: Fault, earlier: int, later: int) -> str:
    """The weights that a value has been met by since an earlier one, in words; empty if they are many."""
    new = fault.ancestors(later) - fault.ancestors(earlier) - {earlier}
    names = [fault.node(i).operation for i in sorted(new) if fault.node(i).kind is NodeKind.WEIGHT]
    return f" with {' and '.join(names)}" if 0 < len(names) <= MOST_NAMED else ""
