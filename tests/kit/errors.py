"""What an error tells its reader: its kind, its message and its notes."""

from pathlib import Path

import parity

HARNESS = str(Path(parity.__file__).parent)
"""Where the harness's own lines are; what a user is shown of an error has none of them."""


def told(error: BaseException) -> str:
    """The text that a traceback ends with, on one line."""
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}{notes}"
