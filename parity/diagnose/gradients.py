"""Gradients at ties, bounds and zeros, where the outputs agree and only the rule differs."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.phrases import number
from parity.diagnose.stops import stopping
from parity.diagnose.targets import Array, Target
from parity.diagnose.tolerances import ROUND_DECIMALS, SAME_NUMBER
from parity.diagnose.trials import Change
from parity.localise.comparison import failing
from parity.numerics.complex_parts import widened
from parity.report.kinds import CauseKind

RARE = 0.75
"""Share of entries that may be special; ties of small integers are many."""

MOST_NAMED = 4
"""Indices that a sentence names; more are told by dots."""


NOT_A_NUMBER = (
    "<candidate>'s gradient is NaN, <reference>'s is not: guard it with a where on both sides of the root"
)
"""What is said of a root, a quotient or a logarithm at zero whose result a `where` leaves out."""


def gradient_rules(fault: Fault) -> Iterator[Change]:
    """Only at special places of a forward value does the candidate's gradient differ from the reference's."""
    if not fault.gradient:
        return
    for target in fault.targets:
        wanted, actual = target.wanted, target.actual
        if wanted.shape != actual.shape:
            continue
        different = _different(target)
        if not different.any():
            continue
        part = _left_out(target, different)
        if part:
            there, here = stopping(fault)
            yield Change(
                CauseKind.GRADIENT_RULE,
                part,
                {target.node: wanted},
                reference_places=there,
                candidate_places=here,
            )
        why = _special(fault, target, different)
        if why:
            told = NOT_A_NUMBER if _comes_to_nan(fault) else _ratio(wanted[different], actual[different])
            text = f"{why}, {told}"
            yield Change(CauseKind.GRADIENT_RULE, text, {target.node: wanted})


def _comes_to_nan(fault: Fault) -> bool:
    """Whether a gradient of the candidate is NaN in the end, though at the fault it may be zero yet."""
    leaves = [fault.value(j) for _, j in failing(fault.comparison, "gradients")]
    return any(bool(np.isnan(widened(leaf)).any()) for leaf in leaves)


def _different(target: Target) -> Array:
    a, b = widened(target.wanted), widened(target.actual)
    with np.errstate(invalid="ignore"):
        return np.asarray(~((np.abs(a - b) <= target.allowed) | (a == b)))


def _left_out(target: Target, different: Array) -> str:
    """The part along one axis that one side gives no gradient, in words; empty if they differ otherwise.

    Where the other's gradient is no number, its derivative is not defined there.
    """
    if not all(np.isfinite(widened(one[different])).all() for one in (target.wanted, target.actual)):
        return ""
    for axis in range(different.ndim):
        parts = np.flatnonzero(different.any(axis=tuple(a for a in range(different.ndim) if a != axis)))
        if not 0 < parts.size < different.shape[axis]:
            continue
        sides = {"<reference>": target.wanted, "<candidate>": target.actual}
        for side, other in (tuple(sides), tuple(reversed(sides))):
            if not np.take(sides[side], parts, axis).any():
                more = ", ..." if parts.size > MOST_NAMED else ""
                which = f"index {', '.join(map(str, parts[:MOST_NAMED]))}{more}"
                why = ", as padding_idx does" if axis == 0 and different.ndim == 2 else ""
                return (
                    f"at {which} of axis {axis} {side}'s gradient is zero, {other}'s is not: a part of the "
                    f"weight is kept out of training{why}"
                )
    return ""


def _ratio(wanted: Array, actual: Array) -> str:
    if actual.dtype.kind == "b":
        there, here = bool(wanted.flat[0]), bool(actual.flat[0])
        return f"the condition is {here} in <candidate> and {there} in <reference>"
    if np.isnan(actual).any():
        return NOT_A_NUMBER
    if np.isinf(actual).any():
        return "<candidate>'s gradient is infinite, <reference>'s is not"
    if not wanted.any():
        return "<candidate>'s gradient is not zero, <reference>'s is"
    if not actual.any():
        return "<candidate>'s gradient is zero, <reference>'s is not"
    with np.errstate(all="ignore"):
        ratio = actual / wanted
    if np.isfinite(ratio).all() and np.ptp(ratio) < SAME_NUMBER * abs(ratio.flat[0]):
        return f"<candidate>'s gradient is {number(float(ratio.flat[0]))} of <reference>'s"
    return "<candidate>'s gradient differs from <reference>'s"


def _special(fault: Fault, target: Target, different: Array) -> str:
    """What is special about the places that differ, in words; empty if nothing is."""
    if np.isnan(widened(target.actual[different])).all():
        return "at a zero, where the derivative is not defined"
    before = [i for i in range(target.node) if not fault.node(i).backward]
    ties = [i for i in before if fault.node(i).operation == "eq"]
    for index in (*ties, *before):
        if fault.late:
            return ""
        node, value = fault.node(index), fault.value(index)
        if value.dtype.kind not in "fb":
            continue
        try:
            value = np.broadcast_to(value, different.shape)
        except ValueError:
            continue
        if value.size < 2:
            continue
        where = _tied(node.operation, value, different)
        if where:
            return where
    return ""


def _tied(operation: str, value: Array, different: Array) -> str:
    """Whether the places that differ are those where a forward value is at its bound, or a tie holds."""
    if value.dtype.kind == "b":
        tie = operation == "eq" and np.all(value[different]) and value.mean() < RARE
        return "where two values are equal (a tie)" if tie else ""
    if value.dtype.kind != "f" or not np.isfinite(value).all():
        return ""
    first = float(value[different].flat[0])
    special = value == first
    alike = bool(np.all(special[different])) and 2 * different.sum() >= special.sum()
    if alike and special.mean() < RARE and first == round(first, ROUND_DECIMALS):
        return f"where the value is {number(first)} exactly"
    return ""
