"""How each weight is first used: when, by which operation, and which of its axes are summed over.

Names may say nothing and matrices may be square; the computation still says which tensor comes first and
which way it lies.
"""

from collections.abc import Sequence

from parity.trace.graph import Node, NodeKind, Trace
from parity.weights import Use

Axes = tuple[int | None, ...]
"""For each axis of an array the axis of the weight that it is; None for any other."""


def torch_uses(trace: Trace) -> dict[str, Use]:
    """First uses of the weights of a PyTorch trace.

    Args:
        trace: of a run.

    Returns:
        A use per weight that is used, by name.
    """
    axes: dict[int, tuple[str, Axes]] = {}
    uses: dict[str, Use] = {}
    for index, node in enumerate(trace.nodes):
        if node.kind is NodeKind.WEIGHT:
            axes[index] = node.operation, tuple(range(len(node.value.shape)))
        if node.kind is not NodeKind.OPERATION:
            continue
        if node.fixed and len(node.inputs) == 1 and node.inputs[0] in axes:
            name, before = axes[node.inputs[0]]
            axes[index] = name, _after(node, before, tuple(trace.nodes[node.inputs[0]].value.shape))
            continue
        for position, producer in enumerate(node.inputs):
            if producer in axes:
                name, now = axes[producer]
                if name not in uses:
                    uses[name] = Use(index, *_torch_use(node, position, now))
                uses[name] = uses[name]._replace(until=index)
    return uses


def _after(node: Node, axes: Axes, shape: tuple[int, ...]) -> Axes:
    """Where the axes of a weight lie after an operation that rearranges."""
    params, rank = node.params, len(axes)
    match node.operation:
        case "t":
            return tuple(reversed(axes))
        case "transpose":
            a, b = params.get("dim0", 0) % rank, params.get("dim1", 1) % rank
            swapped = list(axes)
            swapped[a], swapped[b] = swapped[b], swapped[a]
            return tuple(swapped)
        case "permute":
            return tuple(axes[d % rank] for d in params["dims"])
        case _:
            return regrouped(axes, shape, tuple(node.value.shape))


def regrouped(axes: Axes, before: Sequence[int], after: Sequence[int]) -> Axes:
    """Axes after a reshape: those kept whole are known, those merged or split are not.

    Args:
        axes: before the reshape.
        before: sizes before it.
        after: sizes after it.

    Returns:
        An entry per axis after the reshape.
    """
    found: list[int | None] = []
    i = 0
    left = [(n, a) for n, a in zip(before, axes, strict=True) if n != 1]
    for size in after:
        if size == 1:
            found.append(None)
        elif i < len(left) and left[i][0] == size:
            found.append(left[i][1])
            i += 1
        else:
            return tuple(None for _ in after)
    return tuple(found)


def _torch_use(node: Node, position: int, axes: Axes) -> tuple[str, tuple[int, ...]]:
    contracted: tuple[int | None, ...] = ()
    match node.operation:
        case "mm" | "bmm" | "mv" | "dot":
            axis = len(axes) - 1 if position == 0 else max(len(axes) - 2, 0)
            return "matmul", known_axes([axes[axis]] if axes else [])
        case "convolution":
            transposed = bool(node.params.get("transposed"))
            contracted = (axes[0],) if transposed else (axes[1], *axes[2:])
            return "conv", known_axes(contracted)
        case "embedding":
            return "gather", ()
        case "add" | "sub" | "mul" | "div":
            return {"sub": "add", "div": "mul"}.get(node.operation, node.operation), ()
        case _:
            return "other", ()


def known_axes(axes: Sequence[int | None]) -> tuple[int, ...]:
    """The axes that are still the weight's own, in order.

    Args:
        axes: some of an array's axes, None where one is no axis of the weight.
    """
    return tuple(sorted(axis for axis in axes if axis is not None))
