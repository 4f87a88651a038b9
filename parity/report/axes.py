"""Axes and paths in percent of a panel, x from the left and y from the top.

A panel can then be stretched to any width while its labels keep their size.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

_DECADES = 5
"""Labels on a logarithmic axis, at most."""


class Mark(NamedTuple):
    """A label at a position; `width` is how far a band reaches from there, both in percent."""

    at: float
    text: str
    width: float = 0.0


class Axis(NamedTuple):
    """Labelled positions, and a function that places a value; None for one that has no place."""

    ticks: tuple[Mark, ...]
    place: Callable[[float], float | None]


def linear_axis(values: Sequence[float]) -> Axis:
    """An axis with round numbers around all finite values, and a little room above and below.

    Args:
        values: what is to be drawn; NaN and infinities have no place.
    """
    # Differences of larger values overflow, steps between smaller ones vanish.
    finite = [v if abs(v) > 1e-280 else 0.0 for v in values if abs(v) < 1e300] or [0.0]
    low, high = min(finite), max(finite)
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (abs(low) or 1.0) * 0.05, high + (abs(high) or 1.0) * 0.05
    room = 0.06 * (high - low)
    low, high = low - room, high + room
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (step * m) <= 5)
    first, last = math.ceil(low / step), math.floor(high / step)

    def place(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        return min(200.0, max(-100.0, 100 * (high - value) / (high - low)))  # clipped

    ticks = [Mark(place(i * step) or 0.0, f"{i * step:.6g}") for i in range(first, last + 1)]
    return Axis(tuple(ticks), place)


def log_axis(values: Sequence[float]) -> Axis:
    """A logarithmic axis of decades; zero has the bottom to itself, infinity the top.

    Args:
        values: what is to be drawn, none negative; NaN has no place.
    """
    sizes = [v for v in values if math.isfinite(v) and v > 0] or [1e-16]
    low = min(math.floor(math.log10(min(sizes))), 306)
    high = min(max(math.ceil(math.log10(max(sizes))), low + 2), 308)  # 1e309 is no float
    zero, infinite = 0.0 in values, math.inf in values
    top, bottom = (18.0 if infinite else 4.0), (82.0 if zero else 96.0)

    def place(value: float) -> float | None:
        if math.isnan(value):
            return None
        if value <= 0:
            return 96.0
        if math.isinf(value):
            return 4.0
        return bottom - (bottom - top) * (math.log10(value) - low) / (high - low)

    step = max(1, -(-(high - low) // (_DECADES - 1)))
    marks = [Mark(place(10.0**e) or 0.0, f"1e{e}" if e else "1") for e in range(low, high + 1, step)]
    marks += [Mark(96.0, "0")] * zero + [Mark(4.0, "inf")] * infinite
    return Axis(tuple(marks), place)


def positions(number_of: int) -> list[float]:
    """The middle of each of `number_of` equal cells, in percent."""
    return [100 * (i + 0.5) / number_of for i in range(number_of)]


def point_ticks(points: int) -> tuple[Mark, ...]:
    """Labels at round numbers of points, at most nine.

    Args:
        points: how many there are, numbered from 0.
    """
    step = next(s for e in range(9) for s in (10**e, 2 * 10**e, 5 * 10**e) if points / s <= 8)
    x = positions(points)
    return tuple(Mark(x[i], str(i)) for i in range(0, points, step))


def line(x: Sequence[float], y: Sequence[float | None]) -> str:
    """A polyline, interrupted where there is no value; a lone point becomes a dot.

    Args:
        x: positions in percent.
        y: likewise, of the same length; None where there is no value.

    Returns:
        The `d` attribute of an SVG path.
    """
    parts = []
    pen_down = False
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        if b is None:
            pen_down = False
            continue
        alone = not pen_down and (i + 1 == len(y) or y[i + 1] is None)
        parts.append(f"{'L' if pen_down else 'M'}{a:.2f} {b:.2f}{'h0' if alone else ''}")
        pen_down = True
    return "".join(parts)


def dots(x: Sequence[float], y: Sequence[float | None]) -> str:
    """A line of length zero for each point: with round caps it is a dot, round however it is stretched.

    Args:
        x: positions in percent.
        y: likewise, of the same length; None where there is no value.

    Returns:
        The `d` attribute of an SVG path.
    """
    return "".join(f"M{a:.2f} {b:.2f}h0" for a, b in zip(x, y, strict=True) if b is not None)


def area(x: Sequence[float], low: Sequence[float | None], high: Sequence[float | None]) -> str:
    """The surface between two lines, over the points that both have.

    Args:
        x: positions in percent.
        low: the one line, of the same length; None where there is no value.
        high: the other, likewise.

    Returns:
        The `d` attribute of an SVG path; "" for fewer than two points.
    """
    known = [(a, b, c) for a, b, c in zip(x, low, high, strict=True) if b is not None and c is not None]
    if len(known) < 2:
        return ""
    there = "L".join(f"{a:.2f} {c:.2f}" for a, _, c in known)
    back = "L".join(f"{a:.2f} {b:.2f}" for a, b, _ in reversed(known))
    return f"M{there}L{back}Z"
