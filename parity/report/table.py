"""The quantities of a report as rows of a table: what a cell says, and what it is sorted by."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from parity.report.kinds import STAGES
from parity.report.quantities import Quantity
from parity.report.rounded import rounded
from parity.report.sides import Sides
from parity.report.verdicts import GRAVITY, LIMIT, Verdict


class Scale(NamedTuple):
    """The logarithmic scale on which every rho of a table is drawn: powers of ten at its two ends."""

    low: float
    high: float

    @classmethod
    def over(cls, quantities: Iterable[Quantity]) -> "Scale":
        """From a thousandth, below which nothing matters, to the largest rho, at least a thousand."""
        largest = max((q.rho for q in quantities if math.isfinite(q.rho)), default=1.0)
        return cls(-3.0, max(3.0, math.ceil(math.log10(max(largest, 1.0)))))

    def place(self, rho: float) -> float:
        """Percent from the left; what is infinite or could not be computed is at the right end.

        >>> [Scale(-3, 3).place(rho) for rho in (0.0, 1e-9, 1.0, 1e3, float("inf"))]
        [0.0, 1.0, 50.0, 100.0, 100.0]
        """
        if rho == 0:
            return 0.0
        if not math.isfinite(rho):
            return 100.0
        share = 100 * (math.log10(rho) - self.low) / (self.high - self.low)
        return round(min(100.0, max(1.0, share)), 1)  # at least a trace: it is not zero


class Cell(NamedTuple):
    """A figure as it is shown, and the number it is sorted by as JavaScript reads it."""

    text: str
    key: str


class Row(NamedTuple):
    """One quantity in the table.

    Attributes:
        quantity: the quantity itself, for its names, dtype, verdict and notes.
        gravity, stage: ranks of its verdict and its stage.
        rho: its rho, starred where it is over the limit and yet passes.
        place: position of the rho on the scale, in percent.
        error, yardstick: both relative to the size of the quantity.
        atol: the least absolute tolerance that would pass.
        figures: what the table has no column for.
    """

    quantity: Quantity
    gravity: int
    stage: int
    rho: Cell
    place: float
    error: Cell
    yardstick: Cell
    atol: Cell
    figures: str


def table_rows(quantities: Iterable[Quantity], scale: Scale, sides: Sides) -> list[Row]:
    """All quantities, the gravest first and then by rho.

    Args:
        quantities: in any order.
        scale: the scale on which their rho is drawn.
        sides: what the two sides are called.
    """
    rows = [
        Row(
            q,
            GRAVITY.index(q.verdict),
            STAGES.index(q.stage),
            Cell(rho_text(q), _key(q.rho)),
            scale.place(q.rho),
            _cell(q.relative_error),
            _cell(q.relative_yardstick),
            _cell(q.difference),
            "; ".join(_figures(q, sides)),
        )
        for q in quantities
    ]
    return sorted(rows, key=lambda row: (row.gravity, -float(row.rho.key)))


def rho_text(q: Quantity) -> str:
    """The rho in figures, starred where it is over the limit and yet passes; "none" if not computed."""
    star = "*" if q.verdict is Verdict.PASS and q.rho > LIMIT else ""
    return "none" if math.isnan(q.rho) else rounded(q.rho) + star


def _cell(value: float) -> Cell:
    return Cell("" if math.isnan(value) else rounded(value), _key(value))


def _key(value: float) -> str:
    """What could not be computed is sorted as if it were infinite: it is no better."""
    return repr(float(value)) if math.isfinite(value) else "Infinity"


def _figures(q: Quantity, sides: Sides) -> Iterable[str]:
    if q.shape:
        yield f"shape {q.shape}"
    if q.index:
        yield f"largest difference at {list(q.index)}"
    if not math.isnan(q.scale):
        yield f"size {rounded(q.scale)}"
        reference, candidate = rounded(q.noise_reference), rounded(q.noise_candidate)
        yield f"noise {reference} in {sides.reference}, {candidate} in {sides.candidate}"
        yield f"floor {rounded(q.floor)}"
    if q.rounding:
        yield f"rounding {rounded(q.rounding)}"
    if q.accuracy is not None:
        share = f"{rounded(q.accuracy)} times that of {sides.reference}, at most {LIMIT:g} passes"
        yield f"judged by its distance from float64: {share}"
