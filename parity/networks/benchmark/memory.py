"""How far memory rises while something runs, beyond what was there before: data, weights, programs."""

import contextlib
import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from parity.numerics.precision import jax_device

if TYPE_CHECKING:
    import jax

Returned = TypeVar("Returned")

RESET_PEAK = "5"
"""What makes Linux forget the highest resident set of a process (proc(5), /proc/pid/clear_refs)."""


def rise(run: Callable[[], Returned], framework: str, device: str) -> tuple[Returned, int | None]:
    """Run something and measure the peak of memory meanwhile, less what was in use before.

    On a CPU it is the resident set of the process, which Linux alone lets us measure; on a GPU the
    allocator of the framework that runs. JAX's never forgets its peak: of a run that stays below an
    earlier one nothing is known.

    Args:
        run: what to run.
        framework: "jax" or "torch" matters on a GPU.
        device: "cpu" or "cuda".

    Returns:
        What `run` returned, and bytes; None where they cannot be measured.
    """
    if device == "cpu":
        return _of_process(run)
    return _of_torch(run) if framework == "torch" else _of_jax(run, jax_device(device))


def _of_process(run: Callable[[], Returned]) -> tuple[Returned, int | None]:
    try:
        if sys.platform != "linux":
            raise OSError("there is no /proc")
        with contextlib.suppress(OSError, AttributeError):  # a C library without it: freed pages stay
            ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)
        before = _status("VmRSS")
    except (OSError, ValueError):  # no such file, or not allowed in this container
        return run(), None
    result = run()
    return result, max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    """Bytes of an entry of /proc/self/status.

    Raises:
        ValueError: if there is no such entry.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return 1024 * int(value.split()[0])
    raise ValueError(f"/proc/self/status has no {name}: this kernel does not say it")


def _of_torch(run: Callable[[], Returned]) -> tuple[Returned, int | None]:
    import torch

    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    result = run()
    return result, torch.cuda.max_memory_allocated() - before


def _of_jax(run: Callable[[], Returned], place: "jax.Device") -> tuple[Returned, int | None]:
    before = place.memory_stats() or {}
    result = run()
    return result, risen(before, place.memory_stats() or {})


def risen(before: dict[str, int], after: dict[str, int]) -> int | None:
    """Bytes from what was in use before to a new peak; None if the peak is an older one.

    Args:
        before: JAX's memory statistics before a run.
        after: those after it.

    >>> risen({"bytes_in_use": 5, "peak_bytes_in_use": 9}, {"bytes_in_use": 6, "peak_bytes_in_use": 12})
    7
    """
    peak = after.get("peak_bytes_in_use")
    if peak is None or peak <= before.get("peak_bytes_in_use", 0):
        return None
    return peak - before.get("bytes_in_use", 0)
