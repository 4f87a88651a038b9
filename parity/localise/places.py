"""The lines of code of a fault, on both sides, the one that is most to blame first."""

import dataclasses
import linecache
from collections.abc import Collection, Sequence

from parity.localise.comparison import Comparison, Region
from parity.report.results import CALLED, Place
from parity.trace.graph import Frame, NodeKind, Trace
from parity.trace.vocabulary import REARRANGING

MOST_CALLS = 2
"""Calls listed of a line that several calls lead to, the innermost ones."""

OPERANDS = 3
"""Lines that operands come from, listed after the lines of a fault itself."""


def reference_places(trace: Trace, region: Region) -> tuple[Place, ...]:
    """The operations of the reference at a fault.

    Args:
        trace: the reference's.
        region: the fault.
    """
    return _places(trace, region.reference_nodes, _hidden(region))


def candidate_places(comparison: Comparison, region: Region, joined: Sequence[int] = ()) -> tuple[Place, ...]:
    """The operations of the candidate at a fault, then the lines that their operands come from.

    Where the candidate lacks an operation, its value agrees with the one before it: then the fault lies
    between that value and what reads it, and the readers come first; not the projection of the outputs that
    stands in for a loss, which is the harness's own.

    Args:
        comparison: both traces.
        region: the fault.
        joined: nodes that are put together wrongly; the line that calls them all is the first place then.
    """
    trace = comparison.candidate
    readers = _readers(comparison, region)
    found = _found(comparison, region, readers)
    first = _calling(trace, joined) if joined else None
    if first is not None:
        return put_first((first,), found)
    return put_first(
        (*found[:1], *_calls(trace, found, (*readers, *region.candidate_nodes, region.j))), found[1:]
    )


def _calls(trace: Trace, found: Sequence[Place], nodes: Sequence[int]) -> tuple[Place, ...]:
    """The calls that lead to the first line of a fault, if other calls lead there as well."""
    first = {(place.file, place.line) for place in found[:1]}
    own = trace.nodes[next((i for i in nodes if trace.nodes[i].spot.at in first), nodes[-1])].spot
    stacks = {n.spot.callers for n in trace.nodes if n.spot.at == own.at}
    if len(stacks) < 2:
        return ()
    others = [stack for stack in stacks if stack != own.callers]
    here = own.file, own.line
    telling = [f for f in own.callers if f[:2] != here and not all(f in stack for stack in others)]
    return tuple(
        Place(CALLED, file=f.file, line=f.line, code=linecache.getline(f.file, f.line).strip())
        for f in telling[:MOST_CALLS]
    )


def put_first(first: Sequence[Place], found: Sequence[Place]) -> tuple[Place, ...]:
    """Places with those that tell most before the others, each line once.

    Args:
        first: those that tell most.
        found: the others.
    """
    lines = {(place.file, place.line) for place in first}
    return (*first, *[place for place in found if (place.file, place.line) not in lines])


def _calling(trace: Trace, joined: Sequence[int]) -> Place | None:
    """The line on which the innermost function that calls all of some nodes reaches the first of them."""
    own = trace.nodes[joined[0]].spot.stack
    stacks = [trace.nodes[i].spot.stack for i in joined if trace.nodes[i].spot.file]
    depth = min((_common(own, stack) for stack in stacks), default=-1)
    if depth < 0 or all(len(stack) <= depth + 1 for stack in [own, *stacks]):
        return None  # all in one function: its lines tell more
    return trace.nodes[joined[0]].called_from(own[depth])


def _common(own: Sequence[Frame], other: Sequence[Frame]) -> int:
    """The depth in a stack of the innermost call of a function that another stack is inside, too."""
    for depth, (a, b) in enumerate(zip(own, other, strict=False)):
        if (a.file, a.function) != (b.file, b.function):
            return depth - 1
        if a.line != b.line:
            return depth
    return min(len(own), len(other)) - 1


def _found(comparison: Comparison, region: Region, readers: Sequence[int]) -> tuple[Place, ...]:
    """The places that the operations themselves tell."""
    trace = comparison.candidate
    if readers:
        return _places(trace, readers, ()) + _places(trace, [region.j], ())
    found = _places(trace, region.candidate_nodes, _hidden(region))
    inside = set(region.candidate_nodes)
    operands = [
        i
        for index in region.candidate_nodes
        for i in trace.nodes[index].inputs
        if i not in inside and trace.nodes[i].kind is NodeKind.OPERATION and not trace.nodes[i].fixed
    ]
    lines = {(place.file, place.line) for place in found}
    others = [p for p in _places(trace, operands, ()) if (p.file, p.line) not in lines] if operands else []
    return found + tuple(others[:OPERANDS])


def _readers(comparison: Comparison, region: Region) -> list[int]:
    """What reads the value at a fault, where that is what the reference has before it goes on computing."""
    trace = comparison.candidate
    if not comparison.partners[region.j] or region.order or region.again:
        return []
    reading = [i for i, node in enumerate(trace.nodes) if region.j in node.inputs and not node.backward]
    told = [i for i in reading if trace.nodes[i].spot.file or trace.nodes[i].spot.module]
    readers = [i for i in told if i not in comparison.replaced]  # what was put right reads it no more
    return readers or [region.j]


def _hidden(region: Region) -> Collection[str]:
    """Operations that are not to blame: those that rearrange, unless the order is what differs."""
    return () if region.order else REARRANGING


def _places(trace: Trace, nodes: Sequence[int], hidden: Collection[str]) -> tuple[Place, ...]:
    """The places of some operations, each line once: first those where numbers are computed, in order.

    What is made of constants alone only feeds them, and comes after; indices (a range) come last.
    """
    computing = [i for i in nodes if trace.nodes[i].operation not in hidden] or list(nodes)
    of_data: set[int] = set()
    for index, node in enumerate(trace.nodes):
        if node.kind in (NodeKind.INPUT, NodeKind.WEIGHT) or not of_data.isdisjoint(node.inputs):
            of_data.add(index)
    computing.sort(key=lambda index: 0 if index in of_data else 1 if trace.nodes[index].floating else 2)
    found: dict[tuple[str, str, int, str], Place] = {}
    for index in [*computing, *nodes]:
        spot = trace.nodes[index].spot
        place = dataclasses.replace(trace.nodes[index].place, layer=trace.layers.get(spot.module, ""))
        found.setdefault((spot.module, spot.file, spot.line, spot.step), place)
    return tuple(found.values())
