"""The one exception of this package, how several faults become one message, and a check of counts."""

import operator
from collections.abc import Sequence

MAX_NAMED_FAULTS = 5
"""Faults spelt out in one message; the rest is counted, as a broken archive can have thousands."""


class DataError(ValueError):
    """Data that is missing, unreadable or not what its name promises; the message says what to do."""


def gathered(headline: str, faults: Sequence[str]) -> DataError:
    """Makes one error, on one line, of every fault that was found.

    Args:
        headline: What was being read, without a final stop.
        faults: At least one fault, each naming its file; the first `MAX_NAMED_FAULTS` are spelt out.

    Returns:
        The error, for the caller to raise.

    Example:
        >>> print(gathered("cannot prepare it", ["'a.jpg' is empty", "'b.jpg' is empty"]))
        cannot prepare it, 2 faults: 'a.jpg' is empty; 'b.jpg' is empty
    """
    named = "; ".join(faults[:MAX_NAMED_FAULTS])
    count = f", {len(faults)} faults" if len(faults) > 1 else ""
    rest = f"; and {len(faults) - MAX_NAMED_FAULTS} more" if len(faults) > MAX_NAMED_FAULTS else ""
    return DataError(f"{headline}{count}: {named}{rest}")


def require_at_least(least: int, **numbers: int) -> None:
    """Raises unless every number is an integer that is large enough.

    Args:
        least: The smallest number allowed.
        **numbers: The numbers by the names that the message shall use.

    Raises:
        ValueError: If one is smaller.
        TypeError: If one is no integer.
    """
    for name, number in numbers.items():
        if operator.index(number) < least:
            raise ValueError(f"`{name}` must be at least {least}, got {number}")
