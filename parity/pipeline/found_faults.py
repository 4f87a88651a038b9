"""What was found at a place as a divergence of the report, and the same fault met once more."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from parity.diagnose import Diagnosis
from parity.diagnose.trials import Change
from parity.localise import Comparison, Region, candidate_places, formulas, put_first, reference_places
from parity.report.results import Cause, CauseKind, Divergence, Growth, Kind, Place, Stage
from parity.trace.graph import NodeKind
from parity.trace.match import Summary, same_numbers
from parity.trace.vocabulary import MASKING, MOVING, SUMMING
from parity.weights.explaining import Explanation

MOST_MADE = 3
"""How many lines are listed on which operands are made."""

MOST_OF_A_MASK = 6
"""How many lines are listed on which a mask is made."""


def in_another_step(divergences: Sequence[Divergence], found: Sequence[Place]) -> int | None:
    """The divergence that already names these lines, in another step of a loop.

    Args:
        divergences: what is known.
        found: the places of another fault.
    """
    lines = [(place.file, place.line) for place in found]
    for index, divergence in enumerate(divergences):
        named = [(place.file, place.line) for place in divergence.candidate]
        other_steps = {p.step for p in divergence.candidate} != {p.step for p in found}
        if other_steps and lines and lines[0] in named:
            return index
    return None


def confirmed(divergence: Divergence, found: Diagnosis | None) -> Divergence:
    """A fault with the cause that holds in another step, too.

    In the first step, where a state is zero, much would explain it that explains no other.

    Args:
        divergence: the fault as it was found first.
        found: what the other step says.
    """
    known = divergence.cause
    if known is not None and found is not None and known.name is found.cause.name:
        return divergence
    return dataclasses.replace(divergence, cause=None if found is None else found.cause)


def again_in(divergence: Divergence, step: str) -> Divergence:
    """The same fault, met once more.

    Args:
        divergence: the fault.
        step: of the loop; "" outside of one.
    """
    if not step:  # outside of the loop, or no step is known
        return divergence
    again = f"also in {step}" if not divergence.detail else f"{divergence.detail}; {step}"
    return dataclasses.replace(divergence, detail=again)


def of_weight(name: str, partners: Sequence[str], why: Explanation) -> Divergence:
    """A weight that the user converted wrongly.

    Args:
        name: of the leaf.
        partners: its tensors.
        why: what is wrong with it.
    """
    cause = Cause(CauseKind(why.cause), why.text, 0.0) if why.cause else None
    places = tuple(Place("weight", partner) for partner in partners)
    detail = "" if cause else why.text
    return Divergence(Stage.WEIGHTS, places, (Place("weight", name),), detail=detail, cause=cause)


def divergence_at(
    comparison: Comparison, region: Region, stage: Stage, diagnosis: Diagnosis | None
) -> Divergence:
    """A fault with its places on both sides and its cause.

    Args:
        comparison: both traces.
        region: the fault.
        stage: in which it shows.
        diagnosis: its cause, if one was found.
    """
    tensor_shape = tuple(int(n) for n in comparison.reference.nodes[region.t].value.shape)
    leaf_shape = tuple(int(n) for n in comparison.candidate.nodes[region.j].value.shape)
    cause, change = diagnosis or (None, None)
    there = reference_places(comparison.reference, region)
    here = candidate_places(comparison, region, change.joined if change else ())
    if change is not None:
        there = put_first(change.reference_places, there)
        here = put_first(change.candidate_places or _changed(comparison, region, change), here)
        here = put_first(_read(comparison, change), here)
        here = put_first(here, _made(comparison, region, change))
        if change.cause is CauseKind.MASK:
            here = put_first(here, _masked_by(comparison, region))
    return Divergence(
        stage,
        there,
        here,
        Kind.ORDER if region.order else Kind.VALUE,
        f"alike in {len(region.js)} runs of this code" if len(region.js) > 1 else "",
        region.error,
        region.honest,
        (tensor_shape, leaf_shape),
        cause,
        formulas(comparison, region) if region.settled else None,
    )


def _changed(comparison: Comparison, region: Region, change: Change) -> tuple[Place, ...]:
    """The line of the operations and of the numbers that a cause says are others, if it is one."""
    trace = comparison.candidate
    found = [trace.nodes[trace.evaluations[number].outputs[0]].place for number in change.functions]
    if numbers := {i for i in change.values if trace.nodes[i].kind is NodeKind.CONSTANT}:
        inside = (*region.candidate_nodes, region.j)
        found += [trace.nodes[i].place for i in inside if not numbers.isdisjoint(trace.nodes[i].inputs)]
    one_line = len({(place.file, place.line) for place in found}) == 1 and bool(found[0].file)
    return tuple(found[:1]) if one_line and not change.joined else ()


def _read(comparison: Comparison, change: Change) -> tuple[Place, ...]:
    """The lines that read an input first which a cause says is another."""
    trace, readers = comparison.candidate, comparison.candidate.consumers()
    inputs = [i for i in change.values if trace.nodes[i].kind is NodeKind.INPUT]
    found: dict[tuple[str, int], Place] = {}
    for place in (trace.nodes[k].place for i in inputs for k in readers[i][:MOST_MADE]):
        if place.file:
            found.setdefault((place.file, place.line), place)
    return tuple(found.values())


def _made(comparison: Comparison, region: Region, change: Change) -> tuple[Place, ...]:
    """The lines on which operands that a cause says are others were made, or got their order."""
    trace, inside = comparison.candidate, {*region.candidate_nodes, region.j}
    found: dict[tuple[str, int], Place] = {}
    for index, value in change.values.items():
        moved = Summary(np.asarray(value), comparison.candidate_moves[index])
        if index in inside and not same_numbers(moved, comparison.summaries[index]):
            continue
        waiting = [index]
        for i in waiting:  # grows along one way
            node = trace.nodes[i]
            if node.kind is not NodeKind.OPERATION or len(found) == MOST_MADE:
                break
            if node.place.file and (i == index or node.operation in MOVING):
                found.setdefault((node.place.file, node.place.line), node.place)
            read = [k for k in node.inputs if trace.nodes[k].kind is not NodeKind.CONSTANT]
            same_size = [comparison.summaries[k].size == comparison.summaries[i].size for k in read]
            waiting += read if len(read) == 1 and (all(same_size) or node.operation in MOVING) else []
    return tuple(found.values())


def _masked_by(comparison: Comparison, region: Region) -> tuple[Place, ...]:
    """The lines on which the masks at a fault are made, the nearest first."""
    nodes, readers = comparison.candidate.nodes, comparison.candidate.consumers()
    near = [region.j, *readers[region.j]]
    near += [k for i in readers[region.j] for k in readers[i]]
    inside = [nodes[i] for i in (*region.candidate_nodes, *near)]
    waiting = [i for node in inside if node.operation in MASKING for i in node.inputs[:1]]
    waiting += [i for node in inside if node.operation in SUMMING for i in node.inputs if nodes[i].fixed]
    found: dict[tuple[str, int], Place] = {}
    for index in waiting:  # grows: breadth first
        place = nodes[index].place
        if place.file:
            found.setdefault((place.file, place.line), place)
        waiting += [i for i in nodes[index].inputs if i not in waiting]
        if len(found) == MOST_OF_A_MASK:
            break
    return tuple(found.values())


def growth_of(comparison: Comparison) -> Sequence[Growth]:
    """The difference at every operation that both sides have, in the order of computation.

    Args:
        comparison: both traces.
    """
    rows = []
    for index, node in enumerate(comparison.candidate.nodes):
        partners = comparison.partners[index]
        if node.kind is not NodeKind.OPERATION or node.fixed or not node.floating or not partners:
            continue
        held, other = comparison.summaries[index], comparison.matcher.summaries[partners[0]]
        scale = float(np.abs(other.ordered).max(initial=0.0))
        if held.size < 2 or not 0 < scale < 1e29:
            continue
        rows.append(
            Growth(
                Stage.GRADIENTS if node.backward else Stage.FORWARD,
                comparison.reference.nodes[partners[0]].place,
                node.place,
                float(np.abs(held.ordered - other.ordered).max(initial=0.0)) / scale,
                max(held.largest, other.largest) / scale,
                True,
            )
        )
    return rows
