"""Weights and inputs that one side reads and the other never does: often others stand in their place."""

from collections.abc import Iterator

from parity.trace.graph import Trace
from parity.weights import Plan

MOST_NAMED = 4
"""Weights that a sentence names."""


def never_read(plan: Plan, reference: Trace, candidate: Trace) -> Iterator[str]:
    """What is to be said of weights and inputs that the other side alone reads, in sentences.

    Args:
        plan: which weights belong together.
        reference: the reference's trace.
        candidate: the candidate's.
    """
    pairs = [(transfer.tensor_name, transfer.leaf_path) for transfer in plan.transfers]
    if plan.reversed:
        pairs = [(leaf, tensor) for tensor, leaf in pairs]
    sides = plan.sides.reference, plan.sides.candidate
    read = _read(reference), _read(candidate)
    for own, other in ((1, 0), (0, 1)):
        unread = sorted(
            {pair[own] for pair in pairs if pair[own] not in read[own] and pair[other] in read[other]}
        )
        if unread:
            named = ", ".join(unread[:MOST_NAMED]) + (", ..." if len(unread) > MOST_NAMED else "")
            yield f"{sides[own]} never reads {named}: does another weight stand in its place?"
    known = set(reference.inputs) & set(candidate.inputs)  # one side's trace may not hold the loss's targets
    inputs = _read_inputs(reference) & known, _read_inputs(candidate) & known
    for own, other in ((1, 0), (0, 1)):
        for name in sorted(inputs[other] - inputs[own]):
            yield f"{sides[own]} never reads the input {name}; {sides[other]} does"


def _read(trace: Trace) -> set[str]:
    """The weights that an output or the loss depends on."""
    behind = _behind(trace)
    return {name for name, index in trace.weights.items() if index in behind}


def _read_inputs(trace: Trace) -> set[str]:
    """The same of inputs."""
    behind = _behind(trace)
    return {name for name, index in trace.inputs.items() if index in behind}


def _behind(trace: Trace) -> set[int]:
    return trace.ancestors(
        [i for group in ("outputs", "loss") for i in trace.outputs.get(group, {}).values()]
    )
