"""Fillers: what stands where there is nothing, in a border, an empty segment or a masked entry."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array, same
from parity.diagnose.trials import Change
from parity.numerics.noise import ordinary
from parity.report.kinds import CauseKind
from parity.trace.vocabulary import names

LARGEST = names("reduce_window_max reduce_max argmax cummax")
LEAST = names("reduce_window_min reduce_min argmin cummin")

STEPS = 3
"""Operations between a border and what takes the largest or least of it, at most."""


def fillers(fault: Fault) -> Iterator[Change]:
    """Borders filled with what a maximum never takes; entries left at a filler that is no number."""
    yield from _borders(fault)
    yield from _left_over(fault)


def _borders(fault: Fault) -> Iterator[Change]:
    for index in fault.computed():
        node = fault.node(index)
        if node.operation != "pad":
            continue
        filler = node.inputs[1]
        for operations, neutral, taking in ((LARGEST, -np.inf, "maximum"), (LEAST, np.inf, "minimum")):
            old = fault.value(filler)
            if old.dtype.kind == "f" and np.isfinite(old).all() and fault.reaches(index, operations, STEPS):
                text = (
                    f"<candidate> pads with {number(float(old.reshape(-1)[0]))} before a {taking}, in "
                    f"<reference> the border never counts: pad with {number(neutral)}"
                )
                yield Change(CauseKind.PADDING, text, {filler: np.full_like(old, neutral)})


def _left_over(fault: Fault) -> Iterator[Change]:
    """Entries that are infinite or huge on the candidate's side alone, and one number on the reference's."""
    for target in fault.targets:
        wanted, actual = target.wanted, target.actual
        if wanted.dtype.kind != "f" or actual.dtype.kind != "f":
            continue
        empty = ~(np.isfinite(actual) & ordinary(actual)) & np.isfinite(wanted)
        if not empty.any() or empty.all() or np.ptp(wanted[empty]) or np.ptp(_sign(actual[empty])):
            continue
        filler, found = float(wanted[empty][0]), float(actual[empty][0])
        new = np.where(empty, filler, actual)
        if same(new, wanted, target.allowed):
            text = (
                f"<candidate> leaves {number(found)} where there is nothing to take, <reference> puts "
                f"{number(filler)} there"
            )
            yield Change(CauseKind.MASK, text, {target.node: new})


def filled_ends(fault: Fault) -> Iterator[Change]:
    """Entries at one end of an axis that are one number in the reference, and others in the candidate."""
    for target in fault.targets:
        wanted, actual = target.wanted, target.actual
        if wanted.dtype.kind != "f" or wanted.shape != actual.shape or not np.isfinite(wanted).all():
            continue
        off = np.abs(wanted - actual) > target.allowed
        for axis, length in enumerate(wanted.shape):
            rows = np.flatnonzero(off.any(tuple(i for i in range(wanted.ndim) if i != axis)))
            at_start = np.array_equal(rows, np.arange(rows.size))
            at_end = np.array_equal(rows, np.arange(length - rows.size, length))
            if not 0 < 2 * rows.size < length or not (at_start or at_end):
                continue
            ends = np.take(wanted, rows, axis)
            if np.ptp(ends) == 0 and wanted.size > ends.size > 1:
                which, filler = "first" if at_start else "last", number(float(ends.flat[0]))
                text = (
                    f"the {which} {rows.size} of {length} entries along axis {axis} are {filler} in "
                    "<reference> and other numbers in <candidate>; the rest agrees"
                )
                yield Change(CauseKind.PADDING, text, {target.node: wanted})


def _sign(values: Array) -> Array:
    """The signs of some values; of what is no number, a third one."""
    return np.where(np.isnan(values), 2.0, np.sign(values))
