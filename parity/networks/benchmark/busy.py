"""How long a GPU was at work during a run: the rest of the time is spent on launching.

Written from the documentation of torch.profiler; not yet run on a GPU. CUPTI, which it is built on, records
the kernels and copies of the whole process, so XLA's as well as PyTorch's.
"""

import time
from collections.abc import Callable, Iterable


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals: kernels that overlap, on several streams, count once.

    Args:
        intervals: (start, end) in any order, in one unit.

    >>> covered([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.2, 5.4)])
    4.0
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def launch_share(run: Callable[[], object], device: str) -> float | None:
    """The share of one run's time in which the device did nothing, waiting to be told what to do.

    Args:
        run: trains, and waits until all is done.
        device: "cpu" or "cuda".

    Returns:
        From 0 to 1; None on a CPU, and where the profiler saw no kernel or failed.
    """
    if device != "cuda":
        return None
    try:
        intervals, seconds = _profiled(run)
    except Exception:  # a profiler that is not allowed or not there must not cost the row
        return None
    return idle(intervals, seconds)


def idle(intervals: Iterable[tuple[float, float]], seconds: float) -> float | None:
    """The share of a time that intervals do not cover: one minus the covered share.

    Args:
        intervals: (start, end) in seconds, in any order.
        seconds: length of the whole time.

    Returns:
        From 0 to 1; None without intervals.

    >>> idle([(0.0, 1.0), (0.5, 2.0)], seconds=8.0)
    0.75
    """
    busy = covered(intervals)
    return max(0.0, 1 - busy / seconds) if busy and seconds else None


def _profiled(run: Callable[[], object]) -> tuple[list[tuple[float, float]], float]:
    """Seconds from start to end of each kernel, copy and fill, and the run's own seconds."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return [
        (1e-6 * event.time_range.start, 1e-6 * event.time_range.end)
        for event in profiler.events()
        # An optimiser's step and the like are also drawn on the device, from first to last kernel.
        if event.device_type.name == "CUDA" and not getattr(event, "is_user_annotation", False)
    ], seconds
