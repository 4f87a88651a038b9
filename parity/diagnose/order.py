"""The same numbers in another order: where each entry comes from on both sides, and how the orders differ.

Each side's value is written as a map from its entries to those of a value that goes in. Most maps are of one
of two kinds: along every axis by itself (a roll, a repetition, a border), or a reshape and a transpose.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.line_maps import Pattern, as_transpose, line_map
from parity.diagnose.targets import Array, Target, same
from parity.diagnose.tolerances import COPIES, SAME_ENTRIES, SAME_NUMBER
from parity.diagnose.trials import Change
from parity.numerics.complex_parts import widened
from parity.report.kinds import CauseKind

LARGEST = 200_000
"""Size up to which entries are traced to where they come from."""

MOST_SOURCES = 10
"""Values that go in by which both orders are described."""


UNORDERED = "the same numbers in another order"
"""What is said of an order that cannot be described."""


class Reordering(NamedTuple):
    """How two orders differ: the kind of cause, and the orders in words."""

    cause: CauseKind
    text: str


def order(fault: Fault) -> Iterator[Change]:
    """Both sides' values as rearrangements of one that goes in, or of each other."""
    for target in fault.targets:
        if not 2 < target.wanted.size <= LARGEST or target.wanted.dtype.kind == "b":
            continue
        nodes = fault.read_before(target.node)
        sources = [fault.value(i) for i in nodes if 1 < fault.value(i).size <= LARGEST]
        for source in [*sources[:MOST_SOURCES], target.actual]:
            wanted, actual = origin(target.wanted, source, target), origin(target.actual, source, target)
            if wanted is None or actual is None or np.array_equal(wanted, actual):
                continue
            why = compared(wanted, actual, source.shape, common=source is not target.actual)
            if why is not None:
                yield Change(why.cause, why.text, {target.node: source.reshape(-1)[wanted]})


def shifted(fault: Fault) -> Iterator[Change]:
    """One side's value is the other's moved on along an axis, with new entries at one end."""
    for target in fault.targets:
        wanted, actual = target.wanted, target.actual
        if wanted.dtype.kind != "f" or wanted.shape != actual.shape or wanted.size < 4:
            continue
        for axis, length in enumerate(wanted.shape):
            for step in range(1, (length + 1) // 2):
                late, early = (np.arange(step, length), np.arange(length - step))
                for here, there, word in ((late, early, "earlier"), (early, late, "later")):
                    a, b = np.take(actual, here, axis), np.take(wanted, there, axis)
                    if np.ptp(b) > 0 and same(a, b, target.allowed):
                        text = f"<candidate>'s entries along axis {axis} come {step} {word} in <reference>"
                        text += ": the ends differ, all others agree"
                        yield Change(CauseKind.SHIFT, text, {target.node: wanted})


def moved(fault: Fault, index: int, value: Array) -> str | None:
    """How a value with the same entries as an operand differs from it, in words; None for other entries.

    Args:
        fault: the fault.
        index: node of the operand.
        value: what the reference reads instead, in the operand's shape.
    """
    old = fault.value(index)
    if value.shape != old.shape or value.size > LARGEST or np.array_equal(value, old):
        return None
    if not same_entries(value, old):
        return None
    goal = fault.target._replace(allowed=SAME_ENTRIES * float(np.abs(old).max()))
    for source in fault.rearranged_from(index):
        array = fault.value(source)
        wanted, actual = origin(value, array, goal), origin(old, array, goal)
        if wanted is not None and actual is not None:
            why = compared(wanted, actual, array.shape)
            if why is not None:
                return why.text
    return UNORDERED


def same_entries(a: Array, b: Array) -> bool:
    """Whether two values hold the same numbers, up to rounding, in any order.

    Args:
        a: a value.
        b: one of the same size.
    """
    if a.dtype.kind == "f" and not np.isclose(np.abs(a).sum(), np.abs(b).sum(), rtol=SAME_NUMBER):
        return False  # quicker than sorting, and enough for most pairs
    first, second = np.sort(a, axis=None), np.sort(b, axis=None)
    if a.dtype.kind != "f":
        return np.array_equal(first, second)
    near = SAME_ENTRIES * float(np.abs(second).max(initial=0.0))
    return bool(np.allclose(first, second, rtol=SAME_NUMBER, atol=near))


def origin(value: Array, source: Array, target: Target) -> Array | None:
    """Where each entry of a value stands in another one.

    Args:
        value: the value.
        source: where its entries are looked for.
        target: says how far equal entries may lie apart.

    Returns:
        Positions in the flattened `source`, of the shape of `value`; None if an entry is nowhere, or if
        `source` holds a number twice.
    """
    if "c" in (source.dtype.kind, value.dtype.kind):
        return None  # complex numbers have no order to search in
    flat = widened(source.reshape(-1))
    if not np.isfinite(flat).all():
        return None
    ranks = np.argsort(flat, kind="stable")
    ordered = flat[ranks]
    near = COPIES * target.allowed
    if np.diff(ordered).min(initial=np.inf) <= 2 * near:
        return None
    wanted = widened(value)
    place = np.clip(np.searchsorted(ordered, wanted - near), 0, flat.size - 1)
    if not np.all(np.abs(ordered[place] - wanted) <= near):
        return None
    return np.asarray(ranks[place])


def compared(
    wanted: Array, actual: Array, shape: tuple[int, ...], *, common: bool = True
) -> Reordering | None:
    """How two maps into one value differ.

    Args:
        wanted: where each entry of the reference's value comes from, as `origin` gives it.
        actual: the same of the candidate's value.
        shape: of the value that both come from.
        common: whether it is a value that both sides rearrange, and not the candidate's value itself. Only
            of a common value can be said that one side shifts it more than the other.

    Returns:
        The kind of difference, and both maps in words; None for maps that cannot be described.
    """
    a, b = _along_axes(wanted, shape), _along_axes(actual, shape)
    if a is not None and b is not None:
        if [axis for axis, _ in a] == [axis for axis, _ in b]:
            maps = [
                (line_map(m, shape[i]), line_map(n, shape[i]), i)
                for i, ((_, m), (_, n)) in enumerate(zip(a, b, strict=True))
                if not np.array_equal(m, n)
            ]
            text = "; ".join(
                f"along axis {i} <reference>'s value is {p.text}, <candidate>'s {q.text}" for p, q, i in maps
            )
            return Reordering(_cause({m.pattern for p, q, _ in maps for m in (p, q)}, common=common), text)
        text = f"<reference> puts the axes in the order {_axes(a)}, <candidate> in {_axes(b)}"
        return Reordering(CauseKind.ORDER, f"{text} (of a value {'x'.join(map(str, shape))})")
    if (rows := _within_lengths(wanted, shape)) is not None:
        here = "; ".join(f"axis {i} {line_map(m, shape[i]).text}" for i, (_, m) in enumerate(b or []))
        return Reordering(CauseKind.ORDER, f"{rows}, <candidate>'s {here or 'in another order'}")
    there = as_transpose(wanted, shape)
    if there is None:
        return None
    here = as_transpose(actual, shape) or "another one"
    return Reordering(CauseKind.ORDER, f"<reference>'s order is {there}, <candidate>'s {here}")


def _within_lengths(flat: Array, shape: tuple[int, ...]) -> str | None:
    """In words: a value reversed along an axis up to a length that differs along another; else None."""
    if flat.shape != shape:
        return None
    coordinates = np.indices(shape)
    moved = np.unravel_index(flat, shape)
    changed = [axis for axis in range(len(shape)) if np.any(moved[axis] != coordinates[axis])]
    if len(changed) != 1:
        return None
    (axis,) = changed
    for other in range(len(shape)):
        if other == axis:
            continue
        rows = np.moveaxis(moved[axis], (other, axis), (0, 1)).reshape(shape[other], shape[axis], -1)
        if np.any(rows != rows[..., :1]):
            continue
        lengths = [_reversed_up_to(row) for row in rows[..., 0]]
        if all(length is not None for length in lengths) and len(set(lengths)) > 1:
            listed = ", ".join(map(str, lengths))
            return (
                f"<reference>'s value is reversed along axis {axis} only within lengths that differ along "
                f"axis {other} ({listed}), the rest as it was"
            )
    return None


def _reversed_up_to(line: Array) -> int | None:
    """How many entries at the front of a line are reversed, the rest as it was; None for another order."""
    length = int(line[0]) + 1
    expected = np.arange(line.size)
    expected[:length] = expected[:length][::-1]
    return length if np.array_equal(line, expected) else None


def _cause(patterns: Collection[Pattern], *, common: bool) -> CauseKind:
    """The kind of difference between two maps, given what either does along the axes where they differ."""
    if Pattern.PADDED in patterns:
        return CauseKind.PADDING
    if Pattern.REPEATED in patterns:
        return CauseKind.REPEAT
    if Pattern.ROLLED in patterns or Pattern.STRETCH in patterns:
        return CauseKind.SHIFT if common else CauseKind.ORDER
    if Pattern.STRIDED in patterns or Pattern.LISTED in patterns:
        return CauseKind.SELECTION
    return CauseKind.ORDER


def _axes(maps: list[tuple[int | None, Array]]) -> tuple[int, ...]:
    return tuple(
        int(i) for i in np.argsort([-1 if axis is None else axis for axis, _ in maps], kind="stable")
    )


def _along_axes(flat: Array, shape: tuple[int, ...]) -> list[tuple[int | None, Array]] | None:
    """Per axis of the source: the axis of the value that it follows, and the map along it."""
    coordinates = np.unravel_index(flat, shape)
    taken: set[int] = set()
    maps: list[tuple[int | None, Array]] = []
    for coordinate in coordinates:
        follows = [
            axis
            for axis in range(flat.ndim)
            if np.any(coordinate != np.take(coordinate, [0], axis)) and flat.shape[axis] > 1
        ]
        if len(follows) > 1:
            return None
        axis = follows[0] if follows else None
        if axis in taken:
            return None
        taken |= set(follows)
        line = (
            np.moveaxis(coordinate, axis, 0).reshape(flat.shape[axis], -1)[:, 0]
            if axis is not None
            else (coordinate.reshape(-1)[:1])
        )
        maps.append((axis, line))
    return maps
