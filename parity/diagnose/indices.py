"""Which entries are chosen: indices shifted or clipped, other ranks of a sort, first against last."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.masks import is_mask
from parity.diagnose.numbers import PICKING
from parity.diagnose.targets import Array, Target
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.vocabulary import COMPARISONS, names

MOST_RANKS = 64
"""Length of an axis up to which every position is tried."""


DIVISIONS: Mapping[str, Callable[[Array, Array], Array]] = {
    "the quotient rounded up": lambda over, by: np.ceil(over / by),
    "the quotient rounded down": lambda over, by: np.floor(over / by),
    "the quotient rounded towards zero": lambda over, by: np.trunc(over / by),
    "the quotient rounded to the nearest": lambda over, by: np.rint(over / by),
    "the remainder with the sign of the divisor": np.mod,
    "the remainder with the sign of the dividend": np.fmod,
}
"""What may be taken of two whole numbers that are divided."""


OF_A_DIVISION = names("rem sign ne lt and sub add select_n")
"""What `//` and `%` compute besides."""


def integers(fault: Fault) -> Iterator[Change]:
    """The faulty value, or one that is read there, is an index."""
    for target in fault.targets:
        whole = target.wanted.dtype.kind in "iu" and target.wanted.size > 1
        if whole and not _corrects_a_quotient(fault, target.node):
            yield from _quotients(fault, target.node)
            yield from _index(fault, target)
    for index in fault.computed():
        if fault.value(index).dtype.kind in "iu" and _leaves_a_division(fault, index):
            yield from _quotients(fault, index)
    for index in (*fault.inputs, *fault.constants, *fault.computed()):
        array = fault.value(index)
        if array.dtype.kind not in "iu" or array.size < 2 or _corrects_a_quotient(fault, index):
            continue
        compared = fault.reaches(index, COMPARISONS, 3) and not fault.reaches(index, PICKING, 6)
        if compared and _compares_otherwise(fault):
            continue
        for step in (-1, 1, 2, -2):
            text = f"indices are {-step:+d} off in <candidate>: add {step}"
            moved = (array.astype(np.int64) + step).astype(array.dtype)
            yield Change(CauseKind.MASK if compared else CauseKind.SHIFT, text, {index: moved})


def _corrects_a_quotient(fault: Fault, index: int) -> bool:
    """Whether a value is the quotient less one that `//` takes where it rounds the other way."""
    node = fault.node(index)
    return node.operation == "sub" and node.step >= 0 and fault.line(node.step) in fault.dividing_lines


def _compares_otherwise(fault: Fault) -> bool:
    """Whether the reference compares by another operation there, which one more or less would imitate."""
    here = {fault.operation(number) for number in fault.active} & COMPARISONS
    there = {fault.reference.nodes[i].operation for i in fault.reference_scope} & COMPARISONS
    return bool(there) and here != there


def _index(fault: Fault, target: Target) -> Iterator[Change]:
    wanted, actual = target.wanted.astype(np.int64), target.actual.astype(np.int64)
    step = np.unique(wanted - actual)
    if step.size == 1 and step[0]:
        text = f"indices are {int(-step[0]):+d} off in <candidate>: add {int(step[0])}"
        yield Change(CauseKind.SHIFT, text, {target.node: target.wanted})
        return
    yield from _counted(fault, target)
    clipped = np.clip(actual, wanted.min(), wanted.max())
    if not np.array_equal(clipped, actual):
        text = f"<reference> clips indices to {wanted.min()}..{wanted.max()}, <candidate> does not"
        yield Change(CauseKind.SELECTION, text, {target.node: clipped.astype(target.wanted.dtype)})
    for index in (*fault.inputs, *fault.computed()):
        array = fault.value(index)
        if array.dtype.kind not in "fiu" or index >= target.node:
            continue
        for axis in range(array.ndim):
            for name, found in _extremes(array, axis).items():
                if found.size == wanted.size and not np.array_equal(found.reshape(wanted.shape), actual):
                    text = f"<reference> takes {name} along axis {axis}"
                    text += ", <candidate> another of equal ones or the other end"
                    yield Change(CauseKind.SELECTION, text, {target.node: found.reshape(wanted.shape)})


def _leaves_a_division(fault: Fault, index: int) -> bool:
    """Whether a value is what comes of dividing whole numbers, and nothing on the way."""
    node = fault.node(index)
    if node.operation not in ("div", "rem", "select_n") or node.spot.at not in fault.dividing_lines:
        return False
    return any(fault.node(k).operation not in OF_A_DIVISION for k in fault.consumers[index])


def _quotients(fault: Fault, node: int) -> Iterator[Change]:
    """Whole numbers that are divided and rounded another way, or of which the remainder is taken."""
    like, lines = fault.value(node), fault.dividing_lines.intersection(map(fault.line, fault.active))
    for number, evaluation in enumerate(fault.candidate.evaluations if lines else ()):
        if evaluation.operation not in ("div", "rem") or fault.line(number) not in lines:
            continue
        over, by = (fault.value(i).astype(np.float64) for i in evaluation.inputs)
        has = "the quotient" if evaluation.operation == "div" else "the remainder"
        for what, compute in DIVISIONS.items():
            with np.errstate(all="ignore"):
                value = np.broadcast_to(compute(over, by), fault.value(evaluation.outputs[0]).shape)
            if value.shape != like.shape or not np.isfinite(value).all() or np.array_equal(value, like):
                continue
            text = f"<reference> takes {what}, <candidate> {has}"
            yield Change(CauseKind.SELECTION, text, {node: value.astype(like.dtype)})


def _counted(fault: Fault, target: Target) -> Iterator[Change]:
    """Positions that count the places where a mask is set, from some number on."""
    wanted = target.wanted.astype(np.int64)
    for index in (*fault.reference_scope, *fault.reference_inputs):
        array = fault.reference.nodes[index].array
        if not is_mask(array) or array.size != wanted.size:
            continue
        mask = (array != 0).astype(np.int64).reshape(wanted.shape)
        for axis in range(mask.ndim):
            count = np.cumsum(mask, axis)
            for start in range(-2, 4):
                for value, rest in (
                    (count * mask + start, "the others stay"),
                    (count + start, "the others too"),
                ):
                    text = f"<reference> counts the unmasked places along axis {axis}"
                    text += f" from {start + 1} ({rest}), <candidate> counts otherwise"
                    yield Change(CauseKind.SHIFT, text, {target.node: value})


def _extremes(array: Array, axis: int) -> Mapping[str, Array]:
    if not array.shape[axis]:
        return {}
    last = array.shape[axis] - 1
    flipped = np.flip(array, axis)
    return {
        "the first maximum": np.argmax(array, axis),
        "the last maximum": last - np.argmax(flipped, axis),
        "the first minimum": np.argmin(array, axis),
        "the last minimum": last - np.argmin(flipped, axis),
        "the order of a stable sort": np.argsort(array, axis, kind="stable"),
        "the order of a stable descending sort": np.argsort(-array, axis, kind="stable"),
    }


def chosen_entries(fault: Fault) -> Iterator[Change]:
    """The faulty value consists of entries of a larger matched one, chosen along an axis."""
    sources = [i for i in (*fault.inputs, *fault.computed()) if fault.value(i).dtype.kind == "f"]
    for target in fault.targets:
        if target.wanted.dtype.kind == "f" and target.wanted.size > 2:
            for index in sources:
                if index < target.node:
                    yield from _rows(fault.value(index), target)
    for node in fault.computed():
        array = fault.value(node)
        for index in sources:
            source = fault.value(index)
            for axis in range(source.ndim):
                length = source.shape[axis]
                if index >= node or length < 2 or length > MOST_RANKS or source.size != array.size * length:
                    continue
                ranked = bool(np.all(np.diff(source, axis=axis) >= 0))
                for rank in range(length):
                    value = np.take(source, rank, axis).reshape(array.shape)
                    if not np.array_equal(value, array):
                        what = "number" if not ranked else "smallest, number"
                        text = f"<reference> takes the entry {what} {rank} (from 0) of {length}"
                        text += f" along axis {axis}, <candidate> another or a mixture"
                        yield Change(CauseKind.SELECTION, text, {node: value})


def _rows(source: Array, target: Target) -> Iterator[Change]:
    """Along one axis each row of the target stands somewhere in the source."""
    wanted = target.wanted
    for axis in range(source.ndim):
        length = source.shape[axis]
        if length < 2 or source.size // length != wanted.size or source.size > 10**6:
            continue
        rest = [n for i, n in enumerate(source.shape) if i != axis]
        goal = np.expand_dims(wanted.reshape(rest), axis)
        near = np.abs(source - goal) <= target.allowed
        if not near.any(axis).all() or wanted.std() == 0:
            continue
        chosen = near.argmax(axis)
        actual = np.abs(source - np.expand_dims(target.actual.reshape(rest), axis)) <= target.allowed
        other = _short(actual.argmax(axis)) if actual.any(axis).all() else "other numbers"
        text = f"<reference> takes the positions {_short(chosen)} along axis {axis}, <candidate> {other}"
        if np.ptp(chosen) == 0:
            text = f"<reference> takes the entry {chosen.flat[0]} (from 0) along axis {axis}, "
            text += "<candidate> others or a mixture"
        value = np.take_along_axis(source, np.expand_dims(chosen, axis), axis).reshape(wanted.shape)
        yield Change(CauseKind.SELECTION, text, {target.node: value})


def _short(chosen: Array) -> str:
    """Positions, one per row where they do not vary inside a row."""
    flat = chosen.reshape(len(chosen), -1) if chosen.ndim else chosen.reshape(1, 1)
    rows = flat[:, 0] if np.all(flat == flat[:, :1]) else flat.reshape(-1)
    return f"{rows[:6].tolist()}{'...' if rows.size > 6 else ''}".replace("[", "").replace("]", "")
