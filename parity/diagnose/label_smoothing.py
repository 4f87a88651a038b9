"""Label smoothing: left out, added, of another amount, or spread over the other classes alone."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.numbers import is_number
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import behind, is_value, of_a_loss, place_of, starts
from parity.report.kinds import CauseKind

MOST = 0.5
"""The largest amount of smoothing that is tried."""


class Smoothing(NamedTuple):
    """How labels are smoothed: the amount, and whether the own class has a share of it, too."""

    amount: float
    over_all: bool

    def of(self, classes: int) -> tuple[float, float]:
        """What stands at the target, and what at every other class."""
        if self.over_all:
            return 1 - self.amount + self.amount / classes, self.amount / classes
        return 1 - self.amount, self.amount / (classes - 1)

    def in_words(self, classes: int) -> str:
        """What a side does, with what it gives."""
        if not self.amount:
            return "does not smooth the labels"
        over = f"all {classes} classes" if self.over_all else f"the {classes - 1} other classes"
        at, beside = self.of(classes)
        return (
            f"spreads {number(self.amount)} over {over} ({number(at)} at the target, {number(beside)} beside)"
        )


def label_smoothing(fault: Fault) -> Iterator[Change]:
    """Other labels for a cross entropy: as a matrix of shares, or in the losses of the samples."""
    if not of_a_loss(fault):
        return
    begins = starts(fault)
    for labels in (i for i in begins if fault.value(i).dtype.kind in "iu"):
        y = fault.value(labels)
        for logits in (i for i in begins if fault.value(i).dtype.kind == "f"):
            x = fault.value(logits)
            classes = x.shape[-1]
            if x.ndim < 2 or x.size != y.size * classes or classes < 3 or y.min() < 0 or y.max() >= classes:
                continue
            yield from _smoothed(fault, y, x, behind(fault, (labels, logits)))


def _smoothed(fault: Fault, y: Array, x: Array, following: list[int]) -> Iterator[Change]:
    classes = x.shape[-1]
    log_p = (x - np.logaddexp.reduce(x, -1, keepdims=True)).reshape(-1, classes)
    own = np.eye(classes, dtype=bool)[y.reshape(-1)]
    found = []
    for node in following:
        value = fault.value(node)
        if value.dtype.kind != "f":
            continue
        if value.size == own.size:
            now = _of_labels(value.reshape(own.shape), own)
            found += [(node, now, 0.0)] if now is not None else []
        for sign in (-1.0, 1.0) if value.size == y.size else ():
            if is_value(value.reshape(-1), sign * log_p[own]):
                found.append((node, Smoothing(0.0, True), sign))
    if not found:
        return
    amounts = _amounts(fault, classes)
    for node, now, sign in reversed(found):
        for new in (Smoothing(a, all_of_them) for a in amounts for all_of_them in (True, False)):
            if np.allclose(new.of(classes), now.of(classes), rtol=1e-9, atol=0.0):
                continue
            at, beside = new.of(classes)
            shares = np.where(own, at, beside)
            value = sign * (shares * log_p).sum(-1) if sign else shares
            cause = CauseKind.CONSTANT
            if not (now.amount and new.amount):
                cause = CauseKind.EXTRA_TERM if now.amount else CauseKind.MISSING_TERM
            text = (
                f"label smoothing: <reference> {new.in_words(classes)}, <candidate> {now.in_words(classes)}"
            )
            yield Change(
                cause,
                text,
                {node: value.reshape(fault.value(node).shape)},
                everywhere=True,
                candidate_places=place_of(fault, node),
            )


def _of_labels(value: Array, own: Array) -> Smoothing | None:
    """How a matrix of labels is smoothed; None if it is none."""
    at, beside = value[own], value[~own]
    if np.ptp(at) > 0 or np.ptp(beside) > 0 or not np.isclose(at[0] + beside[0] * (own.shape[1] - 1), 1):
        return None
    amounts = (beside[0] * own.shape[1], beside[0] * (own.shape[1] - 1))
    written = [len(number(round(float(amount), 9))) for amount in amounts]
    over_all = written[0] <= written[1]
    return Smoothing(round(float(amounts[0 if over_all else 1]), 9), over_all)


def _amounts(fault: Fault, classes: int) -> list[float]:
    """Amounts of smoothing that the numbers of the reference may come from, as written first."""
    numbers: dict[float, None] = {}
    for index, node in enumerate(fault.reference.nodes):
        if node.backward:
            continue
        numbers.update((float(v), None) for v in node.params.values() if is_number(v))
        if index in fault.reference_pure and node.array.size == 1 and node.floating:
            numbers[float(node.array.reshape(()))] = None
    known = [0.0]
    known += numbers
    known += [round(1 - c, 9) for c in numbers]
    known += [round(c * count, 9) for count in (classes, classes - 1) for c in numbers]
    return [a for a in dict.fromkeys(known) if 0 <= a <= MOST]
