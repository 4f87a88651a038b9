"""A cause must hold where it was not found: the change is tried again at the same place on another draw.

One draw of inputs and weights lets coincidences pass: on small or whole numbers some constant always fits.
The same family of hypotheses is asked at the same place with other numbers; what it says there must be what
it said here.
"""

import time
from collections.abc import Callable, Iterator

from parity.diagnose.fault import Fault
from parity.diagnose.trials import Change
from parity.localise.comparison import Comparison, Region

Elsewhere = Callable[[Region], tuple[Comparison, Region] | None]
"""The same place on another draw; None where there is no other."""

SECONDS = 3.0
"""CPU time for one confirmation, in seconds."""


class Confirmation:
    """The same fault on another draw, laid out when it is first asked for."""

    def __init__(self, elsewhere: Elsewhere | None, region: Region) -> None:
        """Keep what is needed to lay it out.

        Args:
            elsewhere: gives the same place on another draw.
            region: the fault as it was found.
        """
        self._elsewhere, self._region = elsewhere, region
        self._faults: dict[int, Fault | None] = {}

    def holds(
        self, family: Callable[[Fault], Iterator[Change]], depth: int, change: Change, fault: Fault
    ) -> bool:
        """Whether a change explains the fault on the other draw, too; true where there is no other to try.

        Args:
            family: the hypotheses that the change is one of.
            depth: of the fault.
            change: the change.
            fault: where it was found; the time that this takes is not its own.
        """
        started = time.process_time()
        try:
            return self._holds(family, depth, change)
        finally:
            fault.deadline += time.process_time() - started

    def _holds(self, family: Callable[[Fault], Iterator[Change]], depth: int, change: Change) -> bool:
        again = self._again(depth)
        if again is None:
            return True
        again.deadline = time.process_time() + SECONDS
        for other in family(again):
            if (other.cause, other.text) == (change.cause, change.text) and again.residual(other) is not None:
                return True
            if again.late:
                return True
        return again.late

    def _again(self, depth: int) -> Fault | None:
        """The fault on the other draw; None where it does not show there."""
        if depth not in self._faults:
            found = self._elsewhere(self._region) if self._elsewhere is not None else None
            fault = Fault(*found, depth, SECONDS) if found is not None else None
            self._faults[depth] = fault if fault is not None and fault.differs else None
        return self._faults[depth]
