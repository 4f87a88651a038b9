"""The draws of one block on one side, summed up as they come: no draw is kept."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from parity.numerics.draw_statistics import Gauge, moments

SKETCHED = 16
"""Entries of a block that are kept of every draw, to find copies of it."""


@dataclasses.dataclass
class Sample:
    """The draws of one side.

    Attributes:
        first: the first draw.
        gauge: how each is measured.
        tolerance: relative difference of two entries that counts as rounding.
        values: what was measured, draw by draw.
        powers: means of x to x^4, draw by draw.
        sketches: the first entries, as they lie in the side's own array, draw by draw.
        own, other: how often each entry was that of the first draw of this side, of the other side.
        extremes: the least and the greatest entry of all draws.
    """

    first: Shaped[np.ndarray, "..."]
    gauge: Gauge
    tolerance: float
    values: list[Float[np.ndarray, "K"]] = dataclasses.field(default_factory=list)
    powers: list[Float[np.ndarray, "4"]] = dataclasses.field(default_factory=list)
    sketches: list[Float[np.ndarray, "S"]] = dataclasses.field(default_factory=list)
    own: Int[np.ndarray, "..."] = dataclasses.field(default_factory=lambda: np.zeros((), int))
    other: Int[np.ndarray, "..."] = dataclasses.field(default_factory=lambda: np.zeros((), int))
    extremes: tuple[float, float] = (np.inf, -np.inf)

    def __post_init__(self) -> None:
        """Begin the counts."""
        self.own = np.zeros(self.first.shape, np.int16)
        self.other = np.zeros(self.first.shape, np.int16)

    def add(
        self,
        array: Shaped[np.ndarray, "..."],
        others_first: Shaped[np.ndarray, "..."],
        sketch: Shaped[np.ndarray, "S"],
    ) -> None:
        """Add a draw.

        Args:
            array: the block of this draw.
            others_first: the block of the other side's first draw.
            sketch: the first entries of it, as they lie in the side's own array.
        """
        self.values.append(self.gauge.measure(array))
        self.powers.append(moments(array))
        self.sketches.append(sketch.astype(np.float64))
        self.own += self._same(array, self.first)
        self.other += self._same(array, others_first)
        self.extremes = (
            min(self.extremes[0], float(np.min(array))),
            max(self.extremes[1], float(np.max(array))),
        )

    def _same(
        self, array: Shaped[np.ndarray, "..."], other: Shaped[np.ndarray, "..."]
    ) -> Bool[np.ndarray, "..."]:
        with np.errstate(invalid="ignore"):  # infinities are equal to their like
            near = np.abs(array - other) <= self.tolerance * np.abs(other)
        return np.asarray(near | (array == other))

    @property
    def fixed(self) -> Bool[np.ndarray, "..."]:
        """Which entries were the same in every draw."""
        return np.asarray(self.own == len(self.values))

    def law(self) -> "Law":
        """The moments of all draws together."""
        one, two, three, four = np.mean(self.powers, axis=0)
        variance = max(0.0, two - one**2)
        central = four - 4 * one * three + 6 * one**2 * two - 3 * one**4
        spread = variance > (1e-6 * one) ** 2
        return Law(
            float(one),
            float(variance**0.5) if spread else 0.0,
            *self.extremes,
            float(central / variance**2) if spread else 0.0,
            self.first.size * len(self.values),
            bool(self.fixed.all()),
        )


class Law(NamedTuple):
    """The moments of a block over all draws.

    Attributes:
        mean, std, least, greatest: of all entries of all draws.
        kurtosis: fourth central moment over the squared variance: 1.8 of a uniform distribution, 3 of a
            normal one.
        number: how many entries that are.
        fixed: whether no entry varies from draw to draw.
    """

    mean: float
    std: float
    least: float
    greatest: float
    kurtosis: float
    number: int
    fixed: bool

    @property
    def filled(self) -> bool:
        """Whether all entries of all draws are one number."""
        return self.fixed and self.std == 0
