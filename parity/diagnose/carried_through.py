"""A cause must hold at the end: with the change put in, the failed outputs come to what they should.

The faulty value may agree with a change that mends nothing: one that stands for an operand which other code
reads as well, and gets wrong then. So the candidate is computed on to its outputs, once with the change and
once with the reference's value in place of the faulty one: both must come to the same, or the change to
something that agrees.
"""

import functools
import time
from collections.abc import Mapping

import numpy as np

from parity.diagnose.everywhere import everywhere
from parity.diagnose.fault import Fault
from parity.diagnose.targets import same, target_of
from parity.diagnose.tolerances import LEFT_OF_A_GAP
from parity.diagnose.trials import Change
from parity.localise.comparison import Comparison, Region, Value, failing
from parity.localise.placing import mended


class CarriedThrough:
    """The failed outputs with a fault mended, laid out when they are first asked for."""

    def __init__(self, comparison: Comparison, region: Region) -> None:
        """Keep what is needed to lay them out.

        Args:
            comparison: both traces.
            region: the fault as it was found.
        """
        self._comparison, self._region = comparison, region
        groups = (failing(comparison, group) for group in ("outputs", "loss", "gradients"))
        self._failed = next((failed for failed in groups if failed), [])

    def holds(self, change: Change, fault: Fault) -> bool:
        """Whether the failed outputs come to what the reference's value makes of them, or agree.

        Args:
            change: one after which the faulty value agrees.
            fault: where it was found; the time that this takes is not its own.

        Returns:
            True, too, where that cannot be computed.
        """
        started = time.process_time()
        try:
            return change.everywhere or self._comes_to_the_same(change) or self._mends(change, fault)
        finally:
            fault.deadline += time.process_time() - started

    def mends(self, change: Change, fault: Fault) -> bool:
        """Whether the failed outputs agree, too, and not the faulty value alone: there is no other fault.

        Args:
            change: a change that `holds`.
            fault: where it was found.
        """
        if change.everywhere or self._mends(change, fault):
            return True
        placed = {self._region.j: self._region.value}
        return mended(self._comparison, self._failed, placed) is not None and self._comes_to_the_same(change)

    def _comes_to_the_same(self, change: Change) -> bool:
        new = self._comparison.replay(change.values, change.functions)
        fit = all(np.shape(v) == self._comparison.candidate.nodes[i].value.shape for i, v in new.items())
        if not fit or any(out in self._placed and out not in new for _, out in self._failed):
            return True  # of another shape on the way, or cut off: nothing to compare
        return all(self._alike(out, new) for _, out in self._failed if out in new)

    def _alike(self, out: int, new: Mapping[int, Value]) -> bool:
        """Whether an output is with a change what it is with the fault mended."""
        comparison = self._comparison
        actual, value = comparison.array(out), np.asarray(new[out])
        wanted = np.asarray(self._placed.get(out, actual))
        target = target_of(out, wanted, actual, comparison.candidate_moves[out])
        with np.errstate(invalid="ignore"):
            gap = np.abs(actual - wanted) if wanted.dtype.kind in "fc" else np.zeros(1)
        widest = float(np.max(gap, where=np.isfinite(gap), initial=0.0))
        return same(value, wanted, max(target.allowed, LEFT_OF_A_GAP * widest))

    @functools.cached_property
    def _placed(self) -> Mapping[int, Value]:
        """What changes with the reference's value in place of the faulty one."""
        return self._comparison.replay({self._region.j: self._region.value})

    def _mends(self, change: Change, fault: Fault) -> bool:
        """Whether every failed output agrees with the change, here or wherever its code runs."""
        if mended(self._comparison, self._failed, change.values, change.functions) is not None:
            return True
        code = everywhere(fault, change)
        return code is not None and (
            mended(self._comparison, self._failed, code.values, code.functions) is not None
        )
