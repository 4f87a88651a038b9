"""What is measured of one leaf in one draw: moments, extremes, parts, and how its rows lie to one another.

Only numbers that are computed from one draw alone: they are independent from draw to draw, whatever the
entries of a leaf do, which `parity.numerics.two_samples` needs.
"""

import enum
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

MOST_PARTS = 32
"""Parts that an axis is cut into; of a shorter axis every index is one."""

MOST_ROWS = 64
"""Rows whose angles are measured."""

SHARES = (0.25, 0.5, 1.0, 1.5)
"""Of how many root mean squares the share of smaller entries is measured: the shape of a distribution."""


class Statistic(enum.StrEnum):
    """What is measured, in words."""

    MEAN = "mean"
    STD = "std"
    LEAST = "least entry"
    GREATEST = "greatest entry"
    SKEWNESS = "skewness"
    KURTOSIS = "kurtosis"
    SHARE = "share of small entries"
    ROW_ANGLES = "angles between rows"
    COLUMN_ANGLES = "angles between columns"
    ROW_NORMS = "spread of the rows' norms"
    COLUMN_NORMS = "spread of the columns' norms"
    PART_MEAN = "mean of a part"
    PART_SIZE = "size of a part"


SCALED = frozenset(
    {
        Statistic.MEAN,
        Statistic.STD,
        Statistic.LEAST,
        Statistic.GREATEST,
        Statistic.PART_MEAN,
        Statistic.PART_SIZE,
    }
)
"""Those in the units of the entries; the others are numbers without a unit."""


class Measure(NamedTuple):
    """One statistic; of a part with its axis and the indices along it.

    Attributes:
        statistic: what is measured.
        axis: of the part; -1 for all of the leaf.
        start, stop: of the part along its axis.
    """

    statistic: Statistic
    axis: int = -1
    start: int = 0
    stop: int = 0


class Gauge(NamedTuple):
    """How arrays of one shape are measured.

    Attributes:
        measures: what each column of `measure` is.
        measure: array -> one number per measure.
    """

    measures: tuple[Measure, ...]
    measure: Callable[[Shaped[np.ndarray, "..."]], Float[np.ndarray, "K"]]


def gauge_for(shape: tuple[int, ...]) -> Gauge:
    """What can be measured of an array of this shape.

    Args:
        shape: rows first; a kernel counts as a matrix of its first axis and all others.

    >>> [measure.statistic.value for measure in gauge_for(()).measures]
    ['mean']
    """
    number = int(np.prod(shape))
    measures = [Measure(Statistic.MEAN)]
    if number > 1:
        measures += [Measure(s) for s in (Statistic.STD, Statistic.LEAST, Statistic.GREATEST)]
    if number > 3:
        measures += [Measure(s) for s in (Statistic.SKEWNESS, Statistic.KURTOSIS)]
        measures += [Measure(Statistic.SHARE)] * len(SHARES)
    is_matrix = len(shape) > 1 and shape[0] > 1 and number > shape[0]
    if is_matrix:
        measures += [Measure(s) for s in (Statistic.ROW_ANGLES, Statistic.COLUMN_ANGLES)]
        measures += [Measure(s) for s in (Statistic.ROW_NORMS, Statistic.COLUMN_NORMS)]
    cuts = {axis: _cuts(shape[axis]) for axis in range(min(2, len(shape))) if shape[axis] > 1}
    for axis, starts in cuts.items():
        bounds = list(zip(starts, [*starts[1:], shape[axis]], strict=True))
        for statistic in (Statistic.PART_MEAN, Statistic.PART_SIZE):
            measures += [Measure(statistic, axis, start, stop) for start, stop in bounds]

    def measure(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "K"]:
        x = _finite(array)
        found = _of_all(x.ravel())
        if is_matrix:
            found += _of_rows(x.reshape(shape[0], -1))
        for axis, starts in cuts.items():
            others = tuple(other for other in range(x.ndim) if other != axis)
            counts = np.diff([*starts, shape[axis]]) * (number // shape[axis])
            found += [*(np.add.reduceat(x.sum(others), starts) / counts)]
            found += [*np.sqrt(np.add.reduceat((x * x).sum(others), starts) / counts)]
        return np.array(found)

    return Gauge(tuple(measures), measure)


def moments(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "4"]:
    """The means of x, x^2, x^3 and x^4 over the entries.

    Args:
        array: at least one entry.
    """
    x = _finite(array)
    square = x * x
    return np.array([x.mean(), square.mean(), (square * x).mean(), (square * square).mean()])


def _finite(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Entries in float64; infinities, as masks hold them, count as 0: where they stand is tested apart."""
    wide = array.astype(np.float64, copy=False)
    return wide if np.isfinite(wide).all() else np.where(np.isfinite(wide), wide, np.zeros(wide.shape))


def _of_all(x: Float[np.ndarray, "N"]) -> list[float]:
    mean = float(x.mean())
    found = [mean]
    if x.size > 1:
        centred = x - mean
        square = centred * centred
        variance = float(square.mean())
        found += [variance**0.5, float(x.min()), float(x.max())]
    if x.size > 3:
        if variance <= (1e-7 * mean) ** 2:  # a constant, to rounding
            found += [0.0, 0.0, *[0.0] * len(SHARES)]
        else:
            found += [float((square * centred).mean()) / variance**1.5]
            found += [float((square * square).mean()) / variance**2]
            size = np.abs(x) / np.sqrt(np.mean(x * x))
            found += [float((size < share).mean()) for share in SHARES]
    return found


def _of_rows(matrix: Float[np.ndarray, "R C"]) -> list[float]:
    """Mean squared cosines between rows and between columns; relative spreads of their norms."""
    angles, norms = [], []
    for rows in (matrix, matrix.T):
        size = np.linalg.norm(rows, axis=1)
        norms.append(float(size.std() / size.mean()) if size.any() else 0.0)
        some = rows[:: -(-len(rows) // MOST_ROWS)]
        length = np.linalg.norm(some, axis=1, keepdims=True)
        cosines = (some / np.where(length > 0, length, 1.0)) @ (some / np.where(length > 0, length, 1.0)).T
        angles.append(float(np.mean(cosines[~np.eye(len(some), dtype=bool)] ** 2)))
    return angles + norms


def _cuts(size: int) -> list[int]:
    """Where the parts of an axis begin: equal parts where they can be, so that gates and heads are whole."""
    fitting = [count for count in range(8, MOST_PARTS + 1) if size % count == 0]
    count = size if size <= MOST_PARTS else max(fitting, default=MOST_PARTS)
    return [size * part // count for part in range(count)]
