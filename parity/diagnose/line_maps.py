"""Maps along one axis, described: where each entry of a line comes from in a line of another length."""

import enum
from typing import Literal, NamedTuple

import numpy as np

from parity.diagnose.targets import Array

MODES: tuple[Literal["reflect", "symmetric", "edge", "wrap"], ...] = ("reflect", "symmetric", "edge", "wrap")
"""Ways of continuing a line past its ends, under NumPy's names."""

MOST_LISTED = 8
"""Entries that are listed of a map without a pattern."""


class Pattern(enum.Enum):
    """What a map along an axis does."""

    UNCHANGED = enum.auto()
    REVERSED = enum.auto()
    ROLLED = enum.auto()
    REPEATED = enum.auto()
    PADDED = enum.auto()
    STRETCH = enum.auto()
    STRIDED = enum.auto()
    REORDERED = enum.auto()
    LISTED = enum.auto()


class LineMap(NamedTuple):
    """A map along an axis: its pattern, and the pattern in words."""

    pattern: Pattern
    text: str


def line_map(line: Array, length: int) -> LineMap:
    """The pattern of a map.

    Args:
        line: integers; entry i comes from entry `line[i]`.
        length: of the axis that the entries come from.

    >>> line_map(np.array([2, 0, 1]), 3).text, line_map(np.array([0, 0, 1, 1]), 2).text
    ('rolled by 1', 'each entry repeated 2 times')
    >>> line_map(np.array([1, 0, 1, 2, 1]), 3).text, line_map(np.array([2, 3, 4]), 5).text
    ('padded in the mode reflect', 'the entries from 2 on')
    """
    return (
        _permuted(line, length)
        or _repeated(line, length)
        or _padded(line, length)
        or _strided(line)
        or _reordered(line, length)
        or _listed(line)
    )


def _permuted(line: Array, length: int) -> LineMap | None:
    at = np.arange(line.size)
    if line.size != length:
        return None
    if np.array_equal(line, at):
        return LineMap(Pattern.UNCHANGED, "as it was")
    if np.array_equal(line, at[::-1]):
        return LineMap(Pattern.REVERSED, "reversed")
    if np.array_equal(line, (at + line[0]) % length):
        shift = int(-line[0]) % length
        return LineMap(Pattern.ROLLED, f"rolled by {shift if shift <= length // 2 else shift - length}")
    return None


def _repeated(line: Array, length: int) -> LineMap | None:
    n, at = line.size, np.arange(line.size)
    if n <= length or n % length:
        return None
    times = n // length
    if np.array_equal(line, at // times):
        return LineMap(Pattern.REPEATED, f"each entry repeated {times} times")
    if np.array_equal(line, at % length):
        return LineMap(Pattern.REPEATED, f"the whole repeated {times} times")
    return None


def _padded(line: Array, length: int) -> LineMap | None:
    n = line.size
    for low in range(n - length + 1) if n > length else ():
        for mode in MODES:
            try:
                padded = np.pad(np.arange(length), (low, n - length - low), mode=mode)
            except ValueError:
                continue
            if np.array_equal(padded, line):
                before = "" if 2 * low == n - length else f" ({low} before)"
                return LineMap(Pattern.PADDED, f"padded in the mode {mode}{before}")
    return None


def _strided(line: Array) -> LineMap | None:
    if line.size == 1:
        return LineMap(Pattern.LISTED, f"the entry {int(line[0])} alone")
    steps = np.unique(np.diff(line))
    if steps.size != 1:
        return None
    start = f"the entries from {int(line[0])} on"
    if steps[0] == 1:
        return LineMap(Pattern.STRETCH, start)
    return LineMap(Pattern.STRIDED, f"{start}, every {int(steps[0])}")


def _reordered(line: Array, length: int) -> LineMap | None:
    if line.size != length or not np.array_equal(np.sort(line), np.arange(length)):
        return None
    text = as_transpose(line, (length,))
    return LineMap(Pattern.REORDERED, f"reordered: {text}") if text is not None else None


def _listed(line: Array) -> LineMap:
    shown = ", ".join(map(str, line[:MOST_LISTED].tolist()))
    return LineMap(Pattern.LISTED, f"the entries {shown}{', ...' if line.size > MOST_LISTED else ''}")


def as_transpose(flat: Array, shape: tuple[int, ...]) -> str | None:
    """A map as a reshape, a transpose and a reshape, in words; None if it is none.

    Args:
        flat: integers; where each entry comes from in a value of `shape`, counted in row-major order.
        shape: of the value that the entries come from.
    """
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
        return f"that of a reshape of {'x'.join(map(str, shape))}"
    return f"reshape to {view}, transpose to {axes}"
