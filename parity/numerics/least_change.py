"""The fewest of several small moves that together make a difference vanish."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.optimize import lsq_linear


def least_change(
    columns: Float[np.ndarray, "entries unknowns"],
    difference: Float[np.ndarray, " entries"],
    room: Sequence[tuple[float, float]],
    enough: float,
) -> Float[np.ndarray, " unknowns"]:
    """How far to move each unknown, within its room, so that a linear difference falls below a bound.

    Unknowns are taken in one by one, each time the one that what is left looks most like (orthogonal matching
    pursuit, Pati et al. 1993, with bounds), so that as few are moved as will do.

    >>> least_change(np.eye(3), np.array([0.0, -2.0, 0.0]), [(-3.0, 3.0)] * 3, 1e-9).round(9).tolist()
    [0.0, 2.0, 0.0]

    Args:
        columns: by how much a move of 1 changes each entry.
        difference: that the moves shall undo.
        room: the least and the largest move of each unknown.
        enough: the largest entry that may be left.

    Returns:
        The moves; what they leave may still be larger than `enough`.
    """
    steps = np.zeros(columns.shape[1])
    chosen: list[int] = []
    sizes = np.linalg.norm(columns, axis=0)
    while len(chosen) < len(steps):
        left = difference + columns @ steps
        if np.abs(left).max(initial=0.0) <= enough:
            break
        likeness = np.abs(columns.T @ left) / np.where(sizes > 0, sizes, np.inf)
        likeness[chosen] = -1.0
        best = int(np.argmax(likeness))
        if likeness[best] <= 0:
            break
        chosen.append(best)
        low, high = (np.array([room[i][side] for i in chosen]) for side in (0, 1))
        found = lsq_linear(columns[:, chosen], -difference, (low - 1e-9, high + 1e-9))
        steps = np.zeros(columns.shape[1])
        steps[chosen] = found.x
    return steps
