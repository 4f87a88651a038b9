"""`python -m tests.roundings [NAME ...]`: verdicts in bfloat16 and float16, with rates.

A name is the beginning of a case's, such as `layer norm` or `rotary/halves`.
"""

import argparse
import sys
import time

import parity
from tests.roundings.declare import Case, cases


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.roundings", description=__doc__)
    parser.add_argument("names", nargs="*", help="cases, or how their names begin; default: all")
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], help="in one dtype alone")
    arguments = parser.parse_args()
    chosen = [case for case in cases() if arguments.dtype in (None, case.dtype)]
    if arguments.names:
        chosen = [case for case in chosen if case.id.startswith(tuple(arguments.names))]
    good: dict[tuple[str, bool], list[bool]] = {}
    for case in chosen:
        good.setdefault((case.dtype, case.right), []).append(_told(case))
    for (dtype, right), outcomes in good.items():
        what = "right ports passed" if right else "faults found"
        print(f"{dtype}: {sum(outcomes)} of {len(outcomes)} {what}")
    sys.exit(0 if all(map(all, good.values())) else 1)


def _told(case: Case) -> bool:
    """Check one case, print its row, and say whether the verdict is right."""
    started = time.perf_counter()
    try:
        report = case.report()
    except Exception as error:
        print(f"{case.id:60} ERROR {type(error).__name__}: {str(error)[:200]}", flush=True)
        return False
    passed = report.verdict is parity.Verdict.PASS
    good = passed if case.right else report.verdict is parity.Verdict.FAIL and bool(report.divergences)
    where = ""
    if report.divergences:
        first = report.divergences[0]
        where = f"{first.stage}: {first.candidate[0].code[:60] if first.candidate else ''}"
    mark = "" if good else "FALSE ALARM" if case.right else "MISSED"
    print(
        f"{case.id:60} {report.verdict:12} {mark:12} {where} ({time.perf_counter() - started:.1f} s)",
        flush=True,
    )
    return good


if __name__ == "__main__":
    main()
