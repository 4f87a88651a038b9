"""A report as plain text: what `str(report)` and the message of a `ParityError` say."""

import math
import os
import textwrap
from collections.abc import Iterable, Sequence

from parity.report.divergences import Cause, Divergence, Place, once_each
from parity.report.kinds import STAGES
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.sentences import also_in, headline, ordinal, printable
from parity.report.verdicts import Verdict

MOST = 12
"""Quantities listed per verdict; the rest are counted."""

FEW = 4
"""The same where the place is known: what follows from it matters less."""

WIDTH = 100
"""Longest line of a description."""

PLACES = 3
"""Operations listed per side of a divergence, the one that is most to blame first."""

_LABEL = 9
"""Width of the words that head the lines of a divergence: "PyTorch", "JAX", "cause"."""


def describe(report: Report, *, plan: bool = False) -> str:
    """Verdict first, then where the two sides part, what did not pass, and what was not checked.

    Args:
        report: what a comparison found.
        plan: whether to list the weight plan, too.

    Returns:
        Lines of at most 100 columns.
    """
    lines = [f"{report.name}: {report.verdict.value.upper()}"]
    if report.error is not None:
        lines += [f"  {line}" for line in report.error.splitlines()]
    lines += [f"  {line}" for line in describe_divergences(report)]
    most = FEW if report.divergences else MOST
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        found = report.select(verdict=verdict)
        lines += [f"  {line}" for quantity in found[:most] for line in describe_quantity(quantity)]
        if len(found) > most:
            lines.append(f"  ... and {len(found) - most} more with verdict {verdict.value}")
    for stage in STAGES:
        worst = report.worst(stage)
        if worst is not None:
            count = len(report.select(stage))
            lines.append(f"  {stage}: {count} compared, worst rho {number(worst.rho)} ({label(worst)})")
    notes = [f"{label(q)}: {note}" for q in report.select(verdict=Verdict.PASS) for note in q.notes]
    lines += [f"  note: {line}" for line in notes[:MOST]]
    lines += [f"  finding: {line}" for line in report.findings]
    lines += [f"  {line}" for line in (describe_plan(report) if plan else ())]
    lines += [f"  not checked: {line}" for line in report.not_checked]
    if report.environment is not None:
        lines.append(f"  {environment_line(report)}")
    return "\n".join(folded(lines))


def describe_divergences(report: Report) -> list[str]:
    """Where the two sides part: both source places and the cause, the first divergence first."""
    faults = once_each(report.divergences)
    return [
        line
        for position, fault in enumerate(faults)
        for line in _describe_fault(fault, ordinal(position, len(faults)))
    ]


def _describe_fault(fault: Sequence[Divergence], title: str) -> list[str]:
    """A divergence, and where else it shows."""
    divergence, *others = fault
    lines = [f"{title} ({divergence.stage}): {headline(divergence)}"]
    rows: list[tuple[str, str, str, str]] = []
    for side, places in (("PyTorch", divergence.reference), ("JAX", divergence.candidate)):
        distinct = list(dict.fromkeys(_columns(place) for place in places))
        rows += [("" if i else side, *columns) for i, columns in enumerate(distinct[:PLACES])]
        if len(distinct) > PLACES:
            rows.append(("", f"... and {len(distinct) - PLACES} more", "", ""))
    lines += _table(rows)
    told = []
    if not math.isnan(divergence.relative_error):
        honest = short(divergence.relative_yardstick)
        told.append(("error", f"{number(divergence.relative_error)} relative, honest {honest}"))
    if divergence.shapes is not None and divergence.shapes[0] != divergence.shapes[1]:
        told.append(("shapes", f"{divergence.shapes[0]} in PyTorch, {divergence.shapes[1]} in JAX"))
    if divergence.detail:
        told.append(("detail", divergence.detail))
    if divergence.cause:
        told.append(("cause", explained(divergence.cause)))
    if others:
        told.append(("also in", also_in(others)))
    return lines + [f"  {word:{_LABEL}}{text}" for word, text in told]


def explained(cause: Cause) -> str:
    """What kind of fault, what differs, and how well it matches once that is changed.

    >>> explained(Cause("epsilon", "1e-06 in JAX and 1e-05 in PyTorch", 3e-16))
    'epsilon: 1e-06 in JAX and 1e-05 in PyTorch; with that changed it matches to 3e-16'
    """
    head = "" if cause.text.lower().startswith(cause.name) else f"{cause.name}: "
    left = "exactly" if cause.residual == 0 else f"to {short(cause.residual)}"
    return f"{head}{cause.text.rstrip('. ')}; with that changed it matches {left}"


def _columns(place: Place) -> tuple[str, str, str]:
    """Module or operation, file and line, and the source of one place."""
    module = " ".join(filter(None, (place.module or place.operation, place.step and f"({place.step})")))
    file = place.file
    if file and not os.path.relpath(file).startswith(os.pardir):
        file = os.path.relpath(file)  # shorter, and a terminal still opens it
    return module, f"{file}:{place.line}" if file and place.line else file, place.code


def _table(rows: Sequence[tuple[str, str, str, str]]) -> list[str]:
    """Rows of (side, module, location, code) in columns; where that is too wide, one below the other."""
    rows = [
        (side, printable(module), printable(where), printable(code)) for side, module, where, code in rows
    ]
    first, second = (max((len(row[i]) for row in rows), default=0) + 3 for i in (1, 2))
    wide = all(4 + _LABEL + first + second + len(code) <= WIDTH for *_, code in rows)
    lines = []
    for side, module, where, code in rows:
        if wide:
            lines.append(f"  {side:{_LABEL}}{module:{first}}{where:{second}}{code}".rstrip())
            continue
        room = WIDTH - _LABEL - 6
        if len(where) > room:
            where = f"... {where[4 - room :]}"  # the end of a path says more than its beginning
        cells = [_cut(cell, room) for cell in (module, where, "  " + code if code else "") if cell]
        lines += [f"  {'' if i else side:{_LABEL}}{cell}" for i, cell in enumerate(cells)]
    return lines


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else f"{text[: room - 4]} ..."


def describe_plan(report: Report) -> list[str]:
    """The weight plan, one tensor a line: PyTorch's name, JAX's path, how the one becomes the other."""
    if not report.plan:
        return []
    rows = [tuple(printable(cell) for cell in row) for row in report.plan]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = [f"weight plan, {len(rows)} tensors:"]
    for torch, jax, how in rows:
        line = f"  {torch:{first}} -> {jax:{second}}  {how}"
        fits = len(line) <= WIDTH - 2
        lines += [line] if fits else [f"  {torch}", f"      -> {jax}  {how}"]
    return lines


def folded(lines: Iterable[str], width: int = WIDTH) -> list[str]:
    """Lines broken at `width` columns and free of what a terminal obeys; continued four columns in."""
    result = []
    for line in lines:
        text = printable(line).expandtabs()
        indent = " " * (len(text) - len(text.lstrip()) + 4)
        first, *more = text.split("\n")
        for piece in (first, *(indent + other.strip() for other in more)):
            short = len(piece) <= width
            result += (
                [piece]
                if short
                else textwrap.wrap(piece, width, subsequent_indent=indent, break_on_hyphens=False)
            )
    return result


def describe_quantity(quantity: Quantity) -> list[str]:
    """One quantity in a line of figures and a line for each note."""
    figures = ""
    if not math.isnan(quantity.rho):
        figures = (
            f": rho {number(quantity.rho)}, error {number(quantity.relative_error)}, "
            f"yardstick {number(quantity.relative_yardstick)} (both relative)"
        )
    where = "" if quantity.index in (None, ()) else f", worst at {list(quantity.index or ())}"
    head = f"{quantity.verdict.value.upper()} {quantity.stage}, {quantity.dtype}: {label(quantity)}"
    lines = [head + figures + where]
    if quantity.curve is not None and quantity.curve.first_failure is not None:
        step = quantity.curve.first_failure
        expected, actual = quantity.curve.reference[step], quantity.curve.candidate[step]
        lines.append(f"    first at point {step}: PyTorch {expected:.8g}, JAX {actual:.8g}")
    return lines + [f"    {note}" for note in quantity.notes]


def label(quantity: Quantity) -> str:
    """The quantity's name on both sides and, for an oracle, which program it was."""
    name = quantity.name
    if quantity.candidate_name not in (None, quantity.name):
        name += f" <-> {quantity.candidate_name}"
    return name if quantity.program == "candidate" else f"{name} ({quantity.program})"


def number(value: float) -> str:
    """A figure in at most seven characters: 0, 0.013, 3.4, 1.2e+14, inf.

    >>> [number(x) for x in (0.0, 0.0134, 3.44, 123.4, 1.23e14, float("inf"))]
    ['0', '0.013', '3.4', '123', '1.2e+14', 'inf']
    """
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    if 0.001 <= abs(value) < 1000:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.1e}"


def short(value: float) -> str:
    """A figure in at most five characters, for a table.

    >>> [short(x) for x in (0.0, 0.0134, 3.44, 123.4, 1.23e14, 4.6e-16, float("inf"))]
    ['0', '0.013', '3.4', '123', '1e14', '5e-16', 'inf']
    """
    if value == 0 or not math.isfinite(value) or 0.001 <= abs(value) < 1000:
        text = number(value)
        return text if len(text) <= 5 else f"{value:.3f}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


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
