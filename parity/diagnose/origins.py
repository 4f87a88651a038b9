"""What values depend on: nothing but constants, nothing but weights."""

from collections.abc import Iterable, Sequence

from parity.trace.graph import Node, NodeKind


def pure(nodes: Sequence[Node]) -> set[int]:
    """Nodes that depend on no input and no weight: constants and what is computed from them.

    Args:
        nodes: of a trace, producers first.

    Returns:
        Indices of nodes.
    """
    found: set[int] = set()
    for index, node in enumerate(nodes):
        if node.kind is NodeKind.CONSTANT or (
            node.kind is NodeKind.OPERATION and all(i in found for i in node.inputs)
        ):
            found.add(index)
    return found


def static(nodes: Sequence[Node]) -> set[int]:
    """Nodes that depend on weights and constants alone.

    Args:
        nodes: of a trace, producers first.

    Returns:
        Indices of nodes.
    """
    found: set[int] = set()
    for index, node in enumerate(nodes):
        if node.kind in (NodeKind.WEIGHT, NodeKind.CONSTANT) or (
            node.kind is NodeKind.OPERATION and node.inputs and all(i in found for i in node.inputs)
        ):
            found.add(index)
    return found


def made_of(nodes: Sequence[Node], sources: Iterable[int]) -> set[int]:
    """Nodes that some values go into, those values among them.

    Args:
        nodes: of a trace, producers first.
        sources: indices of the values.

    Returns:
        Indices of nodes.
    """
    found = set(sources)
    for index, node in enumerate(nodes):
        if not found.isdisjoint(node.inputs):
            found.add(index)
    return found


class Before:
    """Where a walk back ends: at every node up to an index."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __contains__(self, node: object) -> bool:
        return isinstance(node, int) and node <= self.index
