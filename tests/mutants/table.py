"""The table by rule, the lists of what went wrong, and the page that has both."""

import importlib.metadata
from collections.abc import Callable, Iterable, Sequence

from tests.mutants.rows import Outcome, Row
from tests.mutants.rules import RULES

HEAD = (
    "| rule | mutants | equivalent | found | missed | stopped | late | placed | first | named | misnamed |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def by_rule(rows: Sequence[Row]) -> list[str]:
    """The table: a line for each rule, then the totals and the rates."""
    drawn = [row for row in rows if row.rule]
    lines = [*HEAD]
    for rule in RULES:
        if one := [row for row in drawn if row.rule == rule]:
            lines.append(_line(rule, one))
    return [*lines, _line("all", drawn)]


def _line(name: str, rows: Sequence[Row]) -> str:
    counts = {outcome: sum(row.outcome is outcome for row in rows) for outcome in Outcome}
    found = [row for row in rows if row.outcome is Outcome.FOUND]
    real = len(rows) - counts[Outcome.EQUIVALENT]
    cells = [
        name,
        str(len(rows)),
        str(counts[Outcome.EQUIVALENT]),
        share(len(found), real),
        *(str(counts[o]) for o in (Outcome.MISSED, Outcome.STOPPED, Outcome.LATE)),
        share(sum(row.placed for row in found), len(found)),
        share(sum(row.first for row in found), len(found)),
        share(sum(row.named for row in found), len(found)),
        share(sum(row.misnamed for row in found), len(found)),
    ]
    return f"| {' | '.join(cells)} |"


def share(part: int, whole: int) -> str:
    """A part and its percentage."""
    return f"{part} ({100 * part / whole:.0f} %)" if whole else "-"


def summary(rows: Sequence[Row]) -> list[str]:
    """What the right ports came to, in a line each."""
    right = _right(rows)
    lines = [f"right ports checked: {len(right)}, over {len({row.port for row in right})} ports"]
    for outcome, words in (
        (Outcome.FOUND, "false alarms"),
        (Outcome.STOPPED, "errors"),
        (Outcome.LATE, "late"),
    ):
        count = sum(row.outcome is outcome for row in right)
        lines.append(f"{words}: {count} of {len(right)} = {100 * count / max(1, len(right)):.1f} %")
    return lines


def _right(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not row.rule and row.outcome is not Outcome.UNFIT]


def page(rows: Sequence[Row], seed: int) -> str:
    """The page, as Markdown."""
    drawn = [row for row in rows if row.rule]
    found = [row for row in drawn if row.outcome is Outcome.FOUND]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "jax", "flax"))
    lines = [
        "# Mutants",
        "",
        "Right ports with one equation of their jaxpr changed by rule, and what the harness says of them.",
        "Written by `python -m tests.mutants --write docs/mutants.md`; nothing here is by hand.",
        "",
        f"{len(drawn)} mutants of {len({row.port for row in drawn})} right ports, seed {seed}. {versions}.",
        "",
        "Every check runs in float64 alone, without moved weights and finite differences (the ports'",
        "weights are random already). It is given the shapes of the leaves and the layout of the images;",
        "of the project's ports no weights and no pins.",
        "",
        "- *Equivalent*: outputs and gradients equal the right port's to 1e-9 in float64; it is not checked.",
        "  Or the check passes and the outputs are the right ones with the weights that it loads:",
        "  `x @ kernel.T` for `x @ kernel` is as right, of a kernel that lies the other way.",
        "- *Found*, of the others: the verdict is fail. *Stopped*: the check raised an error.",
        "- *Placed*, of the found: a reported line is that of the changed equation, or of a value next to",
        "  it. *First*: the first reported line is.",
        "- *Named*, of the found: the kind of cause is one that is true of the rule",
        "  (`tests/mutants/rules.py:RULES`). *Misnamed*: it is another. The rest has no cause.",
        "",
        *by_rule(rows),
        "",
        "`python -m tests.mutants --only ID` checks one of them again.",
    ]
    lines += _listed("Missed", drawn, lambda row: row.outcome is Outcome.MISSED, lambda row: row.verdict)
    lines += _listed("Stopped", drawn, lambda row: row.outcome is Outcome.STOPPED, lambda row: row.verdict)
    lines += _listed(
        "Late", drawn, lambda row: row.outcome is Outcome.LATE, lambda row: f"{row.seconds:.0f} s"
    )
    lines += _listed("Not placed", found, lambda row: not row.placed, lambda row: row.where or "no line")
    lines += _listed("Misnamed", found, lambda row: row.misnamed, lambda row: row.cause)
    lines += _listed("Without a cause", found, lambda row: not row.cause, lambda row: row.where or "no line")
    lines += [
        "",
        "## Right ports",
        "",
        "The same ports unchanged, with weights drawn anew and leaves renamed and shuffled. Of the leaves",
        "the harness is given the shapes and nothing else.",
        "",
        *(f"- {line}" for line in summary(rows)),
    ]
    right = _right(rows)
    for title, outcome in (
        ("False alarms", Outcome.FOUND),
        ("Errors", Outcome.STOPPED),
        ("Too late", Outcome.LATE),
    ):
        lines += _listed(title, right, lambda row, o=outcome: row.outcome is o, _of_right, "###")
    unfit = [row for row in rows if row.outcome is Outcome.UNFIT]
    once = {row.port: row for row in unfit}.values()
    lines += _listed("Ports that could not be opened", list(once), lambda row: True, lambda row: row.verdict)
    return "\n".join(lines) + "\n"


def _of_right(row: Row) -> str:
    return f"{row.verdict} {row.where}".strip()


def _listed(
    title: str,
    rows: Sequence[Row],
    wanted: Callable[[Row], bool],
    said: Callable[[Row], str],
    level: str = "##",
) -> list[str]:
    """A section with the rows that are wanted; nothing where there is none."""
    chosen = [row for row in rows if wanted(row)]
    if not chosen:
        return []
    lines = ["", f"{level} {title}", "", "| id | changed | line | said |", "|---|---|---|---|"]
    return lines + [
        f"| {row.id} | {row.text} | {row.line} | {said(row).replace('|', '/')} |" for row in chosen
    ]
