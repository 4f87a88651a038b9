"""Terms: known values that one side adds or multiplies by, and the other does not."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.factors import in_one_case, one_number
from parity.diagnose.fault import Fault
from parity.diagnose.naming import in_candidate, of_reference
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array, Target
from parity.diagnose.tolerances import (
    LOOSEST,
    SAME_NUMBER,
    TWO_VALUES,
    WORKED_OUT,
)
from parity.diagnose.trials import Change
from parity.numerics.noise import ordinary
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind

FILLER = -50.0
"""What is added to a score and is no larger fills it: of a softmax's entries no float32 is left then."""


class Term(NamedTuple):
    """A known value that may be added or multiplied.

    Attributes:
        name: what it is.
        value: the value.
        here: whether the candidate's operations at the fault read it.
    """

    name: str
    value: Array
    here: bool


def terms(fault: Fault) -> Iterator[Change]:
    """The difference, or the ratio, of both sides is one number or a known value."""
    known = _known(fault)
    for target in _numeric(fault):
        yield from one_number(fault, target)
        yield from in_one_case(fault, target)
        yield from _values(target, known)


def _numeric(fault: Fault) -> Iterator[Target]:
    """The targets of a few finite numbers or more."""
    for target in fault.targets:
        if target.wanted.dtype.kind != "f" or target.wanted.size < 3:
            continue
        if not (np.isfinite(target.wanted).all() and np.isfinite(target.actual).all()):
            continue
        yield target


def _known(fault: Fault) -> list[Term]:
    """Values that could be a term: weights and whatever both sides read or compute at the fault."""
    found: list[Term] = []
    read = {*fault.inputs, *fault.constants, *fault.computed()}
    for index, node in enumerate(fault.reference.nodes):
        near = index in fault.reference_scope or index in fault.reference_inputs
        if node.kind is NodeKind.OPERATION and not node.fixed and not near:
            continue
        array = node.array
        if array.dtype.kind == "f" and array.size > 1:
            twins = fault.twins.get(index, ())
            name = node.operation
            if node.kind is NodeKind.OPERATION:
                name = in_candidate(fault, twins[0]) if twins else of_reference(fault, index)
            found.append(Term(name, array, bool(read & set(twins))))
    for index in (*fault.inputs, *fault.constants):
        array, own = fault.value(index), fault.node(index).kind is NodeKind.OPERATION
        if array.dtype.kind == "f" and array.size > 1:
            name = in_candidate(fault, index) if own else fault.node(index).operation
            found.append(Term(name, array, True))
    return found


class Way(NamedTuple):
    """One way in which a term can be missing, or too many.

    Attributes:
        cause: missing or extra.
        text: what both sides do; `{}` stands for the term.
        amount: the term, or what it is worked out from, entry by entry.
        mend: from the term to the reference's value.
        allowed: how far the amount may be off.
        term: from the amount to the term.
        added: whether one side adds the term and the other nothing, as a mask of fillers.
    """

    cause: CauseKind
    text: str
    amount: Array
    mend: Callable[[Array], Array]
    allowed: float
    term: Callable[[Array], Array] = np.asarray
    added: bool = False


def _ways(target: Target) -> Iterator[Way]:
    """All ways, factors first."""
    wanted, actual = target.wanted, target.actual
    with np.errstate(all="ignore"):
        ratio, inverse = wanted / actual, actual / wanted
    missing, extra = CauseKind.MISSING_TERM, CauseKind.EXTRA_TERM
    tight = TWO_VALUES * target.allowed
    yield Way(
        missing, "<reference> multiplies by {}, <candidate> does not", ratio, lambda v: actual * v, LOOSEST
    )
    yield Way(
        extra, "<candidate> multiplies by {}, <reference> does not", inverse, lambda v: actual / v, LOOSEST
    )
    yield Way(
        missing,
        "<reference> multiplies by 1 + {}, <candidate> by {}",
        ratio,
        lambda v: actual * (1 + v) / v,
        LOOSEST,
        lambda ratio: 1 / (ratio - 1),
    )
    yield Way(
        missing,
        "<reference> multiplies by 1 + {}, <candidate> does not",
        ratio - 1,
        lambda v: actual * (1 + v),
        LOOSEST,
    )
    yield Way(
        extra,
        "<candidate> multiplies by 1 + {}, <reference> does not",
        inverse - 1,
        lambda v: actual / (1 + v),
        LOOSEST,
    )
    gap = wanted - actual
    adds = "<reference> adds {}, <candidate> does not"
    yield Way(missing, adds, gap, lambda v: actual + v, tight, added=True)
    adds = "<candidate> adds {}, <reference> does not"
    yield Way(extra, adds, -gap, lambda v: actual - v, tight, added=True)
    yield Way(missing, "<reference> subtracts {}, <candidate> does not", -gap, lambda v: actual - v, tight)


def _values(target: Target, known: Sequence[Term]) -> Iterator[Change]:
    """A known value as the term.

    What is the same everywhere is no sum: the term would be the reference's value itself.
    """
    wanted, actual = target.wanted, target.actual
    if np.ptp(actual) <= target.allowed:
        return
    for way in _ways(target):
        amount, allowed = way.amount, way.allowed
        if not np.isfinite(amount).all() or not ordinary(amount).all() or np.ptp(amount) == 0:
            continue
        small = _without_repeats(amount, allowed)
        if small.size < 2 or _like(amount, wanted, allowed) or _like(amount, actual, allowed):
            continue  # a value is its own difference to zero
        with np.errstate(all="ignore"):
            small = way.term(small)
        for term in known:
            if way.cause is CauseKind.EXTRA_TERM and not term.here:
                continue
            for value in _shaped(term.value, small, allowed):
                cause, text = way.cause, way.text.replace("{}", term.name)
                masks = np.unique(value)
                if way.added and masks.size == 2 and masks[0] <= FILLER and masks[1] == 0:
                    cause = CauseKind.MASK
                    share = f"{np.count_nonzero(value)} of {value.size} entries"
                    text = f"{text}: a mask that fills {share} with {number(float(masks[0]))}"
                yield Change(cause, text, {target.node: way.mend(value)})


def _like(a: Array, b: Array, allowed: float) -> bool:
    return bool(np.abs(np.abs(a) - np.abs(b)).max() <= WORKED_OUT * allowed)


def _without_repeats(array: Array, allowed: float) -> Array:
    """An array with length one along every axis on which it does not depend."""
    for axis in range(array.ndim):
        first = np.take(array, [0], axis)
        if array.shape[axis] > 1 and np.abs(array - first).max() <= WORKED_OUT * allowed:
            array = first
    return array


def _shaped(term: Array, like: Array, allowed: float) -> Iterator[Array]:
    """A term in the shape of a difference, if it holds these numbers: whole, or a stretch of it."""
    near = max(WORKED_OUT * allowed, SAME_NUMBER * float(np.abs(like).max()))
    if term.size == like.size:
        for axes in (None, "transposed"):
            moved = np.squeeze(term)
            if axes and moved.ndim == 2:
                moved = moved.T
            value = moved.reshape(like.shape)
            if np.abs(value - like).max() <= near:
                yield value
                return
    elif like.size == max(like.shape) and term.ndim == 1 and term.size % like.size == 0:
        for part in np.split(term, term.size // like.size):
            if np.abs(part - like.reshape(-1)).max() <= near:
                yield part.reshape(like.shape)
                return
