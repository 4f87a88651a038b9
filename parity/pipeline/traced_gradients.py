"""The gradients in a trace under the names of the plan's tensors, where the other side has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.trace.graph import Evaluation, Node, NodeKind, Trace
from parity.trace.vocabulary import REPACKED
from parity.weights import Plan
from parity.weights.transfer import grouped


def under_tensor_names(trace: Trace, plan: Plan, moves: Sequence[float] = ()) -> list[float]:
    """Put the gradients of tensors in the place of those of leaves.

    Where one leaf is one tensor its gradient is the tensor's. Where a leaf holds several tensors (the layers
    of a scan, the gates of a cell), or a tensor goes to several leaves, the tensor's is computed from them.

    Args:
        trace: of the side that holds the leaves; changed.
        plan: from tensors to leaves.
        moves: how far noise moves each node.

    Returns:
        The same of all nodes, those that were added included.
    """
    gradients, found = trace.outputs.get("gradients", {}), {}
    moved = list(moves)
    by_leaf = grouped(plan.transfers, lambda t: t.leaf_path)
    for name, transfers in grouped(plan.transfers, lambda t: t.tensor_name).items():
        leaves = list(dict.fromkeys(t.leaf_path for t in transfers))
        if not gradients.keys() >= set(leaves):
            continue
        nodes = tuple(gradients[leaf] for leaf in leaves)
        # Axes in another order are found anyway; entries that run backwards or in an order of units are not.
        as_it_is = not transfers[0].flip and leaves[0] not in plan.orders
        if len(transfers) == len(by_leaf[leaves[0]]) == 1 and as_it_is:
            found[name] = nodes[0]
            continue
        found[name] = len(trace.nodes)
        _append(trace, nodes, plan._replace(transfers=tuple(transfers)), name, leaves)
        if moved:
            moved.append(max(moved[i] for i in nodes))
    if gradients:
        trace.outputs["gradients"] = found
    return moved


def _append(trace: Trace, nodes: tuple[int, ...], plan: Plan, name: str, leaves: Sequence[str]) -> None:
    """A node with the gradient of a tensor, computed from those of its leaves."""

    def function(values: Sequence[Any]) -> list[Any]:
        return [plan.adjoint(dict(zip(leaves, map(np.asarray, values), strict=True)))[name]]

    (value,) = function([trace.nodes[i].array for i in nodes])
    step = len(trace.evaluations) if trace.evaluations else -1
    if trace.evaluations:
        trace.evaluations.append(Evaluation(REPACKED, {}, nodes, (len(trace.nodes),), function))
    spot = trace.nodes[nodes[0]].spot
    trace.nodes.append(Node(REPACKED, NodeKind.OPERATION, nodes, value, spot, backward=True, step=step))
