"""`python -m tests.mutants [PORT or FILE.py ...]`: right ports changed by rule, and what the harness says."""

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

from tests.mutants.rows import Outcome, Row, in_words
from tests.mutants.working import Work, prepared, worked

FAST = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
"""Every program runs a few times: compiling well would take longer than it saves."""

EACH = 5
"""Mutants of a port at least, until there are as many as were asked for."""

BATCH = 24
"""Pieces of work for each process before a new one takes over."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="FILE.py, or first letters of ports; default: all ports")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of mutants, weights and names")
    parser.add_argument("--count", type=int, default=200, help="mutants to check")
    parser.add_argument("--right", type=int, help="right ports to check; default: half as many")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=60, help="of the processor, for one check")
    parser.add_argument("--minutes", type=float, help="after which no other is begun")
    parser.add_argument("--keep", type=Path, help="keep rows here, and go on from those that are kept")
    parser.add_argument("--only", metavar="ID", help="check this mutant alone, and print the report")
    parser.add_argument("--write", type=Path, help="write the table here, as Markdown")
    arguments = parser.parse_args()
    os.environ.setdefault("XLA_FLAGS", FAST)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if arguments.only:
        show(arguments.only, arguments.seconds)
        return
    from tests.mutants.sources import port_names
    from tests.mutants.table import by_rule, page, summary

    try:
        names = port_names(arguments.names)
    except ValueError as error:
        parser.error(str(error))
    right = arguments.count // 2 if arguments.right is None else arguments.right
    work = planned(names, arguments.seed, arguments.count, right, arguments.seconds)
    rows = list(rows_of(work, arguments.jobs, arguments.minutes, arguments.keep))
    print("", *by_rule(rows), "", *summary(rows), sep="\n")
    if arguments.write:
        arguments.write.write_text(page(rows, arguments.seed))
        print(f"written to {arguments.write}")


def planned(names: list[str], seed: int, count: int, right: int, seconds: float) -> list[Work]:
    """The work, ports in an order by chance: mutants of each, and between them right ports."""
    order = list(names)
    random.Random(seed).shuffle(order)
    each = max(EACH, -(-count // len(order))) if count else 0
    times = -(-right // len(order)) if right else 0
    work = []
    for place, name in enumerate(order):
        if (many := min(each, count - place * each)) > 0:
            work.append(Work(name, seed, many, (), seconds))
        if (many := min(times, right - place * times)) > 0:
            seeds = tuple(1000 * seed + turn + 1 for turn in range(many))
            work.append(Work(name, seed, 0, seeds, seconds))
    return work


def rows_of(work: list[Work], jobs: int, minutes: float | None, keep: Path | None) -> Iterator[Row]:
    """The rows, computed in processes of their own and printed as they come, those that are kept first."""
    until = time.monotonic() + 60 * minutes if minutes else None
    context = multiprocessing.get_context("spawn")
    known = dict(kept(keep)) if keep is not None and keep.exists() else {}
    for one in work:
        yield from known.get(one, ())
    left = [one for one in work if one not in known]
    done = 0
    # New processes now and then, for memory; `max_tasks_per_child` can hang in Python 3.11 (gh-115634).
    for start in range(0, len(left), BATCH * jobs):
        with futures.ProcessPoolExecutor(jobs, context, prepared, (until,)) as pool:
            waiting = {pool.submit(worked, one): one for one in left[start : start + BATCH * jobs]}
            for future in futures.as_completed(waiting):
                done += 1
                rows, whole = future.result()
                for row in rows:
                    print(f"{done}/{len(left)} {in_words(row)}", flush=True)
                if keep is not None and whole:
                    with keep.open("a") as file:
                        file.write(json.dumps([waiting[future], rows]) + "\n")
                yield from rows
        if until is not None and time.monotonic() > until:
            return


def kept(path: Path) -> Iterator[tuple[Work, list[Row]]]:
    """What was kept of earlier runs: pieces of work and their rows."""
    for line in path.read_text().splitlines():
        work, rows = json.loads(line)
        name, seed, count, seeds, seconds = work
        as_rows = [Row(*row)._replace(outcome=Outcome(row[Row._fields.index("outcome")])) for row in rows]
        yield Work(name, seed, count, tuple(seeds), seconds), as_rows


def show(identifier: str, seconds: float) -> None:
    """Check one mutant again and print the harness's report."""
    import warnings

    warnings.simplefilter("ignore")
    from tests.mutants.trying import mutants_of, reports

    name = identifier.rsplit(":", 3)[0]
    with reports() as printed:
        rows = list(mutants_of(name, 0, 1, seconds, identifier))
    if not rows:
        sys.exit(f"{name} has no mutant {identifier}")
    for row in rows:
        print(*printed, f"changed: {row.text} at {row.line}", in_words(row), sep="\n")


if __name__ == "__main__":
    sys.exit(main())
