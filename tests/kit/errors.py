"""What an error tells its reader: its kind, its message and its notes."""


def told(error: BaseException) -> str:
    """The text that a traceback ends with, on one line."""
    notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}{notes}"
