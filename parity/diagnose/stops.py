"""Gradients that one side stops, with `detach`, `no_grad` or `stop_gradient`, and the other lets through."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.arrangements import arranged
from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.tolerances import SAME_NUMBER
from parity.diagnose.trials import Change
from parity.report.divergences import Place
from parity.report.kinds import CauseKind
from parity.trace.graph import Node, Trace
from parity.trace.vocabulary import MASKING, REARRANGING, names

ADDING = names("add add_ add_any")
"""Operations by which contributions to a gradient are added up."""

DIFFERENCES = names("sub rsub")
"""Operations by which a value is led past another one: `x + stop(y - x)`."""

FLAT = names("round floor ceil trunc sign round_nearest_even")
"""Functions without a derivative but zero: they stop a gradient as well."""

MAXIMA = names("reduce_max amax")
"""Maxima along axes: a softmax subtracts one, and stops the gradient there, as it has none in the end."""

MOSTLY = 0.5
"""Share of entries that are not zero in a gradient that one side stops; a tie or a bound touches fewer."""


def stopped(fault: Fault) -> Iterator[Change]:
    """A part of the backward pass that one side has and the other has not."""
    if not fault.gradient:
        return
    yield from _let_through(fault)
    yield from _held_back(fault)


def _let_through(fault: Fault) -> Iterator[Change]:
    """The candidate's backward pass without one of its values."""
    trace = fault.candidate
    text = "<reference> stops the gradient there, <candidate> lets it through: stop it there, too"
    for index in fault.computed():
        node = fault.node(index)
        if not node.backward or not node.floating or np.mean(fault.value(index) != 0) < MOSTLY:
            continue
        end = _before_it_is_added(fault, index)
        there = _stops_between(node.spot.at, trace.nodes[end].spot.at, fault.reference, fault.twins, trace)
        values = [k for stop in there for t in stop.inputs for k in reversed(fault.twins.get(t, []))]
        made = [trace.nodes[k] for k in values]
        where_read = any(_is_where_read(fault.reference, stop) for stop in there) or any(
            _is_read_on_several_lines(fault, k) for k in values
        )
        yield Change(
            CauseKind.GRADIENT_RULE,
            text,
            {index: np.zeros_like(fault.value(index))},
            reference_places=_places(there),
            candidate_places=_places([node, *made] if where_read else [*made, node]),
        )


def _before_it_is_added(fault: Fault, index: int) -> int:
    """The last value of the backward pass that depends on one alone, before other contributions are added."""
    alone = {index}
    for later in range(index + 1, len(fault.candidate.nodes)):
        given = [i for i in fault.node(later).inputs if fault.node(i).backward]
        if given and alone.issuperset(given):
            alone.add(later)
    return max(alone)


def _is_read_on_several_lines(fault: Fault, index: int) -> bool:
    """Whether stopping the gradient where a value is made would stop what other lines let through, too."""
    readers = (fault.node(k) for k in fault.consumers[index])
    lines = {node.spot.at for node in readers if not node.backward and node.spot.file}
    return len(lines - {fault.node(index).spot.at}) > 1  # its own line computes its derivative


def _is_where_read(trace: Trace, stop: Node) -> bool:
    """Whether a gradient is stopped on a line that reads the value, and not where the value is made."""
    return any(set(stop.inputs) & set(node.inputs) and node.spot.at == stop.spot.at for node in trace.nodes)


def _held_back(fault: Fault) -> Iterator[Change]:
    """The candidate's backward pass with what the reference alone adds to one of its values."""
    trace, region = fault.reference, fault.region
    text = "<candidate> stops the gradient there, <reference> lets it through: do not stop it"
    for index in (*region.reference_nodes, region.t):
        node = trace.nodes[index]
        if not node.backward or node.operation not in ADDING or len(node.inputs) != 2:
            continue
        for own, other in (node.inputs, reversed(node.inputs)):
            twins = [k for k in fault.twins.get(own, ()) if fault.node(k).backward]
            if not twins or other in fault.twins:
                continue
            before = trace.ancestors([other])
            way = [trace.nodes[i] for i in region.reference_nodes if i in before] or [trace.nodes[other]]
            partners = fault.comparison.partners
            stops = _stops_at(fault, way, trace.nodes[other].array) or _stops_between(
                way[0].spot.at, way[-1].spot.at, fault.candidate, partners, trace
            )
            for twin in twins:
                for value in arranged(node.array, fault.value(twin).shape):
                    yield Change(
                        CauseKind.GRADIENT_RULE,
                        text,
                        {twin: value},
                        reference_places=_places(way),
                        candidate_places=_places(stops),
                    )
    if not fault.target.actual.any():
        yield Change(
            CauseKind.GRADIENT_RULE,
            text,
            {fault.target.node: fault.target.wanted},
            candidate_places=stopping(fault)[1],
        )


def _stops_at(fault: Fault, way: Sequence[Node], lacking: Array) -> list[Node]:
    """The candidate's stops on a line that has the gradient that is lacking, or its negative, elsewhere.

    A difference gives both of its operands the same but for the sign. Where no line does, the stops at what
    the reference's operations read.
    """
    stops, partners = fault.candidate.stops, fault.comparison.partners
    sizes = np.sort(np.abs(lacking).reshape(-1))
    stopping_lines = {stop.spot.at for stop in stops}
    lines = {
        node.spot.at
        for index, node in enumerate(fault.candidate.nodes)
        if node.backward
        and node.floating
        and node.spot.at in stopping_lines
        and fault.value(index).size == sizes.size
        and np.allclose(np.sort(np.abs(fault.value(index)).reshape(-1)), sizes, SAME_NUMBER, 0.0)
    }
    read = {i for node in way for i in node.inputs if not fault.reference.nodes[i].backward}
    return [stop for stop in stops if stop.spot.at in lines] or [
        stop for stop in stops if any(not read.isdisjoint(partners.get(i, ())) for i in stop.inputs)
    ]


def stopped_elsewhere(fault: Fault) -> Iterator[Change]:
    """What is left to say where nothing that was tried explains a gradient that one side stops elsewhere.

    A value that depends on no weight has no gradient to stop. Where both sides have stops of their own, they
    may mean the same (`x + stop(y - x)` and `y + x - stop(x)`), unless each stops what the other computes.
    """
    if not fault.gradient:
        return
    of_reference, of_candidate = _stops_of_either(fault)
    there, here = _that_matter(fault.reference, of_reference), _that_matter(fault.candidate, of_candidate)
    partners, nodes = fault.comparison.partners, fault.reference.nodes
    known = _are_known(there, fault.twins, fault.reference) and _are_known(here, partners, fault.candidate)
    if there and here and known:
        text = f"<candidate> stops a gradient on line {here[0].spot.line}, "
        text += f"<reference> that of another value on line {there[0].spot.line}"
    elif there and not here:
        text = f"<reference> stops a gradient on line {there[0].spot.line} that <candidate> lets through"
    elif here and not there:
        text = f"<candidate> stops a gradient on line {here[0].spot.line} that <reference> lets through"
    else:
        return
    twins = [nodes[t] for stop in here for i in stop.inputs for t in partners.get(i, ())[:1]]
    yield Change(
        CauseKind.GRADIENT_RULE,
        text,
        {fault.target.node: fault.target.wanted},
        reference_places=_places(there or twins),
        candidate_places=_places(here or _read_by(fault, there)),
    )


def _are_known(stops: Iterable[Node], partners: Mapping[int, Sequence[int]], trace: Trace) -> bool:
    """Whether the other side computes what is stopped, and it is no difference, as in a straight-through."""
    stopped = [i for stop in stops for i in stop.inputs]
    return all(partners.get(i) and trace.nodes[i].operation not in DIFFERENCES for i in stopped)


def _that_matter(trace: Trace, stops: Iterable[Node]) -> list[Node]:
    """The stops on a line of the author's, at values that depend on weights."""
    weights = set(trace.weights.values())
    return [stop for stop in stops if stop.spot.line and weights & trace.ancestors(stop.inputs)]


def _read_by(fault: Fault, stops: Iterable[Node]) -> list[Node]:
    """The candidate's values of what the reference stops, or of what that is made of."""
    nodes, found = fault.reference.nodes, []
    for stop in stops:
        made = [*stop.inputs, *(i for t in stop.inputs for i in nodes[t].inputs)]
        found += [fault.node(k) for t in made for k in fault.twins.get(t, [])[-1:]]
    return found


def stopping(fault: Fault) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """The lines of the reference that stop a gradient where the candidate stops none, and the reverse."""
    of_reference, of_candidate = _stops_of_either(fault)
    return _places(of_reference), _places(of_candidate)


def _stops_of_either(fault: Fault) -> tuple[list[Node], list[Node]]:
    """The stops of the reference at values at which the candidate stops none, and the reverse."""
    there, here = fault.reference, fault.candidate
    return (
        _stops_of_one_side(there, fault.twins, here),
        _stops_of_one_side(here, fault.comparison.partners, there),
    )


def _stops_of_one_side(trace: Trace, partners: Mapping[int, Sequence[int]], other: Trace) -> list[Node]:
    """The stops at values at which the other side stops none, but for a softmax's own at its maximum."""
    stopped_there = {i for stop in other.stops for i in stop.inputs}
    return [
        stop
        for stop in _stops(trace)
        if stopped_there.isdisjoint(t for i in stop.inputs for t in partners.get(i, ()))
        and (
            any(trace.nodes[i].spot.at != stop.spot.at for i in stop.inputs)
            or not _is_where_read(trace, stop)
            or not any(_is_a_maximum(trace, i) for i in stop.inputs)
            or _cuts_off(trace, stop)
        )
    ]


def _is_a_maximum(trace: Trace, index: int) -> bool:
    """Whether a value is a maximum along axes, or that where it is finite."""
    node = trace.nodes[index]
    if node.operation in REARRANGING | MASKING:
        return any(_is_a_maximum(trace, i) for i in node.inputs)
    return node.operation in MAXIMA


def _cuts_off(trace: Trace, stop: Node) -> bool:
    """Whether a weight reaches the outputs through this line's stops alone; a library's own cut none off.

    A layer inside a scan is stopped once in each step, and its weights are in every step's.
    """
    places = {id(node): index for index, node in enumerate(trace.nodes)}
    line = [other for other in (stop, *trace.stops) if other.spot.at == stop.spot.at]
    at = {places.get(id(other), other.inputs[0]) for other in line}
    ends = [i for group in ("outputs", "loss") for i in trace.outputs.get(group, {}).values()]
    weights = set(trace.weights.values()) & trace.ancestors(sorted(at))
    return not weights <= trace.ancestors(ends, at)


def _stops(trace: Trace) -> list[Node]:
    """Where gradients are stopped, on purpose or by a flat function; each with the value it stands at."""
    flat = [
        dataclasses.replace(node, inputs=(index,))
        for index, node in enumerate(trace.nodes)
        if node.operation in FLAT and not node.backward
    ]
    return [*trace.stops, *flat]


def _stops_between(
    read: tuple[str, int],
    made: tuple[str, int],
    trace: Trace,
    partners: Mapping[int, Sequence[int]],
    other: Trace,
) -> list[Node]:
    """The stops of one side at values that the other reads on one line and computes by another; else its own.

    A library's own, such as that at the maximum of a softmax, are not: they are made and read on one line.

    Args:
        read: file and line of the other side's first operation whose gradient is there or not.
        made: the same of the last.
        trace: of the side that stops gradients.
        partners: its values -> those of the other side with the same numbers.
        other: the other side's trace.
    """
    readable = {i for node in other.nodes if not node.backward and node.spot.at == read for i in node.inputs}
    found = []
    for stop in _stops(trace):
        twins = {i for own in stop.inputs for i in partners.get(own, ()) if i in readable}
        if any(other.nodes[i].spot.at == made for i in (*twins, *other.ancestors(sorted(twins)))):
            found.append(stop)
    return found or _stops_of_one_side(trace, partners, other)


def _places(nodes: Iterable[Node]) -> tuple[Place, ...]:
    """The lines of some nodes, each once."""
    found: dict[tuple[str, int], Place] = {}
    for node in nodes:
        if node.spot.file:
            found.setdefault(node.spot.at, node.place)
    return tuple(found.values())
