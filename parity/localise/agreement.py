"""How much of one computation another one has: by this a weight plan is chosen among several."""

import functools
from collections.abc import Callable

import numpy as np

from parity.numerics.complex_parts import real_parts
from parity.trace.graph import Node, NodeKind, Trace
from parity.trace.match import Matcher, Summary, same_value

ASSUMED_MOVE = 1e-11
"""How far noise moves a value relative to its largest entry, where that was not measured: above the rounding
of float64 in a deep network, and far below any fault."""

SHORT_OF_ALL = 0.99
"""The most that values inside can earn where an output differs."""


def agreement(reference: Trace) -> Callable[[Trace], float]:
    """How much of the reference's computation a candidate has.

    Args:
        reference: the reference's trace.

    Returns:
        A function from a candidate's trace to a number from 0 to 1, where 1 says that all outputs agree.
        Counted are values of more than one entry that depend on more than weights.
    """

    @functools.cache
    def matcher() -> Matcher:  # expensive, and not needed where the outputs agree
        return Matcher(reference, [assumed_move(node) for node in reference.nodes])

    def summary(node: Node) -> Summary:
        return Summary(node.array, assumed_move(node))

    def agree(t: Node, j: Node) -> bool:
        return same_value(t.array, summary(t), j.array, summary(j))

    def of(candidate: Trace) -> float:
        wanted = reference.outputs["outputs"]
        outputs = candidate.outputs.get("outputs", {})
        pairs = [(wanted.get(name), candidate.nodes[index]) for name, index in outputs.items()]
        if pairs and all(t is not None and agree(reference.nodes[t], j) for t, j in pairs):
            return 1.0
        judged = found = 0
        for node in candidate.nodes:
            if node.kind is NodeKind.OPERATION and not node.fixed and node.floating and node.array.size > 1:
                judged += 1
                found += bool(matcher().same_numbers(summary(node)))
        return SHORT_OF_ALL * found / max(1, judged)

    return of


def assumed_move(node: Node) -> float:
    """A move that covers rounding, where none was measured.

    Args:
        node: a value of a trace.

    Returns:
        How far noise may move its entries.
    """
    array = real_parts(node.array)
    if not node.floating:
        return 0.0
    return ASSUMED_MOVE * float(np.nanmax(np.abs(array[np.isfinite(array)]), initial=0.0))
