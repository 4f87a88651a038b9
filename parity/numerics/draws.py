"""Random numbers that two models share: one stream of uniform numbers, and how each draw reads it.

The draw of number k reads u_k, uniform in (0, 1), whatever its shape, and turns it into what it asks for: a
Bernoulli mask is u < p, a normal number the inverse distribution function of u. Numbers are fractions of
small integers, so that they are the same in float64, float32 and in whatever is rounded from them, and no
mask depends on how p was rounded.
"""

import enum
import functools
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

UNIFORM_BITS = 17
"""u_k is an odd number over 2^17: never 0 or 1, and no rate that a person writes lies on it."""

NORMAL_BITS = 14
"""Normal numbers are multiples of 2^-14."""

SEED = 20_171
"""Of the stream: it is the same in every check."""


class Distribution(enum.StrEnum):
    """What a model draws from."""

    BERNOULLI = "Bernoulli mask"
    UNIFORM = "uniform"
    NORMAL = "normal"
    EXPONENTIAL = "exponential"
    GUMBEL = "Gumbel"
    INTEGERS = "random integers"
    OTHER = "other"


class Draw(NamedTuple):
    """One draw of a model, as it was asked for.

    Attributes:
        distribution: that it asks for.
        shape: of what is drawn; under `vmap` with the mapped axes.
        parameters: of a mask the probability of a 1, of others the bounds; () where unknown or standard.
        place: file and line in the author's code; "" if unknown.
        same_as: index of an earlier draw whose numbers it repeats (one key used twice).
        name: what the framework calls it, of `OTHER` ones.
    """

    distribution: Distribution
    shape: tuple[int, ...]
    parameters: tuple[float, ...] = ()
    place: str = ""
    same_as: int | None = None
    name: str = ""

    @property
    def shared(self) -> bool:
        """Whether the stream can give it its numbers."""
        return self.distribution is not Distribution.OTHER


class Share(NamedTuple):
    """Where one draw reads the stream.

    Attributes:
        number: k of the stream.
        axes: permutation from the axes of the draw that the number belongs to, to those of this one; None
            where both lie alike, but for axes of length 1.
        mirrored: whether it reads 1 - u.
    """

    number: int
    axes: tuple[int, ...] | None = None
    mirrored: bool = False


def share_of(shares: Sequence[Share], index: int) -> Share:
    """Where a draw reads the stream; one beyond those that are known reads its own number.

    Args:
        shares: of the draws that are known, in order.
        index: of the draw.
    """
    return shares[index] if index < len(shares) else Share(index)


def fractions(share: Share, shape: Sequence[int]) -> Int[np.ndarray, "..."]:
    """The uniform numbers of one draw, as numerators over 2^17.

    Args:
        share: where it reads the stream.
        shape: of the draw.

    Returns:
        Odd int32 in (0, 2^17), of that shape.

    >>> one, other = fractions(Share(0), (2, 3)), fractions(Share(0, (1, 0)), (3, 2))
    >>> bool((one == other.T).all()), bool((fractions(Share(0, None, True), (2, 3)) == 2**17 - one).all())
    (True, True)
    """
    shape = tuple(shape)
    drawn = shape if share.axes is None else _before(share.axes, shape)
    levels = np.random.default_rng([SEED, share.number]).integers(0, 2 ** (UNIFORM_BITS - 1), drawn, np.int32)
    numerators = np.asarray(2 * levels + 1, np.int32)
    if share.axes is not None:
        numerators = numerators.transpose(share.axes)
    return np.asarray(2**UNIFORM_BITS - numerators if share.mirrored else numerators, np.int32).reshape(shape)


def _before(axes: Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    """The shape that a permutation makes into another."""
    return tuple(shape[axes.index(axis)] for axis in range(len(axes)))


def uniform(share: Share, shape: Sequence[int]) -> Float[np.ndarray, "..."]:
    """u, uniform in (0, 1), of one draw.

    Args:
        share: where it reads the stream.
        shape: of the draw.

    Returns:
        float64 of 17 significant bits.
    """
    return np.asarray(np.ldexp(fractions(share, shape).astype(np.float64), -UNIFORM_BITS))


def normal_multiples(share: Share, shape: Sequence[int]) -> Int[np.ndarray, "..."]:
    """Standard normal numbers of one draw, as multiples of 2^-14.

    Args:
        share: where it reads the stream.
        shape: of the draw.

    Returns:
        int32, of that shape.
    """
    return np.asarray(_normal_table()[fractions(share, shape) // 2])


def normal(share: Share, shape: Sequence[int]) -> Float[np.ndarray, "..."]:
    """Standard normal numbers of one draw: the inverse distribution function of u, rounded to 2^-14.

    Args:
        share: where it reads the stream.
        shape: of the draw.

    Returns:
        float64, at most 4.4 in size.
    """
    return np.asarray(np.ldexp(normal_multiples(share, shape).astype(np.float64), -NORMAL_BITS))


def exponential(share: Share, shape: Sequence[int]) -> Float[np.ndarray, "..."]:
    """Standard exponential numbers of one draw, -log(1 - u).

    Args:
        share: where it reads the stream.
        shape: of the draw.

    Returns:
        float64.
    """
    return np.asarray(-np.log1p(-uniform(share, shape)))


def gumbel(share: Share, shape: Sequence[int]) -> Float[np.ndarray, "..."]:
    """Standard Gumbel numbers of one draw, -log(-log u).

    Args:
        share: where it reads the stream.
        shape: of the draw.

    Returns:
        float64.
    """
    return np.asarray(-np.log(-np.log(uniform(share, shape))))


def below(share: Share, shape: Sequence[int], probability: float) -> Bool[np.ndarray, "..."]:
    """A Bernoulli mask of one draw, u < p.

    Args:
        share: where it reads the stream.
        shape: of the draw.
        probability: of a 1.
    """
    return np.asarray(uniform(share, shape) < probability)


def integers(share: Share, shape: Sequence[int], low: int, high: int) -> Int[np.ndarray, "..."]:
    """Integers of one draw, low + floor(u (high - low)).

    Args:
        share: where it reads the stream.
        shape: of the draw.
        low: the least.
        high: one more than the largest.

    Returns:
        int64.
    """
    return np.asarray(low + ((fractions(share, shape).astype(np.int64) * max(high - low, 1)) >> UNIFORM_BITS))


@functools.cache
def _normal_table() -> Int[np.ndarray, " levels"]:
    """Multiples of 2^-14 by level of u, odd about the middle to the last bit."""
    count = 2 ** (UNIFORM_BITS - 1)
    inverse = NormalDist().inv_cdf
    upper = [inverse((2 * level + 1) / 2**UNIFORM_BITS) for level in range(count // 2, count)]
    multiples = np.round(np.ldexp(upper, NORMAL_BITS)).astype(np.int32)
    return np.concatenate([-multiples[::-1], multiples])
