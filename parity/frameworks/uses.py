"""How each weight is first used: when, by which operation, and which of its axes are summed over.

Names may say nothing and matrices may be square; the computation still says which tensor comes first and
which way it lies.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parity.frameworks.jax import jaxpr_walk
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
            return "matmul", _known([axes[axis]] if axes else [])
        case "convolution":
            transposed = bool(node.params.get("transposed"))
            contracted = (axes[0],) if transposed else (axes[1], *axes[2:])
            return "conv", _known(contracted)
        case "embedding":
            return "gather", ()
        case "add" | "sub" | "mul" | "div":
            return {"sub": "add", "div": "mul"}.get(node.operation, node.operation), ()
        case _:
            return "other", ()


def _known(axes: Sequence[int | None]) -> tuple[int, ...]:
    return tuple(sorted(axis for axis in axes if axis is not None))


def jax_uses(closed: Any, names: Sequence[str | None]) -> dict[str, Use]:
    """First uses of the weights of a traced JAX program, by path.

    Args:
        closed: the jaxpr.
        names: path of each argument that is a weight, None for the others.
    """
    uses: dict[str, Use] = {}
    counter = iter(range(1 << 62))
    arguments = [
        (name, tuple(range(len(v.aval.shape)))) if name is not None else None
        for name, v in zip(names, closed.jaxpr.invars, strict=True)
    ]
    _visit(closed.jaxpr, arguments, uses, counter)
    return uses


Labelled = tuple[str, Axes] | None


def _visit(
    jaxpr: Any, arguments: Sequence[Labelled], uses: dict[str, Use], counter: Iterator[int]
) -> list[Labelled]:
    env: dict[Any, Labelled] = dict(zip(jaxpr.invars, arguments, strict=True))
    for eqn in jaxpr.eqns:
        given = [None if hasattr(v, "val") else env.get(v) for v in eqn.invars]
        name, params = eqn.primitive.name, eqn.params
        position = next(counter)
        inner = jaxpr_walk.callee(eqn)
        if inner is not None:
            body = getattr(inner, "jaxpr", inner)
            env.update(zip(eqn.outvars, _visit(body, given, uses, counter), strict=True))
            continue
        if name == "scan":
            start = params["num_consts"] + params["num_carry"]
            rows = [g if i < start or g is None else (g[0], g[1][1:]) for i, g in enumerate(given)]
            _visit(params["jaxpr"].jaxpr, rows, uses, counter)
            continue
        if name == "while":
            _visit(params["body_jaxpr"].jaxpr, given[params["cond_nconsts"] :], uses, counter)
            continue
        if name == "cond":
            _visit(params["branches"][0].jaxpr, given[1:], uses, counter)
            continue
        kept = _rearranged(eqn, given)
        if kept is not None:
            env[eqn.outvars[0]] = kept
            continue
        for index, held in enumerate(given):
            if held is not None and held[0] not in uses:
                uses[held[0]] = Use(position, *_jax_use(name, params, index, held[1]))
    return [None if hasattr(v, "val") else env.get(v) for v in jaxpr.outvars]


def _rearranged(eqn: Any, given: Sequence[Labelled]) -> Labelled:
    """The weight with its axes after an equation that only rearranges it, or None."""
    held = given[0] if given else None
    if held is None or len(eqn.invars) != 1:
        return None
    name, axes = held
    shape, after = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    match eqn.primitive.name:
        case "transpose":
            return name, tuple(axes[i] for i in eqn.params["permutation"])
        case "broadcast_in_dim":
            moved: list[int | None] = [None] * len(after)
            for axis, target in zip(axes, eqn.params["broadcast_dimensions"], strict=True):
                moved[target] = axis
            return name, tuple(moved)
        case "convert_element_type" | "copy" | "copy_p" | "stop_gradient" | "rev":
            return name, axes
        case "reshape" | "squeeze" | "expand_dims":
            return name, regrouped(axes, shape, after)
        case _:
            return None


def _jax_use(name: str, params: Mapping[str, Any], index: int, axes: Axes) -> tuple[str, tuple[int, ...]]:
    match name:
        case "dot_general":
            return "matmul", _known([axes[i] for i in params["dimension_numbers"][0][index]])
        case "conv_general_dilated":
            spec = params["dimension_numbers"].rhs_spec
            return "conv", _known([axes[i] for i in spec[1:]])
        case "gather" | "dynamic_slice":
            return "gather", ()
        case "add" | "sub" | "mul" | "div":
            return {"sub": "add", "div": "mul"}.get(name, name), ()
        case _:
            return "other", ()
