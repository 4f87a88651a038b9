"""Where a program that runs in a narrow dtype rounds the values that it computes, as its author wrote it.

Numbers alone do not tell: a softmax in bfloat16 is hardly further from the exact one than a softmax in
float32 whose result is rounded. What was written does. A value may be rounded where it is computed, or by a
cast before it is used; what only moves or selects entries comes before or after with the same result.
"""

import difflib
from collections.abc import Collection, Mapping

from parity.numerics.arrays import WIDTHS
from parity.trace.graph import Held, Node, NodeKind, Trace
from parity.trace.vocabulary import CASTS, EXACT

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
        passed = uses[index] if node.operation in EXACT and _floating(node) else {False}
        for producer in node.inputs:
            uses[producer] |= passed
    return {
        index: Held(written_dtype(node) not in narrow, frozenset(uses[index]))
        for index, node in enumerate(trace.nodes)
        if node.kind is NodeKind.OPERATION and node.operation not in EXACT and _floating(node)
    }


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
    here, there = _operations(written), _operations(lifted)
    keys = [[_key(trace.nodes[i]) for i in found] for trace, found in ((written, here), (lifted, there))]
    if keys[0] == keys[1]:
        pairs = list(zip(here, there, strict=True))
    else:
        blocks = difflib.SequenceMatcher(None, keys[0], keys[1], autojunk=False).get_matching_blocks()
        pairs = [(here[b.a + k], there[b.b + k]) for b in blocks for k in range(b.size)]
    return {there: rounded[here] for here, there in pairs if here in rounded}


def _operations(trace: Trace) -> list[int]:
    return [
        index
        for index, node in enumerate(trace.nodes)
        if node.kind is NodeKind.OPERATION and node.operation not in CASTS
    ]


def _key(node: Node) -> tuple[str, tuple[int, ...], str, int, str]:
    return node.operation, tuple(node.value.shape), node.spot.file, node.spot.line, node.spot.module
