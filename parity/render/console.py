"""The table of `parity run`, for people."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.render.text import describe_quantity, environment_line, label, number
from parity.result import AS_STORED, STAGES, Report, Verdict

COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.ERROR: "red", Verdict.INCONCLUSIVE: "yellow"}


def print_table(console: Console, reports: Sequence[tuple[Report, Verdict, str | None]]) -> None:
    """One row per case and precision; below it what did not pass.

    Args:
        console: where to print; 80 columns are enough.
        reports: (report, verdict to show, text of an erratum or None) in the order of the rows.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1), title_justify="left")
    table.add_column("case", no_wrap=True)
    table.add_column("dtype", no_wrap=True)
    for stage in STAGES:
        table.add_column({"gradients": "grads"}.get(stage, stage), justify="right", no_wrap=True)
    table.add_column("rel.err", justify="right", no_wrap=True)
    table.add_column("yardst.", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for report, verdict, erratum in reports:
        if report.error is not None or not report.dtypes:
            table.add_row(escape(report.name), *["-"] * (len(STAGES) + 3), _coloured(Verdict.ERROR))
        for row, dtype in enumerate(report.dtypes):
            table.add_row(*_row(report, dtype, verdict, erratum, first=row == 0))
    console.print(table)


def _row(report: Report, dtype: str, verdict: Verdict, erratum: str | None, *, first: bool) -> list[str]:
    cells = [escape(report.name) if first else "", dtype.replace("float", "f")]
    for stage in STAGES:
        own = AS_STORED if stage == "weights" else dtype
        worst = report.worst(stage, own)
        if worst is None:
            cells.append("-")
        elif stage == "weights" and worst.verdict is Verdict.PASS:
            cells.append("[green]exact[/]" if worst.difference == 0 else number(worst.rho))
        else:
            cells.append(f"[{COLOURS[worst.verdict]}]{number(worst.rho)}[/]")
    worst = report.worst(dtype=dtype)
    cells += [number(worst.relative_error), number(worst.relative_yardstick)] if worst else ["-", "-"]
    own_verdict = worst.verdict if worst is not None else Verdict.ERROR
    if erratum is not None and verdict is Verdict.PASS:
        return [*cells, "[green]erratum[/]"]
    return [*cells, _coloured(own_verdict)]


def _coloured(verdict: Verdict) -> str:
    short = {Verdict.INCONCLUSIVE: "unsure"}.get(verdict, verdict.value)
    return f"[{COLOURS[verdict]}]{short}[/]"


def print_findings(console: Console, report: Report, *, everything: bool = False, most: int = 8) -> None:
    """What did not pass in one report, or all of its quantities, worst first within a stage."""
    if report.error is not None:
        console.print(f"[red]{escape(report.name)}: {escape(report.error)}[/]")
    chosen = [q for q in report.quantities if everything or q.verdict is not Verdict.PASS]
    shown = chosen if everything or len(chosen) <= most else chosen[:most]
    if shown:
        console.print(f"[bold]{escape(report.name)}[/]")
    for quantity in shown:
        head, *notes = describe_quantity(quantity)
        console.print(f"  [{COLOURS[quantity.verdict]}]{escape(head)}[/]", soft_wrap=True)
        for note in notes:
            console.print(f"  {escape(note)}", soft_wrap=True)
    if len(chosen) > len(shown):
        console.print(f"  ... and {len(chosen) - len(shown)} more; --verbose shows all")


def print_erratum(console: Console, report: Report, text: str) -> None:
    """A case that failed as it should: what is wrong in the source, and the evidence."""
    names = ", ".join(dict.fromkeys(label(q) for q in report.failures("gradients") if q.program == "jax"))
    console.print(
        f"[bold]erratum, found by the harness[/] in {escape(report.name)}: {escape(text)}. Gradients that "
        f"differ: {escape(names)}, and no other; the step and the curve differ as a consequence.",
    )


def print_summary(
    console: Console, report: Report, counts: Mapping[str, int], seconds: float, not_checked: Sequence[str]
) -> None:
    """Counts of verdicts, time, environment, and what was not checked."""
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.print(f"\n[bold]{told}[/] in {seconds:.0f} s. rho = difference / yardstick; at most 10 passes.")
    console.print(f"[dim]{escape(environment_line(report))}[/]")
    for line in not_checked:
        console.print(f"[dim]not checked: {escape(line)}[/]")
