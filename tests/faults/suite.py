"""The harness against every declared case: detected, placed, explained; controls left alone."""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any

import jax

from parity.pipeline.outcome import stopped
from parity.report.results import Report, Verdict
from tests.faults.declare import Case, fault_lines
from tests.kit import checking

PREFIXES = {
    "W": "weight-layout",
    "R": "recurrent",
    "P": "padding-pooling",
    "N": "norm",
    "A": "activation",
    "T": "attention",
    "X": "numerics",
    "M": "misc",
    "K": "controls",
}
DTYPES = {"float32": ("float32",), "bfloat16": ("float64", "bfloat16")}
"""What is judged in the modes that need other dtypes than a check takes by itself."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What the harness said of one case.

    Attributes:
        case: the case.
        skipped: why it was not run, or "".
        right: verdict on the right port ("" for controls, which have none).
        faulty: verdict on the faulty port (of a control: on the deviating one).
        detected: the faulty port failed.
        placed: a marked line was named, or one of the tensors.
        first: the first place named was a marked one.
        cause: the cause that was named, or "".
        explained: it is the declared one, or one that is equally true.
        seconds: of both checks.
    """

    case: Case
    skipped: str = ""
    right: str = ""
    faulty: str = ""
    detected: bool = False
    placed: bool = False
    first: bool = False
    cause: str = ""
    explained: bool = False
    seconds: float = 0.0

    @property
    def false_alarm(self) -> bool:
        """Whether a right port or a control failed."""
        return self.right == "fail" or (self.case.benign and self.faulty == "fail")


def run(case: Case) -> Row:
    """Check the right and the faulty port of a case."""
    if case.mode == "accelerator":
        return Row(case, skipped="needs an accelerator")
    started = time.perf_counter()
    right = "" if case.benign else check(case, False).verdict.value
    report = check(case, True)
    named = lines_of(report)
    marked = set(fault_lines(case.id))
    failed = {name for q in report.failures("weights") for name in q.name.split(", ")}
    by_tensor = bool(failed & set(case.tensors))
    first = report.divergences[0] if report.divergences else None
    causes = [d.cause.name for d in report.divergences if d.cause is not None]
    accepted = {case.cause, *case.also} - {None}
    return Row(
        case,
        right=right,
        faulty=report.verdict.value,
        detected=report.verdict is Verdict.FAIL,
        placed=by_tensor or bool(marked & named),
        first=by_tensor or (first is not None and bool(marked & set(lines_of_one(first.candidate)[:1]))),
        cause=causes[0] if causes else "",
        explained=bool(accepted & set(causes[:1])),
        seconds=time.perf_counter() - started,
    )


def check(case: Case, faulty: bool) -> Report:
    """One check, as its user would call it; what JAX traced for another case is forgotten."""
    jax.clear_caches()
    name = f"{case.id} {'faulty' if faulty else 'right'}"
    how = {"dtypes": DTYPES[case.mode]} if case.mode in DTYPES else {}
    try:
        return checking.check(case.pair(faulty), name=name, **how)
    except Exception as error:  # a control that must not run at all
        return stopped(name, error)


def lines_of(report: Report) -> set[tuple[str, int]]:
    """(file, line) of every JAX place in a report."""
    return {line for d in report.divergences for line in lines_of_one(d.candidate)}


def lines_of_one(places: Sequence[Any]) -> list[tuple[str, int]]:
    """(file, line) of places."""
    return [(place.file, place.line) for place in places]


def rates(rows: Iterable[Row]) -> dict[str, str]:
    """The four rates, each as "part of whole = percent"."""
    run_rows = [row for row in rows if not row.skipped]
    faults = [row for row in run_rows if not row.case.benign]
    found = [row for row in faults if row.detected]
    local = [row for row in found if row.case.cause is not None]
    right = [row for row in run_rows if row.right or row.case.benign]

    def share(part: int, whole: int) -> str:
        return f"{part} of {whole} = {100 * part / max(1, whole):.1f} %"

    return {
        "detected": share(len(found), len(faults)),
        "placed at a marked line or tensor": share(sum(r.placed for r in found), len(found)),
        "placed there first": share(sum(r.first for r in found), len(found)),
        "cause named, of those with a local cause": share(sum(r.explained for r in local), len(local)),
        "false alarms, of right ports and controls": share(sum(r.false_alarm for r in right), len(right)),
    }
