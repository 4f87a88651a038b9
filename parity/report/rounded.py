"""Figures for people: a few characters each, whatever their size."""

import math


def rounded(value: float) -> str:
    """A figure in at most seven characters: 0, 0.013, 3.4, 1.2e+14, inf.

    >>> [rounded(x) for x in (0.0, 0.0134, 3.44, 123.4, 1.23e14, float("inf"))]
    ['0', '0.013', '3.4', '123', '1.2e+14', 'inf']
    """
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return str(value)
    if 0.001 <= abs(value) < 1000:
        return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"
    return f"{value:.1e}"


def short(value: float) -> str:
    """A figure in at most five characters, for a table.

    >>> [short(x) for x in (0.0, 0.0134, 3.44, 123.4, 1.23e14, 4.6e-16, float("inf"))]
    ['0', '0.013', '3.4', '123', '1e14', '5e-16', 'inf']
    """
    if value == 0 or not math.isfinite(value) or 0.001 <= abs(value) < 1000:
        text = rounded(value)
        return text if len(text) <= 5 else f"{value:.3f}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
