"""The weight plan as plain text: all of it when asked, its doubtful lines where the verdict is not pass."""

from collections.abc import Sequence

from parity.report.divergence_text import MORE, counted
from parity.report.folding import WIDTH
from parity.report.locations import printable
from parity.report.report import Report
from parity.report.verdicts import Verdict

DOUBTS = 6
"""Doubtful lines of a plan that are listed; the rest are counted."""


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
    return [f"weight plan, {len(report.plan)} tensors:", *_rows(report.plan, width)]


def describe_doubts(report: Report, width: int = WIDTH, *, verbose: bool = False) -> list[str]:
    """The lines of the plan that rest on little, where the sides differ: a wrong one would explain it.

    Args:
        report: what a comparison found.
        width: longest line; what does not fit takes two.
        verbose: whether to list all of them.

    Returns:
        Lines; none where the verdict is pass, or every line of the plan is sure.
    """
    if not report.doubts or report.verdict is Verdict.PASS:
        return []
    number = len(report.doubts)
    shown = report.doubts if verbose else report.doubts[:DOUBTS]
    lines = [
        f"{number} of {counted(len(report.plan), 'line')} of the weight plan "
        f"{'is' if number == 1 else 'are'} doubtful; where one is wrong, pin the right partner (`pins` of "
        "`parity.Weights`):",
        *_rows(shown, width),
    ]
    if number > len(shown):
        lines.append(f"  ... and {number - len(shown)} more, {MORE}")
    return lines


def _rows(plan: Sequence[tuple[str, str, str]], width: int) -> list[str]:
    rows = [tuple(printable(cell) for cell in row) for row in plan]
    first, second = (max(len(row[i]) for row in rows) for i in (0, 1))
    lines = []
    for reference, candidate, how in rows:
        line = f"  {reference:{first}} -> {candidate:{second}}  {how}"
        lines += [line] if len(line) <= width else [f"  {reference}", f"      -> {candidate}  {how}"]
    return lines
