"""Weights that one side reads and the other never does: often another one stands in their place."""

from collections.abc import Iterator

from parity.trace.graph import Trace
from parity.weights import Plan

MOST_NAMED = 4
"""Weights that a sentence names."""


def never_read(plan: Plan, reference: Trace, candidate: Trace) -> Iterator[str]:
    """What is to be said of weights that have a partner and no use, a sentence for each side that has any.

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


def _read(trace: Trace) -> set[str]:
    """The weights that an output or the loss depends on."""
    ends = [i for group in ("outputs", "loss") for i in trace.outputs.get(group, {}).values()]
    behind = trace.ancestors(ends)
    return {name for name, index in trace.weights.items() if index in behind}
