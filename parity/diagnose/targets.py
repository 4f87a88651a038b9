"""What a trial should come to: values that everything behind the fault goes through."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.diagnose.tolerances import HUGE_ENTRIES, LOOSEST
from parity.numerics.arrays import EPS
from parity.numerics.complex_parts import widened
from parity.numerics.noise import ordinary
from parity.report.results import LIMIT
from parity.trace.match import TRACE_ULPS

Array = Shaped[np.ndarray, "..."]


class Target(NamedTuple):
    """A value that everything behind the fault goes through.

    Attributes:
        node: of the candidate's trace.
        wanted: what it should be.
        actual: what it is.
        allowed: how far an entry may honestly lie from `wanted`.
    """

    node: int
    wanted: Array
    actual: Array
    allowed: float


def target_of(node: int, wanted: Array, actual: Array, move: float) -> Target:
    """A target whose value noise moves by up to `move`.

    Args:
        node: of the candidate's trace.
        wanted: what it should be.
        actual: what it is.
        move: how far one-ulp noise moves an entry of the candidate's value.
    """
    usual = ordinary(wanted) if wanted.dtype.kind in "fc" else np.ones(wanted.shape, bool)
    with np.errstate(invalid="ignore"):
        scale = float(np.max(np.abs(widened(wanted[usual])), initial=0.0))
    allowed = LIMIT * (min(move, LOOSEST * scale / LIMIT) + TRACE_ULPS * EPS["float64"] * scale)
    return Target(node, wanted, actual, allowed)


def difference(new: Array, target: Target) -> float | None:
    """The relative difference of a value to a target it agrees with; None if it does not.

    Args:
        new: a value of the target's size, or one that broadcasts to its shape.
        target: the target.

    Returns:
        The largest difference of usual entries, relative to the largest of them.
    """
    if new.size != target.wanted.size:
        try:
            new = np.broadcast_to(new, target.wanted.shape)
        except ValueError:
            return None
    new = new.reshape(target.wanted.shape)
    if not same(new, target.wanted, target.allowed):
        return None
    with np.errstate(invalid="ignore"):
        gap = np.abs(widened(new) - widened(target.wanted))
    usual = ordinary(target.wanted) & np.isfinite(gap)
    scale = float(np.max(np.abs(widened(target.wanted)), where=usual, initial=0.0))
    return float(np.max(gap, where=usual, initial=0.0)) / (scale or 1.0)


def same(a: Array, b: Array, allowed: float) -> bool:
    """Whether two values agree: infinities and NaN in the same places, huge entries relatively.

    Args:
        a: a value.
        b: what it should be, of the same shape.
        allowed: how far a usual entry may be off.
    """
    a, b = widened(np.asarray(a)), widened(np.asarray(b))
    with np.errstate(invalid="ignore", over="ignore"):
        limit = np.where(ordinary(b), allowed, HUGE_ENTRIES * np.abs(b))
        near = np.isfinite(b) & (np.abs(a - b) <= limit)
    return bool(np.all(near | (a == b) | (np.isnan(a) & np.isnan(b))))
