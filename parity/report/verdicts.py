"""The four answers that a comparison can give."""

import enum
from collections.abc import Iterable

LIMIT = 10.0
"""Largest rho that passes. Correct ports measured at most 3.4 with noise on both sides, structural faults at
least 1e3 in float64; 10 leaves room on both sides (measurements in the design)."""


class Verdict(enum.StrEnum):
    """The four answers. Only `PASS` says that two programs agree.

    `exit_code` is what the command line returns: 0 pass, 1 fail, 2 error, 3 inconclusive.
    """

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    INCONCLUSIVE = "inconclusive"

    @property
    def exit_code(self) -> int:
        """Exit status of the process."""
        return {"pass": 0, "fail": 1, "error": 2, "inconclusive": 3}[self.value]

    @staticmethod
    def worst(verdicts: Iterable["Verdict"]) -> "Verdict":
        """The gravest of several verdicts; nothing compared is an error, never a pass.

        >>> Verdict.worst([Verdict.PASS, Verdict.INCONCLUSIVE]).value
        'inconclusive'
        >>> Verdict.worst([]).value
        'error'
        """
        return min(verdicts, key=GRAVITY.index, default=Verdict.ERROR)


GRAVITY = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)
"""The verdicts, the gravest first."""
