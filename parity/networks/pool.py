"""Several cases at once, each in a process of its own with its share of the threads.

The process that waits for the others loads neither framework.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from parity.networks.processes import ProcessError, end_with_parent
from parity.networks.registry import CASES, Case, CaseResult
from parity.numerics.progress import Progress, prefixed

MOST = 4
"""Processes by default at most: each loads both frameworks, about half a GiB."""

LONG = ("cnn", "cnn_global_pool", "mlp")
"""Cases that take longest, to be begun first; it matters to the time alone."""


def default_jobs(device: str, num_cases: int) -> int:
    """How many processes to run so many cases in: one per core, but one alone on a GPU.

    Args:
        device: "cpu" or "cuda".
        num_cases: how many cases there are.

    Returns:
        At least 1, at most `MOST`.
    """
    if device != "cpu":
        return 1
    return max(1, min(MOST, num_cases, os.cpu_count() or 1))


def run_cases(cases: Sequence[Case], *, jobs: int, progress: Progress, **how: Any) -> list[CaseResult]:
    """Run cases, several at once.

    Args:
        cases: which ones.
        jobs: processes, at least 1; one means this one.
        progress: called with a short description as each phase begins.
        how: further arguments of `run_case`.

    Returns:
        The results in the order of `cases`.

    Raises:
        ValueError: as `run_case`.
        ProcessError: if a process dies.
    """
    if jobs == 1:
        return list(_one_by_one(cases, progress, how))
    context = multiprocessing.get_context("spawn")  # a fork would share threads that are not there
    first = sorted(cases, key=lambda case: LONG.index(case.name) if case.name in LONG else len(LONG))
    with ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(jobs,)) as pool:
        running = {pool.submit(_run, case.name, how): case.name for case in first}
        results: dict[str, CaseResult] = {}
        try:
            for done in as_completed(running):
                results[running[done]] = done.result()
                left = [name for name in running.values() if name not in results]
                progress(f"{len(results)}/{len(cases)} done, {', '.join(left[:jobs])}")
        except BrokenProcessPool as error:
            why = "a process that ran cases has died, for want of memory perhaps; --jobs 1 needs least"
            raise ProcessError(why) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[case.name] for case in cases]


def _one_by_one(cases: Sequence[Case], progress: Progress, how: dict[str, Any]) -> Iterator[CaseResult]:
    from parity.networks.run_case import run_case

    for number, case in enumerate(cases, 1):
        yield run_case(case, progress=prefixed(progress, f"{number}/{len(cases)} {case.name}"), **how)


def _begin(jobs: int) -> None:
    """What a process does first: Ctrl-C ends the parent, which ends it, and threads are shared out."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))


def _run(name: str, how: dict[str, Any]) -> CaseResult:
    from parity.networks.run_case import run_case

    return run_case(CASES[name], **how)
