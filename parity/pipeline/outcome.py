"""Reports in the making, and reports on one pair joined."""

import dataclasses
from collections.abc import Sequence

from parity.report.partings import Parting
from parity.report.results import Divergence, Environment, Growth, Quantity, Report
from parity.report.sides import Sides


@dataclasses.dataclass
class Outcome:
    """A report in the making."""

    name: str
    quantities: Sequence[Quantity] = ()
    not_checked: tuple[str, ...] = ()
    plan: tuple[tuple[str, str, str], ...] = ()
    environment: Environment | None = None
    error: str | None = None
    divergences: Sequence[Divergence] = ()
    growth: Sequence[Growth] = ()
    findings: tuple[str, ...] = ()
    sides: Sides = dataclasses.field(default_factory=Sides)
    doubts: tuple[tuple[str, str, str], ...] = ()
    unplaced: str = ""
    conditions: tuple[str, ...] = ()
    parting: Parting | None = None

    def report(self, seconds: float = 0.0) -> Report:
        """The finished report, the names of the sides put into every sentence; `seconds` it took."""
        named = self.sides.named
        quantities = [dataclasses.replace(q, notes=tuple(map(named, q.notes))) for q in self.quantities]
        return Report(
            self.name,
            tuple(quantities),
            tuple(map(named, self.not_checked)),
            self.plan,
            self.environment,
            self.error,
            seconds,
            divergences=tuple(_named(divergence, self.sides) for divergence in self.divergences),
            growth=tuple(self.growth),
            findings=tuple(map(named, self.findings)),
            sides=self.sides,
            doubts=self.doubts,
            unplaced=named(self.unplaced),
            conditions=tuple(map(named, self.conditions)),
            parting=None if self.parting is None else _parted(self.parting, self.sides),
        )


def _parted(parting: Parting, sides: Sides) -> Parting:
    return dataclasses.replace(parting, detail=sides.named(parting.detail), cause=sides.named(parting.cause))


def _named(divergence: Divergence, sides: Sides) -> Divergence:
    cause = divergence.cause
    if cause is not None:
        cause = dataclasses.replace(cause, text=sides.named(cause.text))
    return dataclasses.replace(divergence, detail=sides.named(divergence.detail), cause=cause)


def stopped(name: str, error: Exception) -> Report:
    """A report on a comparison that raised: verdict error, with what was raised and its notes.

    For commands that go on to the next pair; `parity.check` itself raises.

    Args:
        name: name of the pair.
        error: what was raised.
    """
    notes = [note for note in getattr(error, "__notes__", []) if "JAX has removed" not in note]
    return Report(name, (), error=f"{type(error).__name__}: {error}{''.join(f' ({n})' for n in notes)}")


def joined(name: str, *reports: Report) -> Report:
    """Several reports on the same pair as one: quantities in the order given, the first error kept."""
    return Report(
        name,
        tuple(quantity for report in reports for quantity in report.quantities),
        tuple(dict.fromkeys(line for report in reports for line in report.not_checked)),
        next((report.plan for report in reports if report.plan), ()),
        next((report.environment for report in reports if report.environment), None),
        next((report.error for report in reports if report.error), None),
        sum(report.seconds for report in reports),
        tuple(divergence for report in reports for divergence in report.divergences),
        tuple(growth for report in reports for growth in report.growth),
        tuple(dict.fromkeys(line for report in reports for line in report.findings)),
        next((report.sides for report in reports), Sides()),
        next((report.doubts for report in reports if report.doubts), ()),
        next((report.unplaced for report in reports if report.unplaced), ""),
        conditions=tuple(dict.fromkeys(line for report in reports for line in report.conditions)),
    )
