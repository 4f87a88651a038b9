"""Progress reports: how long work says which phase has begun."""

from collections.abc import Callable
from typing import TypeVar

Progress = Callable[[str], None]
"""Called with a short description as each phase begins."""

Read = TypeVar("Read")
"""What is read."""


def no_progress(text: str) -> None:
    """Report nothing: the default of every function that takes a `Progress`.

    Args:
        text: description of the phase that begins.
    """


def prefixed(progress: Progress, prefix: str) -> Progress:
    """The same report with a prefix before every description.

    Args:
        progress: where descriptions go.
        prefix: what stands before each of them, with a colon between.

    >>> prefixed(print, "1/2 softmax")("training")
    1/2 softmax: training
    """
    return lambda text: progress(f"{prefix}: {text}")


class ReadingProgress:
    """A `Progress` that also says what is being read in the phase.

    >>> progress = ReadingProgress(print)
    >>> progress("noise in float32")
    noise in float32
    >>> progress.reading("layers.3.weight", 1.0)
    noise in float32: layers.3.weight
    1.0
    """

    def __init__(self, progress: Progress) -> None:
        """Nothing is read yet.

        Args:
            progress: where descriptions go.
        """
        self._progress, self._phase = progress, ""

    def __call__(self, text: str) -> None:
        """A phase begins."""
        self._phase = text
        self._progress(text)

    def reading(self, name: str, value: Read) -> Read:
        """Something is read, and given back as it is.

        Args:
            name: of what is read.
            value: what is read.
        """
        self._progress(f"{self._phase}: {name}")
        return value
