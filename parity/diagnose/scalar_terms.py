"""Terms and factors of a single number: what the reference computes and the candidate leaves out."""

import itertools
from collections.abc import Iterator

import numpy as np

from parity.diagnose.code_runs import repeats_of, runs_of
from parity.diagnose.factors import one_written_number
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.numbers import computed_numbers, reference_numbers
from parity.diagnose.phrases import number
from parity.diagnose.targets import Target
from parity.diagnose.tolerances import LOOSEST, TWO_VALUES, VARIES
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind


def scalar_terms(fault: Fault) -> Iterator[Change]:
    """A loss or another single number, with a number that the reference computes added or multiplied.

    One number may be another's difference by chance only if it is written somewhere: those are left out.
    """
    known = computed_numbers(fault)
    for target in fault.targets:
        if target.wanted.size == 1 and target.wanted.dtype.kind == "f":
            for name, value in known:
                yield from _with(target, name, value)
            if np.isfinite(target.wanted).all() and target.actual.any():
                yield from one_written_number(fault, target)


def scaled_terms(fault: Fault) -> Iterator[Change]:
    """Single numbers of a sum, each multiplied by a number of the reference's in every run of its code."""
    factors = [n for n in reference_numbers(fault) if n not in (0, 1) and np.isfinite(n)]
    read = [i for i in sorted(fault.read_here) if fault.value(i).size == 1 and i not in fault.pure]
    for index in read:
        if fault.node(index).kind is not NodeKind.OPERATION or fault.value(index).dtype.kind != "f":
            continue
        places = place_of(fault, index)
        runs = max(runs_of(fault, index), repeats_of(fault, index), key=len)
        for factor, does in itertools.product(factors, ("multiplies", "divides")):
            times = factor if does == "multiplies" else 1 / factor
            text = f"<reference> {does} {described(fault, index)} by {number(factor)}, <candidate> does not"
            values = {i: fault.value(i) * times for i in runs}
            yield Change(CauseKind.SCALE, text, *fault.reading_all(values), candidate_places=places)


def _with(target: Target, name: str, value: float) -> Iterator[Change]:
    wanted, actual = (float(array.reshape(())) for array in (target.wanted, target.actual))
    little = VARIES * target.allowed
    if not np.isfinite([wanted, actual, value]).all() or min(abs(value), abs(actual), abs(wanted)) <= little:
        return
    if abs(value - wanted) <= little:  # the reference's value itself: twice as much is no term
        return
    for does, amount in (("adds", value), ("subtracts", -value)):
        if abs(wanted - actual - amount) <= TWO_VALUES * target.allowed:
            text = f"<reference> {does} {name}, <candidate> does not"
            yield Change(CauseKind.MISSING_TERM, text, {target.node: target.actual + amount})
    if abs(value - 1) > LOOSEST and abs(wanted / actual / value - 1) <= LOOSEST:
        text = f"<reference> multiplies by {name}, <candidate> does not"
        yield Change(CauseKind.MISSING_TERM, text, {target.node: target.actual * value})
