"""A divergence as plain text: the place on each side, the size of the difference, the cause or what to do."""

import itertools
import math
from collections.abc import Sequence

from parity.report.divergences import CALLED, Cause, Divergence, Place, once_each
from parity.report.folding import WIDTH, folded, shortened, shortened_path
from parity.report.kinds import Stage
from parity.report.locations import location, printable
from parity.report.report import Report
from parity.report.rounded import rounded, short
from parity.report.sentences import advice, also_in, beside, headline, in_brackets, layer_in_words, ordinal
from parity.report.sides import Sides

MORE = "with --verbose"
"""What shows all of something that is folded."""

OTHERS = 3
"""Other layers of the same fault that are named; the rest are counted."""

_LABEL = 9
"""Width of the words that head the lines of a divergence, "PyTorch" or "detail"; "candidate" takes more."""


def describe_divergences(report: Report, width: int = WIDTH, *, verbose: bool = False) -> list[str]:
    """Where the two sides part: the source on both sides and the cause, the first divergence first.

    Args:
        report: what a comparison found.
        width: columns in which it is laid out; the line that heads a divergence is left to be folded.
        verbose: whether to give every place of a divergence; otherwise the likeliest one of each side.

    Returns:
        Lines; none where no place is known.
    """
    faults = once_each(report.divergences)
    lines: list[str] = []
    advised: set[str] = set()
    for position, fault in enumerate(faults):
        title, told = ordinal(position, len(faults)), advice(fault[0])
        to_do = "as above" if told in advised else told
        lines += _describe_fault(fault, title, to_do, report.sides, width, verbose)
        if fault[0].cause is None:
            advised.add(told)
    return lines


def _describe_fault(
    fault: Sequence[Divergence], title: str, to_do: str, sides: Sides, width: int, verbose: bool
) -> list[str]:
    """A divergence, and where else it shows."""
    divergence, *others = fault
    lines = [f"{title} ({divergence.stage}): {headline(divergence, sides)}"]
    rows: list[tuple[str, str, str, str]] = []
    left = 0
    for side, places in zip(sides.titles, (divergence.reference, divergence.candidate), strict=True):
        distinct = list(dict.fromkeys(_columns(place) for place in places))
        calls = itertools.takewhile(lambda row: row[0] == CALLED, distinct[1:])
        shown = distinct if verbose else [*distinct[:1], *calls]
        rows += [("" if i else side, *columns) for i, columns in enumerate(shown)]
        left += len(distinct) - len(shown)
    margin = max(_LABEL, *(len(side) + 2 for side in sides.titles))
    told = [("", counted(left, "more place", MORE))] if left else []
    told += _figures(divergence, sides)
    if divergence.detail:
        told.append(("detail", divergence.detail if verbose else _few_steps(divergence.detail)))
    if divergence.formulas and not divergence.cause:
        written = zip((sides.reference, sides.candidate), divergence.formulas, strict=True)
        told += [("" if i else "formulas", f"{side}: {text}") for i, (side, text) in enumerate(written)]
        told += [("", text)] if (text := in_brackets(divergence.formulas, sides)) else []
    if divergence.cause:
        told.append(("cause", explained(divergence.cause)))
        told += [("to do", text)] if (text := beside(divergence.cause, sides)) else []
    elif divergence.stage is not Stage.WEIGHTS or not divergence.detail:
        told.append(("to do", to_do))
    if others:
        told.append(("also in", _elsewhere(fault, verbose)))
    facts = folded((f"  {word:{margin}}{text}" for word, text in told), width, hanging=margin)
    return [*lines, *_table(rows, margin, width), *facts]


def _figures(divergence: Divergence, sides: Sides) -> list[tuple[str, str]]:
    """How large the difference is, and the shapes where they are not the same."""
    told = []
    if math.isinf(divergence.relative_error):
        told.append(("error", "infinite: one side has infinities, or huge numbers, where the other has none"))
    elif not math.isnan(divergence.relative_error):
        rounding = f"rounding alone explains up to {short(divergence.relative_yardstick)}"
        told.append(("error", f"{rounded(divergence.relative_error)} relative; {rounding}"))
    if divergence.shapes is not None and divergence.shapes[0] != divergence.shapes[1]:
        shapes = zip(divergence.shapes, (sides.reference, sides.candidate), strict=True)
        told.append(("shapes", ", ".join(f"{shape} in {side}" for shape, side in shapes)))
    return told


def _elsewhere(fault: Sequence[Divergence], verbose: bool) -> str:
    """The other layers in which a fault shows."""
    named = also_in(fault)
    if verbose or len(named) <= OTHERS + 1:
        return ", ".join(named)
    return f"{', '.join(named[:OTHERS])} and {len(named) - OTHERS} more, {MORE}"


def _few_steps(detail: str) -> str:
    """A detail that lists the steps of a loop in which the fault shows, with few of them.

    >>> _few_steps("also in scan step 1; scan step 2; scan step 3; scan step 4; scan step 5")
    'also in scan step 1; scan step 2; scan step 3 and 2 more, with --verbose'
    """
    steps = detail.split("; ")
    if not detail.startswith("also in ") or len(steps) <= OTHERS + 1:
        return detail
    return f"{'; '.join(steps[:OTHERS])} and {len(steps) - OTHERS} more, {MORE}"


def counted(number: int, noun: str, more: str = "") -> str:
    """A number of things, and what shows them.

    >>> counted(1, "more place"), counted(4, "more place", MORE)
    ('1 more place', '4 more places, with --verbose')

    Args:
        number: how many.
        noun: what, in the singular.
        more: what shows them, or "".
    """
    return f"{number} {noun}{'' if number == 1 else 's'}{f', {more}' if more else ''}"


def explained(cause: Cause) -> str:
    """What kind of fault, what differs, and how well the sides agree once that is changed.

    >>> explained(Cause("epsilon", "1e-06 in JAX and 1e-05 in PyTorch", 3e-16))
    'epsilon: 1e-06 in JAX and 1e-05 in PyTorch; with that changed, both sides agree to 3e-16'
    """
    head = "" if cause.text.lower().startswith(cause.name) else f"{cause.name}: "
    agree = f"both sides agree {agreement_in_words(cause)}{'' if cause.whole else ' at this place'}"
    return f"{head}{cause.text.rstrip('. ')}; with that changed, {agree}"


def agreement_in_words(cause: Cause) -> str:
    """How well the two sides agree with a cause mended: "exactly", or "to 3e-16" relative."""
    return "exactly" if cause.residual == 0 else f"to {short(cause.residual)}"


def _columns(place: Place) -> tuple[str, str, str]:
    """Module or operation, file and line, and the source of one place."""
    where = layer_in_words(place) or place.operation
    return (
        " ".join(filter(None, (where, place.step and f"({place.step})"))),
        location(place, full=True),
        place.code,
    )


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
        cells = (shortened_path(where, room), shortened(f"  {code}".rstrip(), room))
        shown = [*folded([module], room), *(cell for cell in cells if cell)]
        lines += [f"  {'' if i else side:{margin}}{cell}" for i, cell in enumerate(shown)]
    return lines
