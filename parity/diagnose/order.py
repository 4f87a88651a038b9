"""The same numbers in another order: where each entry comes from on both sides, and how the orders differ.

Each side's value is written as a map from its entries to those of a value that goes in. Most maps are of one
of two kinds: along every axis by itself (a roll, a repetition, a border), or a reshape and a transpose.
"""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array, Target, same
from parity.diagnose.trials import Change

LARGEST = 200_000
"""Size up to which entries are traced to where they come from."""


def order(fault: Fault) -> Iterator[Change]:
    """Both sides' values as rearrangements of one that goes in, or of each other."""
    for target in fault.targets:
        if not 2 < target.wanted.size <= LARGEST or target.wanted.dtype.kind == "b":
            continue
        near = [i for i in (*reversed(fault.inputs), *fault.computed()) if i < target.node]
        nodes = dict.fromkeys(k for i in near for k in fault.rearranged_from(i))
        sources = [fault.value(i) for i in nodes if 1 < fault.value(i).size <= LARGEST]
        for source in [*sources[:10], target.actual]:
            theirs, ours = origin(target.wanted, source, target), origin(target.actual, source, target)
            if theirs is None or ours is None or np.array_equal(theirs, ours):
                continue
            why = compared(theirs, ours, source.shape)
            if why is not None:
                cause, text = why
                if cause == "shift" and source is target.actual:
                    cause = "order"
                yield Change(cause, text, {target.node: source.reshape(-1)[theirs]})


def shifted(fault: Fault) -> Iterator[Change]:
    """One side's value is the other's moved on along an axis, with new entries at one end."""
    for target in fault.targets:
        wanted, actual = target.wanted, target.actual
        if wanted.dtype.kind != "f" or wanted.shape != actual.shape or wanted.size < 4:
            continue
        for axis, length in enumerate(wanted.shape):
            for step in range(1, length // 2 + 1) if length > 2 else ():
                late, early = (np.arange(step, length), np.arange(length - step))
                for ours, theirs, word in ((late, early, "earlier"), (early, late, "later")):
                    a, b = np.take(actual, ours, axis), np.take(wanted, theirs, axis)
                    if np.ptp(b) > 0 and same(a, b, target.allowed):
                        text = f"<candidate>'s entries along axis {axis} come {step} {word} in <reference>"
                        yield Change(
                            "shift", f"{text}: the ends differ, all others agree", {target.node: wanted}
                        )


def moved(fault: Fault, index: int, value: Array) -> str | None:
    """How a value with the same entries as an operand differs from it; None for other entries."""
    old = fault.value(index)
    if value.shape != old.shape or value.size > LARGEST or np.array_equal(value, old):
        return None
    if not same_entries(value, old):
        return None
    goal = fault.target._replace(allowed=1e-12 * float(np.abs(old).max()))
    for source in fault.rearranged_from(index):
        array = fault.value(source)
        theirs, ours = origin(value, array, goal), origin(old, array, goal)
        if theirs is not None and ours is not None:
            why = compared(theirs, ours, array.shape)
            if why is not None:
                return why[1]
    return "the same numbers in another order"


def same_entries(a: Array, b: Array) -> bool:
    """Whether two values hold the same numbers, up to rounding, in any order."""
    if a.dtype.kind == "f" and not np.isclose(np.abs(a).sum(), np.abs(b).sum(), rtol=1e-9):
        return False  # the same of most pairs, and quicker
    first, second = np.sort(a, axis=None), np.sort(b, axis=None)
    if a.dtype.kind != "f":
        return np.array_equal(first, second)
    return bool(np.allclose(first, second, rtol=1e-9, atol=1e-12 * float(np.abs(second).max(initial=0.0))))


def origin(value: Array, source: Array, target: Target) -> Array | None:
    """Of each entry, the place in `source` with the same number; None if there is none, or several."""
    flat = source.reshape(-1).astype(np.float64)
    if not np.isfinite(flat).all():
        return None
    ranks = np.argsort(flat, kind="stable")
    ordered = flat[ranks]
    if np.diff(ordered).min(initial=np.inf) <= 4 * target.allowed:
        return None
    wanted = value.astype(np.float64)
    place = np.clip(np.searchsorted(ordered, wanted - 2 * target.allowed), 0, flat.size - 1)
    if not np.all(np.abs(ordered[place] - wanted) <= 2 * target.allowed):
        return None
    return np.asarray(ranks[place])


def compared(theirs: Array, ours: Array, shape: tuple[int, ...]) -> tuple[str, str] | None:
    """(cause, text) for two maps into a value of some shape; None for a map that cannot be described."""
    a, b = _along_axes(theirs, shape), _along_axes(ours, shape)
    if a is not None and b is not None:
        if [axis for axis, _ in a] == [axis for axis, _ in b]:
            said = [
                (described(m, shape[i]), described(n, shape[i]), i)
                for i, ((_, m), (_, n)) in enumerate(zip(a, b, strict=True))
                if not np.array_equal(m, n)
            ]
            text = "; ".join(
                f"along axis {i} <reference>'s value is {p}, <candidate>'s {q}" for p, q, i in said
            )
            return _cause([p for p, _, _ in said] + [q for _, q, _ in said]), text
        text = f"<reference> puts the axes in the order {_axes(a)}, <candidate> in {_axes(b)}"
        text += f" (of a value {_by(shape)})"
        return "order", text
    wanted = _digits(theirs, shape)
    if wanted is None:
        return None
    return "order", f"<reference>'s order is {wanted}, <candidate>'s {_digits(ours, shape) or 'another one'}"


def _axes(maps: list[tuple[int | None, Array]]) -> tuple[int, ...]:
    return tuple(
        int(i) for i in np.argsort([-1 if axis is None else axis for axis, _ in maps], kind="stable")
    )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


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


def described(line: Array, length: int) -> str:
    """A map along one axis of some length, in words.

    >>> described(np.array([2, 0, 1]), 3), described(np.array([0, 0, 1, 1]), 2)
    ('rolled by 1', 'each entry repeated 2 times')
    >>> described(np.array([1, 0, 1, 2, 1]), 3), described(np.array([2, 3, 4]), 5)
    ('padded in the mode reflect', 'the entries from 2 on')
    """
    n = line.size
    at = np.arange(n)
    if n == length and np.array_equal(line, at):
        return "as it was"
    if n == length and np.array_equal(line, at[::-1]):
        return "reversed"
    if n == length and np.array_equal(line, (at + line[0]) % length):
        shift = int(-line[0]) % length
        return f"rolled by {shift if shift <= length // 2 else shift - length}"
    if n > length and n % length == 0:
        if np.array_equal(line, at // (n // length)):
            return f"each entry repeated {n // length} times"
        if np.array_equal(line, at % length):
            return f"the whole repeated {n // length} times"
    if n > length:
        low = int(np.argmax(np.diff(line, prepend=line[0] - 1) == 1)) if n else 0
        for low in range(n - length + 1):
            for mode in ("reflect", "symmetric", "edge", "wrap"):
                try:
                    padded = np.pad(np.arange(length), (low, n - length - low), mode=mode)
                except ValueError:
                    continue
                if np.array_equal(padded, line):
                    return f"padded in the mode {mode}" + (
                        "" if 2 * low == n - length else f" ({low} before)"
                    )
    if n == 1:
        return f"the entry {int(line[0])} alone"
    steps = np.unique(np.diff(line))
    if steps.size == 1:
        every = f", every {int(steps[0])}" if steps[0] != 1 else ""
        return f"the entries from {int(line[0])} on{every}"
    if n == length and np.array_equal(np.sort(line), at):
        digits = _digits(line, (length,))
        if digits is not None:
            return f"reordered: {digits}"
    shown = ", ".join(map(str, line[:8].tolist()))
    return f"the entries {shown}{', ...' if n > 8 else ''}"


def _cause(said: list[str]) -> str:
    if any("padded" in s for s in said):
        return "padding"
    if any("repeated" in s for s in said):
        return "repeat"
    if any("rolled" in s or ("entries from" in s and "every" not in s) for s in said):
        return "shift"
    if any("the entr" in s for s in said):
        return "selection"
    return "order"


def _digits(flat: Array, shape: tuple[int, ...]) -> str | None:
    """A map as a reshape, a transpose and a reshape, if it is one."""
    digits: list[tuple[int, int]] = []  # (length, stride), innermost first
    rest = flat.reshape(-1)
    if rest[0] != 0:
        return None
    while rest.size > 1:
        stride = int(rest[1] - rest[0])
        run = int(np.argmax(np.diff(rest) != stride)) + 1 if np.any(np.diff(rest) != stride) else rest.size
        while rest.size % run:
            run -= 1
        if run < 2 or not np.array_equal(
            rest.reshape(-1, run) - rest[::run, None],
            np.broadcast_to(np.arange(run) * stride, (rest.size // run, run)),
        ):
            return None
        digits.append((run, stride))
        rest = rest[::run]
    digits.reverse()
    by_stride = sorted(range(len(digits)), key=lambda i: -digits[i][1])
    if any(stride < 1 for _, stride in digits) or int(np.prod([n for n, _ in digits])) != int(np.prod(shape)):
        return None
    view = tuple(digits[i][0] for i in by_stride)
    axes = tuple(by_stride.index(i) for i in range(len(digits)))
    if axes == tuple(range(len(axes))):
        return f"that of a reshape of {_by(shape)}"
    return f"reshape to {view}, transpose to {axes}"
