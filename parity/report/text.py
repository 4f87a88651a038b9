"""A report as plain text: what `str(report)` and the message of a `ParityError` say."""

import math
import re
from collections.abc import Sequence

from parity.report.divergence_text import MORE, OTHERS, counted, describe_divergences
from parity.report.folding import folded, line_width
from parity.report.kinds import STAGES, Stage
from parity.report.locations import with_relative_paths
from parity.report.notes import Note, each_once
from parity.report.plan_text import describe_doubts, describe_plan
from parity.report.quantities import Quantity
from parity.report.report import Report
from parity.report.rounded import rounded
from parity.report.sentences import answer
from parity.report.sides import Sides
from parity.report.verdicts import Verdict

_OF_A_WEIGHT = re.compile(r"weight (?P<name>\S+?)(?P<said>(?: by itself)?: .*)")
"""What is said of one weight."""

MOST = 12
"""Quantities listed per verdict; the rest are counted."""

FEW = 2
"""The same where the place is known: what follows from it matters less."""


def describe(report: Report, *, plan: bool = False, width: int | None = None, verbose: bool = False) -> str:
    """Verdict first, then where the two sides part, what did not pass, and what was not checked.

    What repeats itself is told once and counted; the files that a report is saved as have all of it.

    Args:
        report: what a comparison found.
        plan: whether to list the weight plan, too.
        width: longest line, in columns; None: that of the terminal, or 100 where there is none.
        verbose: whether to unfold everything: every place, every note, every compared quantity.

    Returns:
        Lines of at most that width.
    """
    width = line_width() if width is None else width
    lines = [f"{report.name}: {report.verdict.value.upper()}"]
    instead = ""  # of a place
    if report.error is not None:
        lines += [f"  {line}" for line in with_relative_paths(report.error).splitlines()]
    elif report.parting is not None:
        lines.append(f"  {report.parting}")
    elif not report.divergences and report.verdict is not Verdict.PASS:
        instead = report.unplaced
        lines += [f"  {line}" for line in (answer(report), with_relative_paths(instead)) if line]
    elif report.verdict is Verdict.PASS:
        lines += [f"  {with_relative_paths(line)}" for line in report.conditions]
    lines += [f"  {line}" for line in describe_divergences(report, width - 2, verbose=verbose)]
    lines += [f"  {line}" for line in describe_doubts(report, width - 2, verbose=verbose)]
    lines += _not_passed(report)
    for stage in STAGES:
        worst = report.worst(stage)
        if worst is not None and stage is Stage.INIT:
            lines.append(f"  {stage}: {len(report.select(stage))} compared")
        elif worst is not None:
            size = "without a rho" if math.isnan(worst.rho) else f"worst rho {rounded(worst.rho)}"
            lines.append(f"  {stage}: {len(report.select(stage))} compared, {size} ({label(worst)})")
    notes = [_told(note) for note in each_once(report.select(verdict=Verdict.PASS))]
    lines += [f"  note: {line}" for line in notes[:MOST]]
    if len(notes) > MOST:
        lines.append(f"  ... and {counted(len(notes) - MOST, 'more note', MORE)}")
    told = (instead, *(report.conditions if report.verdict is Verdict.PASS else ()))
    more = [line for line in report.findings if line not in told]
    lines += [f"  finding: {with_relative_paths(line)}" for line in more]
    lines += [f"  {line}" for line in (describe_plan(report, width - 2) if plan else ())]
    left = report.not_checked if verbose else _weights_together(report.not_checked)
    lines += [f"  not checked: {line}" for line in left]
    if verbose:
        lines.append("  every compared quantity:")
        lines += [f"    {line}" for q in report.quantities for line in describe_quantity(q, report.sides)]
    if report.environment is not None:
        lines.append(f"  {environment_line(report)}")
    return "\n".join(folded(lines, width))


def _weights_together(lines: Sequence[str]) -> list[str]:
    """What is said of many weights alike, once.

    >>> _weights_together(["weight a: left out", "gradients", *(f"weight {n}: left out" for n in "bcde")])
    ['weights a, b, c and 2 more: left out (with --verbose all of them)', 'gradients']

    Args:
        lines: what was not checked.
    """
    names: dict[str, list[str]] = {}
    for line in lines:
        if match := _OF_A_WEIGHT.fullmatch(line):
            names.setdefault(match["said"], []).append(match["name"])
    told: dict[str, None] = {}
    for line in lines:
        match = _OF_A_WEIGHT.fullmatch(line)
        if match and len(own := names[match["said"]]) > OTHERS + 1:
            said = match["said"].replace("itself", "themselves")
            some = f"{', '.join(own[:OTHERS])} and {len(own) - OTHERS} more"
            told[f"weights {some}{said} ({MORE} all of them)"] = None
        else:
            told[line] = None
    return list(told)


def _not_passed(report: Report) -> list[str]:
    """The quantities that failed or are inconclusive; few where the place is known, and each note once."""
    most = FEW if report.divergences or report.parting else MOST
    causes = {divergence.cause.text for divergence in report.divergences if divergence.cause}
    lines = []
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        found = report.select(verdict=verdict)
        notes = {(note.first, note.text): note for note in each_once(found)}
        shown = list({(q.stage, q.name): q for q in reversed(found)}.values())[::-1][:most]
        for quantity in shown:
            told = [
                notes[quantity, text]
                for text in quantity.notes
                if (quantity, text) in notes and text not in causes
            ]
            lines += [f"  {line}" for line in _figures(quantity, report.sides)]
            if quantity.stage is Stage.INIT:  # its first note is what others have as figures
                lines.append(f"      {quantity.notes[0]}")
                told = [note for note in told if note.text != quantity.notes[0]]
            lines += [f"      {note.text}{_likewise(note)}" for note in told]
        if len(found) > len(shown):
            lines.append(f"  ... and {len(found) - len(shown)} more with verdict {verdict.value} (--verbose)")
    return lines


def _told(note: Note) -> str:
    return f"{label(note.first)}: {note.text}{_likewise(note)}"


def _likewise(note: Note) -> str:
    """Of how many other quantities a note says the same."""
    return f" (and {note.others} more like it, {MORE})" if note.others else ""


def describe_quantity(quantity: Quantity, sides: Sides) -> list[str]:
    """One quantity in a line of figures, with a line for each note.

    Args:
        quantity: what was compared.
        sides: what the two sides are called.

    Returns:
        Lines, not folded.
    """
    return _figures(quantity, sides) + [f"    {note}" for note in quantity.notes]


def _figures(quantity: Quantity, sides: Sides) -> list[str]:
    """One quantity in a line of figures; of a curve with the first point that fails."""
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
    return lines


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
