"""Notes on quantities, each told once: twenty gradients that say the same are one line with a count."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from parity.report.quantities import Quantity

_FIGURE = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
"""Numbers in a note: two notes that differ in these alone say the same."""


class Note(NamedTuple):
    """A note, and how often it is made.

    Attributes:
        first: the quantity that it is made of first.
        text: the note, with the figures of that quantity.
        others: quantities of which the same is said, other figures or not.
    """

    first: Quantity
    text: str
    others: int


def sense(note: str) -> str:
    """What a note says, without its figures.

    >>> sense("stability: JAX moves 1.5e+06 times as far")
    'stability: JAX moves # times as far'

    Args:
        note: a note on a quantity.
    """
    return _FIGURE.sub("#", note)


def each_once(quantities: Iterable[Quantity]) -> list[Note]:
    """The notes on some quantities, those that say the same as one, in the order in which they come.

    Args:
        quantities: in the order in which they are told.
    """
    found: dict[str, Note] = {}
    for quantity in quantities:
        for text in dict.fromkeys(quantity.notes):
            known = found.get(sense(text))
            found[sense(text)] = (
                Note(quantity, text, 0) if known is None else known._replace(others=known.others + 1)
            )
    return list(found.values())
