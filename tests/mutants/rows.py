"""What one trial came to, as plain data."""

import enum
from typing import NamedTuple


class Outcome(enum.StrEnum):
    """What became of a mutant, or of a right port.

    `FOUND`: the verdict is fail. `MISSED`: it is another. `EQUIVALENT`: the change changes nothing beyond
    rounding, or nothing once the leaves are filled another way. `STOPPED`: the check raised an error.
    `LATE`: it ran past its time. `UNFIT`: the port could not be opened, or the change gives values of other
    shapes.
    """

    FOUND = "found"
    MISSED = "missed"
    EQUIVALENT = "equivalent"
    STOPPED = "stopped"
    LATE = "late"
    UNFIT = "unfit"


class Row(NamedTuple):
    """One trial.

    Attributes:
        id: with which it can be run again.
        port: the right port.
        rule: how it was changed; "" where it was not.
        text: what was changed.
        line: file and line of it.
        outcome: what became of it.
        verdict: the report's, or what was raised.
        placed: a reported line is that of the equation, or of the value next to it.
        first: the first reported line is.
        where: the first reported line.
        cause: the kind that was named, or "".
        named: that kind is true of the rule.
        seconds: of the processor, for evaluating and checking.
    """

    id: str
    port: str
    rule: str
    text: str
    line: str
    outcome: Outcome
    verdict: str = ""
    placed: bool = False
    first: bool = False
    where: str = ""
    cause: str = ""
    named: bool = False
    seconds: float = 0.0

    @property
    def misnamed(self) -> bool:
        """Whether a cause was named that is not true of the rule."""
        return bool(self.cause) and not self.named


def in_words(row: Row) -> str:
    """A row as a line of progress."""
    if row.outcome is Outcome.FOUND and row.rule:
        place = "first" if row.first else "placed" if row.placed else f"NOT PLACED ({row.where or '-'})"
        named = "named" if row.named else "MISNAMED" if row.cause else "no cause"
        what = f"found, {place}, {named} {row.cause}".rstrip()
    else:
        loud = row.outcome in (Outcome.MISSED, Outcome.STOPPED) or (
            not row.rule and row.outcome is Outcome.FOUND
        )
        what = f"{row.outcome.upper() if loud else row.outcome.value} {row.verdict}".rstrip()
    return f"{row.id}: {row.text}, {what} ({row.seconds:.1f} s)"
