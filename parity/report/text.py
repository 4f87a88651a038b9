"""A report as plain text: what `str(report)` and the message of a `ParityError` say."""

import math
from collections.abc import Sequence

from parity.report.divergences import Cause, Divergence, Place, once_each
from parity.report.folding import WIDTH, folded, line_width, shortened, shortened_path
from parity.report.kinds import STAGES
from parity.report.locations import location, printable
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.rounded import rounded, short
from parity.report.sentences import also_in, headline, ordinal
from parity.report.sides import Sides
from parity.report.verdicts import Verdict

MOST = 12
"""Quantities listed per verdict; the rest are counted."""

FEW = 4
"""The same where the place is known: what follows from it matters less."""

PLACES = 3
"""Operations listed per side of a divergence, the likeliest culprit first."""

_LABEL = 9
"""Width of the words that head the lines of a divergence, "PyTorch" or "detail"; "candidate" takes more."""


def describe(report: Report, *, plan: bool = False, width: int | None = None) -> str:
    """Verdict first, then where the two sides part, what did not pass, and what was not checked.

    Args:
        report: what a comparison found.
        plan: whether to list the weight plan, too.
        width: longest line, in columns; None: that of the terminal, or 100 where there is none.

    Returns:
        Lines of at most that width.
    """
    width = line_width() if width is None else width
    lines = [f"{report.name}: {report.verdict.value.upper()}"]
    if report.error is not None:
        lines += [f"  {line}" for line in report.error.splitlines()]
    lines += [f"  {line}" for line in describe_divergences(report, width - 2)]
    most = FEW if report.divergences else MOST
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        found = report.select(verdict=verdict)
        for quantity in found[:most]:
            lines += [f"  {line}" for line in describe_quantity(quantity, report.sides)]
        if len(found) > most:
            lines.append(f"  ... and {len(found) - most} more with verdict {verdict.value}")
    for stage in STAGES:
        worst = report.worst(stage)
        if worst is not None:
            count = len(report.select(stage))
            lines.append(f"  {stage}: {count} compared, worst rho {rounded(worst.rho)} ({label(worst)})")
    notes = [f"{label(q)}: {note}" for q in report.select(verdict=Verdict.PASS) for note in q.notes]
    lines += [f"  note: {line}" for line in notes[:MOST]]
    lines += [f"  finding: {line}" for line in report.findings]
    lines += [f"  {line}" for line in (describe_plan(report, width - 2) if plan else ())]
    lines += [f"  not checked: {line}" for line in report.not_checked]
    if report.environment is not None:
        lines.append(f"  {environment_line(report)}")
    return "\n".join(folded(lines, width))


def describe_divergences(report: Report, width: int = WIDTH) -> list[str]:
    """Where the two sides part: the source on both sides and the cause, the first divergence first.

    Args:
        report: what a comparison found.
        width: columns in which it is laid out; the line that heads a divergence is left to be folded.

    Returns:
        Lines; none where no place is known.
    """
    faults = once_each(report.divergences)
    return [
        line
        for position, fault in enumerate(faults)
        for line in _describe_fault(fault, ordinal(position, len(faults)), report.sides, width)
    ]


def _describe_fault(fault: Sequence[Divergence], title: str, sides: Sides, width: int) -> list[str]:
    """A divergence, and where else it shows."""
    divergence, *others = fault
    lines = [f"{title} ({divergence.stage}): {headline(divergence, sides)}"]
    rows: list[tuple[str, str, str, str]] = []
    for side, places in zip(sides.titles, (divergence.reference, divergence.candidate), strict=True):
        distinct = list(dict.fromkeys(_columns(place) for place in places))
        rows += [("" if i else side, *columns) for i, columns in enumerate(distinct[:PLACES])]
        if len(distinct) > PLACES:
            rows.append(("", f"... and {len(distinct) - PLACES} more", "", ""))
    margin = max(_LABEL, *(len(side) + 2 for side in sides.titles))
    told = []
    if not math.isnan(divergence.relative_error):
        told.append(("error", f"{rounded(divergence.relative_error)} relative; {_rounding(divergence)}"))
    if divergence.shapes is not None and divergence.shapes[0] != divergence.shapes[1]:
        shapes = zip(divergence.shapes, (sides.reference, sides.candidate), strict=True)
        told.append(("shapes", ", ".join(f"{shape} in {side}" for shape, side in shapes)))
    if divergence.detail:
        told.append(("detail", divergence.detail))
    if divergence.cause:
        told.append(("cause", explained(divergence.cause)))
    if others:
        told.append(("also in", also_in(others)))
    facts = folded((f"  {word:{margin}}{text}" for word, text in told), width, hanging=margin)
    return [*lines, *_table(rows, margin, width), *facts]


def _rounding(divergence: Divergence) -> str:
    return f"rounding alone explains up to {short(divergence.relative_yardstick)}"


def explained(cause: Cause) -> str:
    """What kind of fault, what differs, and how well the sides agree once that is changed.

    >>> explained(Cause("epsilon", "1e-06 in JAX and 1e-05 in PyTorch", 3e-16))
    'epsilon: 1e-06 in JAX and 1e-05 in PyTorch; with that changed, both sides agree to 3e-16'
    """
    head = "" if cause.text.lower().startswith(cause.name) else f"{cause.name}: "
    return f"{head}{cause.text.rstrip('. ')}; with that changed, both sides agree {agreement_in_words(cause)}"


def agreement_in_words(cause: Cause) -> str:
    """How well the two sides agree with a cause mended: "exactly", or "to 3e-16" relative."""
    return "exactly" if cause.residual == 0 else f"to {short(cause.residual)}"


def _columns(place: Place) -> tuple[str, str, str]:
    """Module or operation, file and line, and the source of one place."""
    module = " ".join(filter(None, (place.module or place.operation, place.step and f"({place.step})")))
    return module, location(place, full=True), place.code


def _table(rows: Sequence[tuple[str, str, str, str]], margin: int, width: int) -> list[str]:
    """Rows of (side, module, location, code) in columns; where that is too wide, one below the other."""
    rows = [
        (side, printable(module), printable(where), printable(code)) for side, module, where, code in rows
    ]
    first, second = (max((len(row[i]) for row in rows), default=0) + 3 for i in (1, 2))
    wide = all(2 + margin + first + second + len(code) <= width for *_, code in rows)
    lines = []
    for side, module, where, code in rows:
        if wide:
            lines.append(f"  {side:{margin}}{module:{first}}{where:{second}}{code}".rstrip())
            continue
        room = width - margin - 2
        cells = (shortened(module, room), shortened_path(where, room), shortened(f"  {code}".rstrip(), room))
        shown = [cell for cell in cells if cell]
        lines += [f"  {'' if i else side:{margin}}{cell}" for i, cell in enumerate(shown)]
    return lines


def describe_plan(report: Report, width: int = WIDTH) -> list[str]:
    """The weight plan, a tensor a line: its names on both sides, and how the one becomes the other.

    Args:
        report: what a comparison found.
        width: longest line; what does not fit takes two.

    Returns:
        Lines; none where there is no plan.
    """
    if not report.plan:
        return []
    rows = [tuple(printable(cell) for cell in row) for row in report.plan]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"weight plan, {len(rows)} tensors:"]
    for reference, candidate, how in rows:
        line = f"  {reference:{first}} -> {candidate:{second}}  {how}"
        lines += [line] if len(line) <= width else [f"  {reference}", f"      -> {candidate}  {how}"]
    return lines


def describe_quantity(quantity: Quantity, sides: Sides) -> list[str]:
    """One quantity in a line of figures, with a line for each note.

    Args:
        quantity: what was compared.
        sides: what the two sides are called.

    Returns:
        Lines, not folded.
    """
    figures = ""
    if not math.isnan(quantity.rho):
        figures = (
            f": rho {rounded(quantity.rho)}, error {rounded(quantity.relative_error)}, "
            f"yardstick {rounded(quantity.relative_yardstick)} (both relative)"
        )
    where = "" if quantity.index in (None, ()) else f", worst at {list(quantity.index or ())}"
    head = f"{quantity.verdict.value.upper()} {quantity.stage}, {quantity.dtype}: {label(quantity)}"
    lines = [head + figures + where]
    curve = quantity.curve
    if curve is not None and curve.first_failure is not None:
        step = curve.first_failure
        values = zip(sides.titles, (curve.reference[step], curve.candidate[step]), strict=True)
        lines.append(f"    first at point {step}: " + ", ".join(f"{side} {v:.8g}" for side, v in values))
    return lines + [f"    {note}" for note in quantity.notes]


def label(quantity: Quantity) -> str:
    """The quantity's name on both sides and, for an oracle, which program it was."""
    name = quantity.name
    if quantity.candidate_name not in (None, quantity.name):
        name += f" <-> {quantity.candidate_name}"
    return name if quantity.program == "candidate" else f"{name} ({quantity.program})"


def environment_line(report: Report) -> str:
    """Versions, devices and settings in one line."""
    if report.environment is None:
        return "nothing ran"
    e = report.environment
    versions = ", ".join(f"{name} {version}" for name, version in e.versions.items())
    devices = ", ".join(f"{package(name)} on {device}" for name, device in e.devices.items())
    settings = ", ".join(f"{name} {value}" for name, value in e.settings.items())
    return "; ".join(filter(None, (versions, devices, settings)))


def package(framework: str) -> str:
    """The package in which a framework comes, by which versions and settings go.

    >>> package("PyTorch"), package("JAX")
    ('torch', 'jax')
    """
    return framework.lower().removeprefix("py")
