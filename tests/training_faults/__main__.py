"""`python -m tests.training_faults [--write docs/training-faults.md]`: the cases, as a table with rates."""

import argparse
import importlib.metadata
import warnings
from pathlib import Path

from tests.training_faults.catalogue import FAULTS, RIGHT
from tests.training_faults.suite import Row, rates, report_of

MARK = {True: "yes", False: "**no**"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.training_faults", description=__doc__)
    parser.add_argument("--write", type=Path, help="write the table here, as Markdown")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    cases = {**RIGHT, **FAULTS}
    rows = []
    for number, (name, case) in enumerate(cases.items(), 1):
        rows.append(Row(name, case, report_of(case)))
        print(f"{number}/{len(cases)} {name}: {said(rows[-1])}", flush=True)
    for what, share in rates(rows).items():
        print(f"{what}: {share}")
    if arguments.write:
        arguments.write.write_text(page(rows))
        print(f"written to {arguments.write}")


def said(row: Row) -> str:
    parting = row.report.parting
    if parting is None:
        return row.report.verdict.value
    cause = f"; {parting.cause}" if parting.cause else ""
    return row.report.sides.named(f"step {parting.step}, {parting.phase}{cause}")


def page(rows: list[Row]) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "jax", "optax"))
    lines = [
        "# Seeded faults of training",
        "",
        "What `parity.check_training` says of every set-up in `tests/training_faults`. Written by",
        "`python -m tests.training_faults --write docs/training-faults.md`; nothing here is by hand.",
        "",
        f"{versions}.",
        "",
        *[f"- {what}: {share}" for what, share in rates(rows).items()],
        "",
        "| fault | found | step and phase | cause | what is said |",
        "|---|---|---|---|---|",
    ]
    faults = [row for row in rows if row.case.phase is not None]
    lines += [
        f"| {row.name} | {MARK[row.report.verdict.value == 'fail']} | {MARK[row.placed]} | {MARK[row.named]} "
        f"| {said(row).replace('|', '/')} |"
        for row in faults
    ]
    lines += ["", "| right set-up | verdict |", "|---|---|"]
    lines += [f"| {row.name} | {row.report.verdict.value} |" for row in rows if row.case.phase is None]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
