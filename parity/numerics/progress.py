"""Progress reports: how long work says which phase has begun."""

from collections.abc import Callable

Progress = Callable[[str], None]
"""Called with a short description as each phase begins."""


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
