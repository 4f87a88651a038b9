"""Where a program that runs in a narrow dtype rounds the values that it computes, as its author wrote it.

Numbers alone do not tell: a softmax in bfloat16 is hardly further from the exact one than a softmax in
float32 whose result is rounded. What was written does. A value may be rounded where it is computed, or by a
cast before it is used; what only moves or selects entries comes before or after with the same result.
"""

import difflib
import math
from collections.abc import Collection, Mapping, Sequence

from parity.numerics.arrays import WIDTHS
from parity.trace.graph import Held, Node, NodeKind, Trace
from parity.trace.vocabulary import ACCUMULATING, CASTS, EXACT, SUMS

INSIDE_A_KERNEL = "kernel"
"""What is written of the dtype of a value inside a kernel, which the author did not choose."""


def narrower(dtype: str) -> frozenset[str]:
    """The dtypes to which a run in `dtype` rounds: itself if it is a narrow one, and all below float64.

    Args:
        dtype: name of a floating dtype.

    >>> sorted(narrower("float64")), sorted(narrower("bfloat16"))
    (['bfloat16', 'float16', 'float32'], ['bfloat16', 'float16'])
    """
    return frozenset(name for name, width in WIDTHS.items() if width < max(WIDTHS.get(dtype, 0), 4))


def rounded_in(trace: Trace, narrow: Collection[str]) -> dict[int, Held]:
    """In what precision a program holds every floating value that it computes.

    Args:
        trace: of one run; what counts are the dtypes in which the program was written.
        narrow: names of the dtypes to which a value is rounded.
    """
    read = {index for leaves in trace.outputs.values() for index in leaves.values()}
    uses: list[set[bool]] = [{False} if index in read else set() for index in range(len(trace.nodes))]
    for index in reversed(range(len(trace.nodes))):
        node = trace.nodes[index]
        if uses[index] and written_dtype(node) in narrow:
            uses[index] = {True}
        passed = uses[index] if _moves_alone(trace, node) and _floating(node) else {False}
        for producer in node.inputs:
            uses[producer] |= passed
    held: dict[int, Held] = {}
    for index, node in enumerate(trace.nodes):
        if node.kind is NodeKind.OPERATION and not _moves_alone(trace, node) and _floating(node):
            wide = written_dtype(node) not in narrow
            held[index] = Held(wide, frozenset(uses[index]), 1 if wide else _terms(trace, node))
    return held


def _moves_alone(trace: Trace, node: Node) -> bool:
    """Whether an operation only moves or selects entries, as a sum along axes of length one does."""
    return node.operation in EXACT or (node.operation in SUMS and _terms_of_sum(trace, node) == 1)


def _terms_of_sum(trace: Trace, node: Node) -> int:
    return max(1, _size(trace.nodes[node.inputs[0]]) // max(1, _size(node)))


def _terms(trace: Trace, node: Node) -> int:
    """How many terms an operation adds up in the dtype of its result, as it was written: on average."""
    if node.operation not in ACCUMULATING:
        return 1
    if node.operation in SUMS:
        return _terms_of_sum(trace, node)
    axis, window = node.params.get("axis"), node.params.get("window_dimensions")
    if isinstance(window, Sequence):
        return math.prod(map(int, window))
    if isinstance(axis, int):  # of a cumulative sum of LAX; that of PyTorch is a kernel, and has a `dim`
        return int(node.value.shape[axis])
    if len(node.inputs) == 3:  # updates that are scattered
        return max(1, _size(trace.nodes[node.inputs[2]]) // max(1, _size(node)))
    return 1


def _size(node: Node) -> int:
    return math.prod(map(int, node.value.shape))


def written_dtype(node: Node) -> str:
    """The name of a value's dtype in the program as it was written."""
    return node.written or str(node.value.dtype).removeprefix("torch.")


def _floating(node: Node) -> bool:
    return "float" in written_dtype(node)


def carried_over(rounded: Mapping[int, Held], written: Trace, lifted: Trace) -> dict[int, Held]:
    """What is known of the values of one trace, for the same values of another of the same program.

    Args:
        rounded: of the nodes of `written`.
        written: the program as it was written; it may have casts that the other has not.
        lifted: the program in float64; it may have inner values of operations that are fused in the other.
    """
    return {there: rounded[here] for here, there in same_operations(written, lifted) if here in rounded}


def same_operations(one: Trace, other: Trace) -> list[tuple[int, int]]:
    """The nodes of two traces of one program, in different dtypes, that are the same operation of it.

    Args:
        one: of a run; it may have casts that the other has not.
        other: of another run; it may have inner values of operations that are fused in the first.
    """
    here, there = _operations(one), _operations(other)
    keys = [[_key(trace.nodes[i]) for i in found] for trace, found in ((one, here), (other, there))]
    if keys[0] == keys[1]:
        return list(zip(here, there, strict=True))
    blocks = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks()
    return [(here[b.a + k], there[b.b + k]) for b in blocks for k in range(b.size)]


def _operations(trace: Trace) -> list[int]:
    return [
        index
        for index, node in enumerate(trace.nodes)
        if node.kind is NodeKind.OPERATION and node.operation not in CASTS
    ]


def _key(node: Node) -> tuple[str, tuple[int, ...], str, int, str]:
    return node.operation, tuple(node.value.shape), node.spot.file, node.spot.line, node.spot.module
