"""The table of `parity run`, for people."""

import dataclasses
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from parity.report.divergence_text import describe_divergences
from parity.report.folding import folded
from parity.report.kinds import COMPUTED, TRAINING
from parity.report.results import AS_STORED, LIMIT, Quantity, Report, Stage, Verdict
from parity.report.rounded import short
from parity.report.sentences import capitalised
from parity.report.text import describe_quantity, environment_line, label

COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.ERROR: "red", Verdict.INCONCLUSIVE: "yellow"}


def print_table(console: Console, reports: Sequence[tuple[Report, Verdict, str | None]]) -> None:
    """Two lines per case, one for each precision; every stage shows the worst rho of its quantities.

    Args:
        console: where to print; 80 columns are enough.
        reports: (report, verdict to show, text of an erratum or None) in the order of the rows.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    headings = [stage.heading for stage in COMPUTED]
    for name in ("case", "", *headings, "error", "yardst.", "verdict"):
        left = name in ("case", "", "verdict")
        table.add_column(name, no_wrap=True, justify="left" if left else "right")
    for report, verdict, erratum in reports:
        if report.error is not None or not report.dtypes:
            table.add_row(escape(report.name), *["-"] * (len(COMPUTED) + 3), _coloured(Verdict.ERROR))
        for row, dtype in enumerate(report.dtypes):
            table.add_row(*_row(report, dtype, verdict, erratum, first=row == 0))
    console.print(table)


def print_programs(console: Console, reports: Sequence[Report]) -> None:
    """The worst rho of training for every program that trained, against PyTorch in one process.

    Args:
        console: where to print; 80 columns are enough for four programs.
        reports: of cases that were trained by more than two programs.
    """
    trained = [[q for stage in TRAINING for q in r.select(stage)] for r in reports if not r.error]
    names = list(dict.fromkeys(q.program for quantities in trained for q in quantities))
    table = Table(
        box=None, pad_edge=False, padding=(0, 1), title="worst rho of training", title_justify="left"
    )
    table.add_column("case", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in names:
        table.add_column(escape(name), justify="right")
    for report in reports:
        for row, dtype in enumerate(report.dtypes):
            cells = [escape(report.name) if row == 0 else "", dtype.replace("float", "f")]
            for name in names:
                training = tuple(q for stage in TRAINING for q in report.select(stage, dtype))
                worst = dataclasses.replace(report, quantities=training).worst(program=name)
                cells.append("-" if worst is None else _rho(worst))
            table.add_row(*cells)
    what = capitalised(" and ".join(stage.heading for stage in TRAINING))
    console.print(f"\n{what} of every program against PyTorch's in one process, worst rho:")
    console.print(table)


def _row(report: Report, dtype: str, verdict: Verdict, erratum: str | None, *, first: bool) -> list[str]:
    cells = [escape(report.name) if first else "", dtype.replace("float", "f")]
    for stage in COMPUTED:
        worst = report.worst(stage, AS_STORED if stage is Stage.WEIGHTS else dtype)
        cells.append("-" if worst is None else _rho(worst))
    worst = report.worst(dtype=dtype)
    if worst is None:
        return [*cells, "-", "-", _coloured(Verdict.ERROR)]
    between = report.worst(dtype=dtype, program="candidate") or worst  # the two frameworks, no oracle
    cells += [short(between.relative_error), short(between.relative_yardstick)]
    as_foreseen = erratum is not None and verdict is Verdict.PASS
    return [*cells, "[green]erratum[/]" if as_foreseen else _coloured(worst.verdict)]


def _rho(worst: Quantity) -> str:
    if worst.stage is Stage.WEIGHTS and worst.difference == 0:
        return "[green]exact[/]"
    # A star: over the limit, yet closer to float64 than PyTorch is, which is what counts there.
    star = "*" if worst.verdict is Verdict.PASS and worst.rho > LIMIT else ""
    return f"[{COLOURS[worst.verdict]}]{short(worst.rho)}{star}[/]"


def _coloured(verdict: Verdict) -> str:
    word = {Verdict.INCONCLUSIVE: "unsure"}.get(verdict, verdict.value)
    return f"[{COLOURS[verdict]}]{word}[/]"


def print_findings(console: Console, report: Report, *, everything: bool = False, most: int = 8) -> None:
    """Print the quantities of a report that did not pass, or all of them.

    Args:
        console: where to print.
        report: of one case.
        everything: whether to print quantities that pass, too.
        most: how many to print at most, unless everything is wanted.
    """
    if report.error is not None:
        console.print(f"[red]{escape(report.name)}: {escape(report.error)}[/]")
    chosen = [q for q in report.quantities if everything or q.verdict is not Verdict.PASS]
    shown = chosen if everything or len(chosen) <= most else chosen[:most]
    if shown:
        console.print(f"[bold]{escape(report.name)}[/]")
    places = describe_divergences(report, console.width - 2, verbose=everything)
    for line in folded(places, console.width - 2):
        console.print(f"  {escape(line)}", soft_wrap=True)
    for quantity in shown:
        head, *notes = describe_quantity(quantity, report.sides)
        for line in folded([head], console.width - 2):
            console.print(f"  [{COLOURS[quantity.verdict]}]{escape(line)}[/]", soft_wrap=True)
        for note in folded(notes, console.width - 2):
            console.print(f"  {escape(note)}", soft_wrap=True)
    if len(chosen) > len(shown):
        console.print(f"  ... and {len(chosen) - len(shown)} more; --verbose shows all")


def print_erratum(console: Console, report: Report, text: str) -> None:
    """Print that a case failed as it must: what is wrong in the source, and the evidence.

    Args:
        console: where to print.
        report: of the case.
        text: what is wrong in the source.
    """
    names = ", ".join(
        dict.fromkeys(label(q) for q in report.failures("gradients") if q.program == "candidate")
    )
    console.print(
        f"[bold]erratum, found by the harness[/] in {escape(report.name)}: {escape(text)}. Gradients that "
        f"differ: {escape(names)}, and no other; the step and the curve differ as a consequence.",
    )


def print_summary(
    console: Console, report: Report, counts: Mapping[str, int], seconds: float, not_checked: Sequence[str]
) -> None:
    """Print how to read the table, the verdicts, the time, the environment, and what was not checked.

    Args:
        console: where to print.
        report: of any case; its environment is that of all.
        counts: number of cases by verdict, in words.
        seconds: of the whole run.
        not_checked: a line for each thing that was not checked.
    """
    console.print(
        "\nEach stage shows its worst rho: difference over yardstick, where the yardstick is how far one-ulp "
        f"noise moves the programs. At most {LIMIT:.0f} passes. error and yardst. are those of the worst "
        "quantity between the frameworks, relative to its size. * over the limit in float32, but PyTorch is "
        "the side further from float64."
    )
    verdicts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    console.print(f"[bold]{verdicts}[/] in {seconds:.0f} s")
    console.print(f"[dim]{escape(environment_line(report))}[/]")
    for line in not_checked:
        console.print(f"[dim]not checked: {escape(line)}[/]")
