"""Weights of the entries of a loss, of classes or samples, that one side has and the other does not."""

from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.masks import fitting, is_mask
from parity.diagnose.origins import made_of
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import behind, of_a_loss, place_of, starts
from parity.report.kinds import CauseKind
from parity.trace.graph import Node, NodeKind
from parity.trace.vocabulary import SUMS

MOST_WEIGHTS = 8
"""Values of the reference that may be weights."""


def weighted_entries(fault: Fault) -> Iterator[Change]:
    """What the candidate adds up, times the reference's weights; or without its own."""
    if not of_a_loss(fault):
        return
    following = behind(fault, starts(fault))
    summed = [fault.node(i).inputs[0] for i in following if fault.node(i).operation in SUMS]
    summands = [i for i in dict.fromkeys(summed) if fault.value(i).dtype.kind == "f"]
    nodes = fault.reference.nodes
    for index in _weights(nodes)[:MOST_WEIGHTS]:
        line = nodes[index].spot.line
        what = f"the weights{f' of line {line}' if line else ''}"
        for summand in summands:
            for weights in fitting(nodes[index].array.astype(np.float64), fault.value(summand).shape):
                text = f"<reference> multiplies the entries of the loss by {what}, <candidate> adds them up "
                text += "as they are: use the same weights"
                places = (nodes[index].place,) if nodes[index].place.file else ()
                for value, how in _scaled(fault.value(summand) * weights, 1 / weights.mean()):
                    yield Change(
                        CauseKind.MISSING_TERM,
                        text + how,
                        {summand: value},
                        everywhere=True,
                        reference_places=places,
                        candidate_places=place_of(fault, summand),
                    )
    yield from _left_out(fault, following)


def _left_out(fault: Fault, following: Sequence[int]) -> Iterator[Change]:
    """The candidate's products with weights, which are no longer multiplied."""
    trained = _trained(fault.candidate.nodes)
    for index in following:
        node = fault.node(index)
        if node.operation not in ("mul", "mul_") or len(node.inputs) != 2:
            continue
        for weights, entries in (node.inputs, node.inputs[::-1]):
            fits = fault.value(entries).shape == fault.value(index).shape
            if not fits or not any(
                i not in trained and _may_weigh(fault.node(i)) for i in fault.rearranged_from(weights)
            ):
                continue
            text = "<candidate> multiplies the entries of the loss by weights"
            text += f" (line {node.spot.line})" if node.spot.line else ""
            text += ", <reference> does not: leave them out"
            mean = float(np.broadcast_to(fault.value(weights), fault.value(index).shape).mean())
            for value, how in _scaled(fault.value(entries), mean):
                yield Change(
                    CauseKind.EXTRA_TERM,
                    text + how,
                    {index: value},
                    everywhere=True,
                    candidate_places=place_of(fault, index),
                )


def _scaled(entries: Array, mean: float) -> Iterator[tuple[Array, str]]:
    """Entries that are divided by their number, and by the sum of their weights."""
    yield entries, ""
    yield entries * mean, ", in the divisor, too"


def _weights(nodes: Sequence[Node]) -> list[int]:
    """Nodes that no weight of the model goes into and whose numbers may weigh, each value once."""
    trained = _trained(nodes)
    found: list[int] = []
    for index, node in enumerate(nodes):
        if index in trained or not _may_weigh(node):
            continue
        if not any(np.array_equal(node.array, nodes[other].array) for other in found):
            found.append(index)
    return found


def _trained(nodes: Sequence[Node]) -> set[int]:
    """The weights of the model, and all that they go into."""
    return made_of(nodes, (i for i, node in enumerate(nodes) if node.kind is NodeKind.WEIGHT))


def _may_weigh(node: Node) -> bool:
    """Whether a value has different numbers, none below zero, and is no mask."""
    array = node.array
    if node.backward or array.dtype.kind != "f" or array.size < 2 or not np.isfinite(array).all():
        return False
    return bool(array.min() >= 0 and np.ptp(array) > 0 and not is_mask(array))
