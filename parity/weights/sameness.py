"""Whether an array that the user converted holds the planned numbers, or them in another order of units."""

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import eps_of, is_float
from parity.numerics.complex_parts import real_parts

ULPS = 4
"""Roundings of float32 that a conversion may have added: a sum of two biases, a cast or two."""

CORNER = 4
"""Length of the block that is compared first, along each axis."""

Array = Shaped[np.ndarray, "..."]


def same_but_for_rounding(planned: Array, held: Array, ulps: float = ULPS) -> bool:
    """Whether an array holds what it should but for float32's rounding.

    Infinities and NaN are equal to their like in the same place, and say nothing of the others.

    >>> same_but_for_rounding(np.array([-np.inf, 1.0]), np.array([-np.inf, 1.0 + 1e-7]))
    True

    Args:
        planned: what it should hold.
        held: what it holds.
        ulps: how many roundings of float32, relative to the largest number, it may be off.

    Returns:
        Whether shapes and numbers agree.
    """
    if planned.shape != held.shape:
        return False
    if not (is_float(planned) and is_float(held)) or planned.dtype.kind != held.dtype.kind:
        return bool(np.array_equal(planned, held))
    scale = float(np.max(np.abs(planned), where=np.isfinite(planned), initial=0.0))
    allowed = ulps * eps_of("float32") * scale
    corner = tuple(slice(0, CORNER) for _ in planned.shape)
    for block in (corner, ...):  # most hypotheses are refuted by a few numbers
        wanted, found = (real_parts(array[block]).astype(np.float64) for array in (planned, held))
        if not np.allclose(found, wanted, rtol=0.0, atol=allowed, equal_nan=True):
            return False
    return True


def unit_order(planned: Array, held: Array) -> tuple[tuple[int, ...], ...] | None:
    """The order of units that turns one array into the other.

    >>> unit_order(np.array([[1, 2], [3, 4]]), np.array([[4, 3], [2, 1]]))
    ((1, 0), (1, 0))

    Args:
        planned: the array as it should be.
        held: the array as it is, of the same dtype.

    Returns:
        Per axis the index of each unit in `planned`; None if there is no such order.
    """
    if planned.shape != held.shape or not planned.ndim:
        return None
    orders = []
    for axis in range(planned.ndim):
        rows, other_rows = (
            [np.sort(row, axis=None).tobytes() for row in np.moveaxis(a, axis, 0)] for a in (planned, held)
        )
        places = {row: number for number, row in enumerate(rows)}
        if len(places) < len(rows) or set(places) != set(other_rows):
            return None
        orders.append(tuple(places[row] for row in other_rows))
    return tuple(orders) if np.array_equal(planned[np.ix_(*orders)], held, equal_nan=True) else None
