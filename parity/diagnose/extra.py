"""Operations that only one side has: left out on trial, or read off where the reference has one more."""

import time
from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import DEPTHS, Fault
from parity.diagnose.naming import of_reference
from parity.diagnose.numbers import is_number, single_numbers
from parity.diagnose.phrases import operations, settings
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import Node, NodeKind
from parity.trace.vocabulary import (
    BOUNDING,
    CHOOSING,
    CONVOLUTIONS,
    FITTING,
    MASKING,
    PADDING,
    PARTS,
    ROUNDING,
    TILING,
    names,
)

SCALING = names("mul div")
MASKS = MASKING | names("tril triu logical_and bitwise_and and")
ORDERING = names("transpose permute reshape view rev flip t swapaxes")
BROADCASTING = names("slice broadcast_in_dim expand squeeze")
FUNCTIONS = names("""
    max relu relu_ tanh logistic sigmoid erf erfc exp expm1 log log1p sqrt rsqrt abs gelu silu softmax sin cos
    clamp clamp_min hardtanh pow integer_pow square
""")
LOOKING_UP = names("embedding")
"""Operations that look tokens up: who lacks one has something else in its place."""

OTHER_WAY_ROUND = {"sub": "subtracts this from", "div": "divides"}
"""The same of two that do it where the value of the candidate is the second."""

WITH_ANOTHER = {
    "minimum": "takes the smaller of this and",
    "maximum": "takes the larger of this and",
    "min": "takes the smaller of this and",
    "max": "takes the larger of this and",
    "add": "adds",
    "sub": "subtracts",
    "mul": "multiplies by",
    "div": "divides by",
    "pow": "takes a power with",
    "atan2": "takes the angle with",
    "logaddexp": "takes the logarithm of the sum of exponentials of this and",
}
"""What an operation of two values does, in words."""

SECONDS_BEHIND = 1.0
"""CPU time, in seconds, after which nothing behind the faulty value is left out any more."""

MOST_LEFT_OUT = 6
"""Different operations that may be too many at once: a longer list names no cause."""

GLUE = FITTING | names(
    "t transpose zeros_like ones_like scalar_tensor detach stop_gradient unsafe_split split"
)
"""Operations that are there only to fit what others compute."""


def extra_operations(fault: Fault) -> Iterator[Change]:
    """What the candidate computes at the fault, left out: a result replaced by what went in."""
    order = sorted(fault.computed())
    sources = [*fault.inputs, *order]
    deadline = time.process_time() + SECONDS_BEHIND
    for index in order:
        if index > fault.region.j and time.process_time() > deadline:
            return
        value = fault.value(index)
        for source in reversed([i for i in sources if i < index]):
            before = fault.value(source)
            fits = before.shape == value.shape or before.size == value.size
            if not fits or before.dtype.kind != value.dtype.kind or np.array_equal(before, value):
                continue
            skipped = _between(fault, source, index)
            if not skipped or _needed_in_another_step(fault, source, index):
                continue
            nodes = [fault.node(i) for i in skipped]
            if len({node.operation for node in nodes} - GLUE) > MOST_LEFT_OUT:
                continue
            cause = cause_of(nodes, missing=False, number=_by_number(fault, skipped))
            flips = any(node.operation == "rev" for node in nodes)
            if cause is CauseKind.ORDER and flips and fault.reaches(index, CONVOLUTIONS, 4):
                cause = CauseKind.FLIPPED_KERNEL
            text = f"<candidate> computes {operations(nodes)} there, which <reference> does not: leave it out"
            told = [node.place for node in nodes if node.operation not in GLUE]
            elsewhere = () if set(skipped) & set(fault.region.candidate_nodes) else tuple(told[:1])
            yield Change(cause, text, {index: before.reshape(value.shape)}, candidate_places=elsewhere)


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


def _needed_in_another_step(fault: Fault, source: int, end: int) -> bool:
    """Whether in another step of the loop the later value agrees and is not the earlier one."""
    ends, sources = fault.in_all_steps(end), fault.in_all_steps(source)
    behind = ends.index(end) - sources.index(source)
    pairs = zip(ends[max(behind, 0) :], sources[max(-behind, 0) :], strict=False)
    return len(sources) > 1 and any(
        fault.comparison.partners[i] and not np.array_equal(fault.value(i), fault.value(s)) for i, s in pairs
    )


def _by_number(fault: Fault, nodes: list[int]) -> bool:
    """Whether all other operands of some operations are numbers."""
    inside = set(nodes)
    others = [i for n in nodes for i in fault.node(n).inputs if i not in inside]
    return any(i in fault.pure and fault.value(i).size == 1 for i in others)


def _lags(fault: Fault) -> bool:
    """Whether the candidate's value is one that the reference has, too, before it goes on computing."""
    region = fault.region
    return region.settled and not region.again and fault.comparison.candidate_agrees(region.j)


def missing_step(fault: Fault) -> Iterator[Change]:
    """One operation of two values that the reference alone computes: the candidate's is one of the two."""
    j = fault.region.j
    if not _lags(fault):
        return
    nodes, pure = fault.reference.nodes, fault.reference_pure
    lacking = [i for i in fault.region.reference_nodes if nodes[i].operation not in GLUE and i not in pure]
    if len(lacking) != 1:
        return
    step = nodes[lacking[0]]
    does = WITH_ANOTHER.get(step.operation.strip("_"))
    own = fault.comparison.partners.get(j, ())
    others = [i for i in step.inputs if i not in own]
    if step.inputs and step.inputs[-1] in own:
        does = OTHER_WAY_ROUND.get(step.operation.strip("_"), does)
    if does is None or len(step.inputs) != 2 or len(others) != 1:
        return
    name = of_reference(fault, others[0])
    if others[0] in pure:  # a number is for other hypotheses
        if np.unique(nodes[others[0]].array).size < 2:
            return
        name = _of_table(nodes[others[0]].array)
    text = f"<reference> {does} {name} there, <candidate> does not"
    yield Change(CauseKind.MISSING_TERM, text, {j: fault.region.value})


def _of_table(array: Array) -> str:
    """What an array of constants is called."""
    square = array.ndim == 2 and array.shape[0] == array.shape[1]
    what = "the identity matrix" if square and np.array_equal(array, np.eye(len(array))) else "a constant"
    return f"{what} of shape {array.shape}"


def missing_operations(fault: Fault) -> Iterator[Change]:
    """What the reference computes and the candidate does not: its value agrees with one before that.

    Where the reference picks a part, the candidate's agrees with the whole or with another part by its
    nature: what chooses it is looked for first, further up.
    """
    j = fault.region.j
    if not _lags(fault):
        return
    nodes = [fault.reference.nodes[i] for i in fault.region.reference_nodes]
    lacking = [node for node in nodes if node.operation not in GLUE] or nodes
    done_by = {node.operation for node in lacking}
    if not lacking or len(lacking) > 12 or done_by <= FITTING or done_by & LOOKING_UP:
        return
    weights = _weights(fault)
    if fault.depth < DEPTHS[-1] and (weights or any(node.operation in PARTS for node in nodes)):
        return
    given = [[*filter(is_number, node.params.values()), *single_numbers(fault, node)] for node in lacking]
    cause = cause_of(lacking, missing=True, number=any(given))
    done = dict.fromkeys(settings(node, single_numbers(fault, node)) for node in lacking)
    with_weights = f" with {', '.join(weights)}" if weights else ""
    text = f"<reference> computes {', '.join(done)}{with_weights} there, <candidate> does not"
    yield Change(cause, text, {j: fault.region.value})


def _weights(fault: Fault) -> list[str]:
    """Names of the weights that the reference's operations at the fault read."""
    nodes = fault.reference.nodes
    names: dict[str, None] = {}
    waiting = [i for n in fault.region.reference_nodes for i in nodes[n].inputs]
    for index in waiting:  # grows by what a rearranged weight is made of
        if nodes[index].kind is NodeKind.WEIGHT:
            names[nodes[index].operation] = None
        elif nodes[index].fixed:
            waiting += nodes[index].inputs
    return list(names)


def cause_of(nodes: list[Node], *, missing: bool, number: bool) -> CauseKind:
    """The kind of fault when some operations are there on one side only.

    Args:
        nodes: the operations.
        missing: whether the candidate lacks them.
        number: whether a number is among their operands or settings.
    """
    done = {node.operation for node in nodes}
    essential = done - GLUE or done
    integral = all(node.array.dtype.kind in "iub" for node in nodes)
    if essential & MASKS:
        return CauseKind.MASK
    if essential & CHOOSING or essential <= PARTS - BROADCASTING:
        return CauseKind.SELECTION
    if essential <= {"roll"}:
        return CauseKind.SHIFT
    if essential & TILING:
        return CauseKind.REPEAT
    if integral and essential & BOUNDING:
        return CauseKind.SELECTION
    if essential <= SCALING and number:
        return CauseKind.SCALE
    if essential & PADDING:
        return CauseKind.PADDING
    if essential <= ROUNDING:
        return CauseKind.DTYPE
    if essential <= ORDERING or essential & {"rev", "flip"}:
        return CauseKind.ORDER
    if essential <= BROADCASTING:
        return CauseKind.BROADCAST
    if essential <= FUNCTIONS | SCALING and essential & FUNCTIONS:
        return CauseKind.ACTIVATION
    return CauseKind.MISSING_TERM if missing else CauseKind.EXTRA_TERM
