"""Operations that only one side has: left out on trial, or read off where PyTorch has one more."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.phrases import operations, settings
from parity.diagnose.trials import Change
from parity.trace.graph import Node

SCALING = frozenset({"mul", "div"})
MASKING = frozenset(
    {"select_n", "where", "masked_fill", "masked_fill_", "tril", "triu", "logical_and", "and"}
)
CHOOSING = frozenset(
    {"index", "index_select", "gather", "take", "select", "argmax", "argmin", "sort", "topk"}
)
ROUNDING = frozenset({"convert_element_type", "_to_copy", "round", "floor", "trunc", "reduce_precision"})
LAYOUT = frozenset({"transpose", "permute", "reshape", "view", "rev", "flip", "t", "swapaxes"})
KERNELS = frozenset({"conv_general_dilated"})
REPEATING = frozenset({"slice", "broadcast_in_dim", "expand", "squeeze"})
FUNCTIONS = frozenset(
    [
        "max",
        "relu",
        "relu_",
        "tanh",
        "logistic",
        "sigmoid",
        "erf",
        "erfc",
        "exp",
        "expm1",
        "log",
        "log1p",
        "sqrt",
        "rsqrt",
        "abs",
        "gelu",
        "silu",
        "softmax",
        "sin",
        "cos",
        "clamp",
        "clamp_min",
        "hardtanh",
        "pow",
        "integer_pow",
        "square",
    ]
)
GLUE = frozenset(
    [
        "reshape",
        "view",
        "broadcast_in_dim",
        "expand",
        "unsqueeze",
        "squeeze",
        "convert_element_type",
        "_to_copy",
        "clone",
        "t",
        "transpose",
        "_unsafe_view",
        "copy",
        "zeros_like",
        "ones_like",
        "scalar_tensor",
        "detach",
        "unsafe_split",
        "split",
    ]
)


def extra_operations(fault: Fault) -> Iterator[Change]:
    """What JAX computes at the fault, left out: an operation's result replaced by what went in."""
    order = list(fault.computed())
    sources = [*fault.inputs, *order]
    for index in order:
        value = fault.value(index)
        for source in reversed([i for i in sources if i < index]):
            before = fault.value(source)
            fits = before.shape == value.shape or before.size == value.size
            if not fits or before.dtype.kind != value.dtype.kind or np.array_equal(before, value):
                continue
            skipped = _between(fault, source, index)
            if not skipped:
                continue
            cause = name([fault.node(i) for i in skipped], missing=False, number=_by_number(fault, skipped))
            if (
                cause == "order"
                and fault.reaches(index, KERNELS, 4)
                and any(fault.node(i).operation == "rev" for i in skipped)
            ):
                cause = "flipped kernel"
            done = operations(fault.node(i) for i in skipped)
            text = f"<candidate> computes {done} there, which <reference> does not: leave it out"
            yield Change(cause, text, {index: before.reshape(value.shape)})


def _between(fault: Fault, source: int, end: int) -> list[int]:
    """Operations on the way from one value to another; empty if there is no way."""
    reached = {source}
    inside = set(fault.computed())
    for index in sorted(inside):
        if index <= end and any(i in reached for i in fault.node(index).inputs):
            reached.add(index)
    if end not in reached:
        return []
    needed = {end}
    for index in sorted(reached - {source}, reverse=True):
        if index in needed:
            needed.update(i for i in fault.node(index).inputs if i in reached and i != source)
    return sorted(i for i in needed if i in inside)


def _by_number(fault: Fault, nodes: list[int]) -> bool:
    """Whether all other operands of some operations are numbers."""
    inside = set(nodes)
    others = [i for n in nodes for i in fault.node(n).inputs if i not in inside]
    return any(i in fault.pure and fault.value(i).size == 1 for i in others)


def missing_operations(fault: Fault) -> Iterator[Change]:
    """What PyTorch computes and JAX does not: JAX's value agrees with another one of PyTorch's there."""
    j = fault.region.j
    if not fault.comparison.candidate_agrees(j) or not fault.region.settled:
        return
    lacking = [fault.reference.nodes[i] for i in fault.region.reference_nodes]
    lacking = [node for node in lacking if node.operation not in GLUE] or lacking
    if not lacking or len(lacking) > 12:
        return
    numbered = any(
        isinstance(v, int | float) and not isinstance(v, bool) for n in lacking for v in n.params.values()
    )
    cause = name(lacking, missing=True, number=numbered)
    text = (
        f"<reference> computes {', '.join(dict.fromkeys(map(settings, lacking)))} there, <candidate> does not"
    )
    yield Change(cause, text, {j: fault.region.value})


def name(nodes: list[Node], *, missing: bool, number: bool) -> str:
    """What it is called when some operations are there on one side only."""
    done = {node.operation for node in nodes}
    essential = done - GLUE or done
    integral = all(node.array.dtype.kind in "iub" for node in nodes)
    if essential & MASKING:
        return "mask"
    if essential & CHOOSING:
        return "selection"
    if essential <= {"roll"}:
        return "shift"
    if essential & {"repeat", "repeat_interleave", "tile"}:
        return "repeat"
    if integral and essential & {"clamp", "clamp_min", "min", "max", "remainder"}:
        return "selection"
    if essential <= SCALING and number:
        return "scale"
    if essential & {"constant_pad_nd", "pad", "reflection_pad2d", "reflection_pad1d", "replication_pad2d"}:
        return "padding"
    if essential <= ROUNDING:
        return "dtype"
    if essential <= LAYOUT or essential & {"rev", "flip"}:
        return "order"
    if essential <= REPEATING:
        return "broadcast"
    if essential <= FUNCTIONS | SCALING and essential & FUNCTIONS:
        return "activation"
    return "missing term" if missing else "extra term"
