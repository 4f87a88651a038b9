"""Masks: inverted, shifted, left out, or applied where the other side has none."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.arrangements import Move, arranged, rearrangements
from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.localise.comparison import Value
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind
from parity.trace.match import Summary
from parity.trace.vocabulary import COMPARISONS, MASKING, names

APPLYING = MASKING | names("mul mul_ add add_ sub div")
"""Operations by which a mask is applied."""

FILLS = (0.0, -np.inf, np.nan, float(np.finfo(np.float32).min), -1e9, -1e4)
"""What masked places are filled with."""


def masks(fault: Fault) -> Iterator[Change]:
    """Hypotheses on every mask that the candidate reads, and on masks that only the reference has."""
    yield from _whole(fault)
    for index in (*fault.inputs, *fault.constants, *fault.computed()):
        mask = fault.value(index)
        if mask.dtype.kind != "b" or mask.size < 2 or _is_of_a_function(fault, index):
            continue
        yield Change(
            CauseKind.MASK,
            "the mask is inverted in <candidate>: True and False mean the opposite there",
            {index: ~mask},
        )
        for how in rearrangements(mask):
            if how.move in (Move.ROLLED, Move.TRANSPOSED, Move.FLIPPED):
                yield Change(
                    CauseKind.MASK,
                    f"the mask is off in <candidate>: <reference> has it {how.text}",
                    {index: how.value},
                )
        for fill, meaning in (
            (True, "True everywhere: <candidate> applies it, <reference> does not"),
            (False, "False everywhere"),
        ):
            yield Change(CauseKind.MASK, f"the mask counts as {meaning}", {index: np.full_like(mask, fill)})
    yield from _applied(fault)
    yield from _of_numbers(fault)


def _of_numbers(fault: Fault) -> Iterator[Change]:
    """A constant of zeros and ones the other way round, and all that is made of it and other constants."""
    near = set(fault.constants)
    for index in fault.read_here:  # what is masked may agree with another value, and not be of the fault
        near.update(i for i in fault.node(index).inputs if i in fault.pure)
    made_of = {k for index in near for k in (index, *fault.ancestors(index))}
    for index in sorted(made_of):
        mask = fault.value(index)
        if fault.late:
            return
        if fault.node(index).kind is NodeKind.CONSTANT and mask.dtype.kind in "fiu" and is_mask(mask):
            new = fault.comparison.replay({index: 1 - mask}, until=fault.target.node)
            text = "the mask of 0 and 1 is inverted in <candidate>: what is 1 there is 0 in <reference>"
            kept = fault.pure.union(fault.inputs)
            yield Change(CauseKind.MASK, text, {i: value for i, value in new.items() if i in kept})


def _is_of_a_function(fault: Fault, index: int) -> bool:
    """Whether a condition chooses a branch of a function, as x > 0 in a leaky ReLU: that masks nothing."""
    node = fault.node(index)
    compared = [i for i in node.inputs if i not in fault.pure and fault.value(i).size > 1]
    if node.operation not in COMPARISONS or len(compared) != 1:
        return False

    def is_made_of_it(i: int) -> bool:
        return i in compared or not set(compared).isdisjoint(fault.node(i).inputs)

    readers = [fault.node(k) for k in fault.consumers[index]]
    return all(node.operation in MASKING and any(map(is_made_of_it, node.inputs[1:])) for node in readers)


def masks_of_several(fault: Fault) -> Iterator[Change]:
    """One condition too many: a mask made of two, of which the reference has one."""
    evaluations = fault.candidate.evaluations
    read = [
        i for i in (*fault.inputs, *fault.constants, *fault.computed()) if fault.value(i).dtype.kind == "b"
    ]
    for index in read:  # grows: what a mask is made of
        node = fault.node(index)
        if node.kind is not NodeKind.OPERATION or node.step < 0:
            continue
        conditions = [i for i in evaluations[node.step].inputs if fault.value(i).dtype.kind == "b"]
        read += [i for i in conditions if i not in read]
        if node.operation in ("and", "or") and len(conditions) == 2:
            for kept, left in ((0, 1), (1, 0)):
                line = fault.node(conditions[left]).spot.line
                yield Change(
                    CauseKind.MASK,
                    "<candidate> masks by one condition more than <reference>: leave it out"
                    + (f" (of line {line})" if line else ""),
                    functions={node.step: functools.partial(_one, kept)},
                    of_code=True,
                )


def _one(kept: int, given: Sequence[Value]) -> Sequence[Value]:
    return [given[kept]]


def _whole(fault: Fault) -> Iterator[Change]:
    """The faulty value is a mask itself."""
    for target in fault.targets:
        if target.wanted.dtype.kind != "b" or target.wanted.size < 4:
            continue
        wanted, actual = target.wanted, target.actual
        if np.array_equal(wanted, ~actual):
            yield Change(CauseKind.MASK, "the mask is inverted in <candidate>", {target.node: ~actual})
        here, there = _triangle(actual), _triangle(wanted)
        if here is not None and there is not None:
            text = f"the triangular mask reaches diagonal {here} in <candidate>"
            text += f" and {there} in <reference>: use {there}"
            yield Change(CauseKind.MASK, text, {target.node: wanted})
        if wanted.all() or not wanted.any():
            everywhere = bool(wanted.flat[0])
            text = f"<candidate> masks, <reference> does not: the mask is {everywhere} everywhere there"
            yield Change(CauseKind.MASK, text, {target.node: wanted})


def _triangle(mask: Array) -> int | None:
    """k, if the last two axes are a lower triangle up to diagonal k (or its complement)."""
    if mask.ndim < 2:
        return None
    rows, columns = mask.shape[-2:]
    for k in range(-rows, columns + 1):
        lower = np.tri(rows, columns, k, dtype=bool)
        if np.array_equal(np.broadcast_to(lower, mask.shape), mask):
            return k
        if np.array_equal(np.broadcast_to(~lower, mask.shape), mask):
            return k
    return None


def _applied(fault: Fault) -> Iterator[Change]:
    """A mask that only the reference applies: the candidate's value, filled where some mask is (not) set."""
    nodes, near = fault.reference.nodes, (*fault.reference_scope, *fault.reference_inputs)
    if not any(nodes[i].operation in APPLYING for i in near):
        return
    candidates = [i for i in near if is_mask(nodes[i].array)]
    own = [i for i in fault.candidate.inputs.values() if is_mask(fault.value(i))]
    for target in fault.targets:
        if target.wanted.dtype.kind != "f":
            continue
        arrays = [
            m for i in candidates for m in fitting(fault.reference.nodes[i].array != 0, target.wanted.shape)
        ]
        arrays += [m for i in own for m in fitting(fault.value(i) != 0, target.wanted.shape)]
        masked_behind = fault.reaches(target.node, MASKING, 2)
        for mask in arrays:
            if np.array_equal(mask, target.wanted):
                continue  # the value itself
            for kept in (mask, ~mask):
                for fill in FILLS:
                    value = np.where(kept, target.actual, fill)
                    if np.array_equal(value, target.actual):
                        continue
                    text = f"<reference> masks the value (the rest is {fill:g})"
                    text += ", <candidate> does not: apply the mask"
                    if masked_behind or np.any(target.actual[~kept] == fill):
                        text = f"<reference> masks more entries (with {fill:g}) than <candidate>: the masks "
                        text += "are not the same"
                    yield Change(CauseKind.MASK, text, {target.node: value})


def masked_states(fault: Fault) -> Iterator[Change]:
    """Values that the reference masks before they are read, wherever it does: a state that is reset."""
    values: dict[int, Array] = {}
    matcher = fault.comparison.matcher
    for index in sorted({*fault.inputs, *fault.computed()}):
        if fault.late or index > fault.target.node:
            break
        now = fault.compute(values)
        array = np.asarray(now.get(index, fault.value(index)))
        if array.dtype.kind != "f" or array.size < 2:
            continue
        partners = set(matcher.matches(array, Summary(array, fault.comparison.candidate_moves[index])))
        for t in fault.reference_scope:
            node = fault.reference.nodes[t]
            if node.operation not in MASKING or not partners & set(node.inputs):
                continue
            value = next(iter(fault.from_reference(t, array.shape)), array)
            if not np.array_equal(value, array):
                values[index] = value
    if values:
        looped = any(fault.node(index).spot.step for index in values)
        text = f"<reference> masks this value before it is read, in {len(values)} places here"
        text += ", <candidate> does not"
        yield Change(CauseKind.RECURRENCE if looped else CauseKind.MASK, text, values)


def is_mask(array: Array) -> bool:
    """Whether a value is a mask: truth values, or both zeros and ones and nothing else.

    Args:
        array: any value.
    """
    if array.dtype.kind == "b":
        return array.size > 1
    if array.size < 2 or array.dtype.kind not in "fiu":
        return False
    return bool(np.isin(array, (0, 1)).all() and 0 < np.count_nonzero(array) < array.size)


def fitting(mask: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """A mask in every way in which it broadcasts to a shape.

    Args:
        mask: truth values.
        shape: the shape that is wanted.

    Yields:
        The mask in this shape, the likeliest layout first; none if it does not fit.
    """
    if mask.size == int(np.prod(shape)):
        yield from arranged(mask, shape)
        return
    if mask.ndim <= len(shape):
        for start in range(len(shape) - mask.ndim + 1):
            aligned = mask.reshape([1] * start + list(mask.shape) + [1] * (len(shape) - start - mask.ndim))
            pairs: list[tuple[int, int]] = list(zip(aligned.shape, shape, strict=True))
            if all(size in (1, whole) for size, whole in pairs):
                yield np.broadcast_to(aligned, shape)
