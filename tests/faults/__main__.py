"""`python -m tests.faults [ID ...] [--write docs/faults.md]`: the suite as a table, with its rates."""

import argparse
import importlib.metadata
import sys
import warnings
from collections import defaultdict
from pathlib import Path

from tests.faults.declare import cases
from tests.faults.suite import PREFIXES, Row, rates, run

MARK = {True: "yes", False: "**no**"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("ids", nargs="*", help="cases or first letters of a class; default: all")
    parser.add_argument("--write", type=Path, help="write the table here, as Markdown")
    arguments = parser.parse_args()
    chosen = [c for c in cases() if not arguments.ids or any(c.id.startswith(i) for i in arguments.ids)]
    rows = []
    for number, case in enumerate(chosen, 1):
        row = run(case)
        rows.append(row)
        print(f"{number}/{len(chosen)} {line(row)}", flush=True)
    print()
    for name, share in rates(rows).items():
        print(f"{name}: {share}")
    if arguments.write:
        arguments.write.write_text(page(rows))
        print(f"written to {arguments.write}")


def line(row: Row) -> str:
    if row.skipped:
        return f"{row.case.id}: skipped, {row.skipped}"
    place = "first" if row.first else "placed" if row.placed else "NOT PLACED"
    wanted = row.case.cause or "no local cause"
    named = row.cause or "-"
    if row.case.benign:
        return f"{row.case.id}: {'FALSE ALARM' if row.false_alarm else row.faulty} ({row.seconds:.1f} s)"
    verdicts = f"right {row.right}, faulty {row.faulty}"
    return f"{row.case.id}: {verdicts}, {place}, cause {named} ({wanted}) ({row.seconds:.1f} s)"


def page(rows: list[Row]) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "jax", "flax"))
    lines = [
        "# Seeded faults",
        "",
        "What the harness says of every case in `tests/faults`, each a right and a faulty port of the same",
        "PyTorch model. Written by `python -m tests.faults --write docs/faults.md`; nothing here is by hand.",
        "",
        f"{versions}.",
        "",
        *[f"- {name}: {share}" for name, share in rates(rows).items()],
    ]
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[PREFIXES[row.case.id[0]]].append(row)
    for name, group in groups.items():
        lines += ["", f"## {name}", ""]
        if name == "controls":
            lines += ["| id | what | verdict |", "|---|---|---|"]
            lines += [f"| {r.case.id} | {r.case.title} | {r.skipped or r.faulty} |" for r in group]
            continue
        lines += [
            "| id | fault | right | detected | placed | cause named | declared |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [cells(row) for row in group]
    return "\n".join(lines) + "\n"


def cells(row: Row) -> str:
    case = row.case
    if row.skipped:
        return f"| {case.id} | {case.title} | {row.skipped} | | | | {case.cause or 'none'} |"
    place = "first" if row.first else MARK[row.placed]
    return (
        f"| {case.id} | {case.title} | {row.right} | {MARK[row.detected]} | {place} | {row.cause or '-'} "
        f"| {case.cause or 'none'} |"
    )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main())
