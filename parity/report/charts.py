"""Charts of a report as geometry: what an inline SVG draws, and no SVG yet."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from parity.report.axes import Mark, area, dots, line, linear_axis, log_axis, point_ticks, positions
from parity.report.divergences import Growth, Place
from parity.report.kinds import Stage
from parity.report.locations import location
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.rounded import rounded
from parity.report.sentences import PASSES
from parity.report.sides import Sides
from parity.report.text import label

MOST_BANDS = 16
"""Modules marked along the computation; where there are more, a coarser level of the tree is taken."""


class Shape(NamedTuple):
    """An SVG path; `style` is its class: "reference", "candidate", "yardstick", "envelope", "bad"."""

    style: str
    path: str


class Panel(NamedTuple):
    """One pair of axes: a title, labels on the left, and shapes in the order of drawing."""

    title: str
    ticks: tuple[Mark, ...]
    shapes: tuple[Shape, ...]


class Chart(NamedTuple):
    """Panels above each other that share the horizontal axis.

    Attributes:
        title: what is drawn.
        summary: the same in a sentence, for those who cannot see it.
        panels: from top to bottom.
        ticks: labels of the horizontal axis.
        bands: stretches of it with a name, e.g. modules.
        failure: position of the first failure, or None.
        horizon: position from which on noise is too large for a verdict, or None.
        legend: rows of (style, sample to draw: "line", "dot" or "area", words).
        fields: names of the figures that are shown for the position pointed at.
        rows: these figures for every position, from left to right.
        bad: whether something in it differs.
    """

    title: str
    summary: str
    panels: tuple[Panel, ...]
    ticks: tuple[Mark, ...]
    bands: tuple[Mark, ...]
    failure: float | None
    horizon: float | None
    legend: tuple[tuple[str, str, str], ...]
    fields: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bad: bool


def growth_charts(report: Report) -> list[Chart]:
    """The relative error along the computation, a chart for each pass.

    Args:
        report: what a comparison found.

    Returns:
        Charts, none where no operations were matched.
    """
    return [
        _growth_chart(stage, [g for g in report.growth if g.stage is stage], report.sides)
        for stage in dict.fromkeys(g.stage for g in report.growth)
    ]


def _growth_chart(stage: Stage, growth: Sequence[Growth], sides: Sides) -> Chart:
    errors = [g.relative_error for g in growth]
    rounding = [g.relative_yardstick for g in growth]
    axis = log_axis([*errors, *rounding])
    bad = [i for i, g in enumerate(growth) if not g.matched]
    x = positions(len(growth))
    panel = Panel(
        "relative error",
        axis.ticks,
        (
            Shape("yardstick", line(x, [axis.place(v) for v in rounding])),
            Shape("candidate dots", dots(x, [axis.place(v) for v in errors])),
            Shape("bad dots", dots([x[i] for i in bad], [axis.place(errors[i]) for i in bad])),
        ),
    )
    what = f"the {PASSES[stage]}"
    differ = f"{len(bad)} of them differ" if bad else "all agree"
    return Chart(
        f"Along {what}",
        f"Relative error of {len(growth)} matched operations along {what}; {differ}.",
        (panel,),
        (),
        _bands([g.reference.module for g in growth]),
        x[bad[0]] if bad else None,
        None,
        (
            ("candidate", "dot", "agrees"),
            *((("bad", "dot", "differs"),) if bad else ()),
            ("yardstick", "line", "yardstick"),
        ),
        ("operation", *sides.titles, "relative error", "yardstick"),
        tuple(
            (
                f"{i + 1} of {len(growth)}",
                place_line(g.reference),
                place_line(g.candidate),
                rounded(g.relative_error) + ("" if g.matched else " (differs)"),
                rounded(g.relative_yardstick),
            )
            for i, g in enumerate(growth)
        ),
        bool(bad),
    )


def curve_chart(quantity: Quantity, sides: Sides) -> Chart | None:
    """Both curves with the envelope that rounding explains, and the difference beneath.

    Args:
        quantity: a quantity over time.
        sides: what the two sides are called.

    Returns:
        The chart, or None where the quantity has no curve.
    """
    curve = quantity.curve
    if curve is None or not curve.reference:
        return None
    t, j, envelope = curve.reference, curve.candidate, curve.yardstick
    x = positions(len(t))
    low, high = ([a + sign * b for a, b in zip(t, envelope, strict=True)] for sign in (-1, 1))
    values = linear_axis([*t, *j])
    scale = [max(abs(a), abs(b)) for a, b in zip(t, j, strict=True)]
    # Of an array-valued metric the curve holds the largest magnitude, rho the true difference.
    difference = [
        _over(r * y if y else abs(a - b), s)
        for r, y, s, a, b in zip(curve.rho, envelope, scale, t, j, strict=True)
    ]
    rounding = [_over(y, s) for y, s in zip(envelope, scale, strict=True)]
    errors = log_axis([*difference, *rounding])
    failed = curve.first_failure
    cross = [] if failed is None else [failed]
    panels = (
        Panel(
            "value",
            values.ticks,
            (
                Shape("envelope", area(x, [values.place(v) for v in low], [values.place(v) for v in high])),
                Shape("reference", line(x, [values.place(v) for v in t])),
                Shape("candidate", line(x, [values.place(v) for v in j])),
                Shape("bad dots", dots([x[i] for i in cross], [values.place(j[i]) for i in cross])),
            ),
        ),
        Panel(
            "relative error",
            errors.ticks,
            (
                Shape("yardstick", line(x, [errors.place(v) for v in rounding])),
                Shape("candidate", line(x, [errors.place(v) for v in difference])),
                Shape("bad dots", dots([x[i] for i in cross], [errors.place(difference[i]) for i in cross])),
            ),
        ),
    )
    return Chart(
        f"{label(quantity)}, {quantity.dtype}",
        f"{label(quantity)} in {quantity.dtype} over {len(t)} points: {quantity.verdict.value}"
        + ("." if failed is None else f", first failure at point {failed}."),
        panels,
        point_ticks(len(t)),
        (),
        None if failed is None else x[failed],
        None if curve.horizon is None else x[curve.horizon],
        (
            ("reference", "line", sides.titles[0]),
            ("candidate", "line", sides.titles[1]),
            ("envelope", "area", "envelope"),
        ),
        ("point", *sides.titles, "relative error", "yardstick", "rho"),
        tuple(
            (str(i), f"{t[i]:.8g}", f"{j[i]:.8g}", rounded(difference[i]), rounded(rounding[i]), rounded(rho))
            for i, rho in enumerate(curve.rho)
        ),
        failed is not None,
    )


def place_line(place: Place) -> str:
    """A place in one line: module, operation, file and line."""
    return "  ".join(filter(None, (place.module, place.operation, place.step, location(place))))


def _bands(modules: Sequence[str]) -> tuple[Mark, ...]:
    """Stretches of operations of the same module, at the finest level of the tree that stays readable."""
    for depth in range(6, 0, -1):
        names = [".".join(module.split(".")[:depth]) for module in modules]
        starts = [i for i, name in enumerate(names) if i == 0 or name != names[i - 1]]
        if len(starts) <= MOST_BANDS:
            break
    else:
        return ()
    ends = [*starts[1:], len(names)]
    share = 100 / len(names)
    return tuple(
        Mark(s * share, _last_words(names[s]), (e - s) * share) for s, e in zip(starts, ends, strict=True)
    )


def _last_words(module: str) -> str:
    """The part of a name that tells neighbours apart: "encoder.layer.3" is "layer.3"."""
    parts = module.split(".")
    return ".".join(parts[-2:] if parts[-1].isdigit() else parts[-1:])


def _over(a: float, b: float) -> float:
    """a / b with 0/0 = 0 and a/0 infinite."""
    if a == 0 or math.isnan(a):
        return a
    return a / b if b else math.inf
