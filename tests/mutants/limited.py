"""A limit on the processor time of what runs in the main thread of a process.

On a busy machine the clock says little.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType


class Late(BaseException):
    """The time is up. No `Exception`: a search that carries on after errors must not carry on after this."""


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Late` in the block after some seconds of the processor."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Late(f"after {seconds:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
