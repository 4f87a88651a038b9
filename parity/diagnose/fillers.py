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


def _sign(values: Array) -> Array:
    """The signs of some values; of what is no number, a third one."""
    return np.where(np.isnan(values), 2.0, np.sign(values))
