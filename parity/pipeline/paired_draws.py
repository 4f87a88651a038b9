"""Which random draw of the candidate is which of the reference, and how it lies.

Draws are paired by order; where the sizes tell another order, by shape and distribution. Of images with their
channels elsewhere a mask is a permutation of the other side's. What shapes leave open is a hypothesis, as a
plan of weights is: that for which the two sides agree is meant.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from parity.numerics.draws import Distribution, Draw, Share
from parity.pipeline.image_layouts import Way

MOST_ORDERS = 4
"""Orders of axes that are tried of a draw whose shape leaves several open."""

MOST_AXES = 5
"""Axes of a draw of which every permutation is looked at."""

MIRRORED = frozenset({Distribution.EXPONENTIAL, Distribution.GUMBEL})
"""-log u of one is -log(1 - u) of the other."""

SYMMETRIC = frozenset({Distribution.UNIFORM, Distribution.BERNOULLI, Distribution.NORMAL})
"""Distributions that may be read from either end: dropped is u < p, or kept is u < 1 - p."""


class Pairs(NamedTuple):
    """The draws of both sides.

    Attributes:
        reference: of the reference, in order.
        candidate: of the candidate, in order.
        partner: per draw of the candidate the index of the reference's, None of one without.
        by_order: whether the k-th draw of one side is the k-th of the other.
    """

    reference: tuple[Draw, ...]
    candidate: tuple[Draw, ...]
    partner: tuple[int | None, ...]
    by_order: bool

    @property
    def together(self) -> list[tuple[Draw, Draw]]:
        """The pairs."""
        both = zip(self.partner, self.candidate, strict=True)
        return [(self.reference[index], own) for index, own in both if index is not None]

    @property
    def left(self) -> tuple[list[Draw], list[Draw]]:
        """The draws of either side that have no partner, but for those that cannot be shared."""
        used = set(self.partner)
        first = [draw for index, draw in enumerate(self.reference) if draw.shared and index not in used]
        both = zip(self.partner, self.candidate, strict=True)
        return first, [own for index, own in both if own.shared and index is None]


def paired(reference: Sequence[Draw], candidate: Sequence[Draw]) -> Pairs:
    """Pair the draws of two sides.

    Args:
        reference: of the reference, in order.
        candidate: of the candidate, in order.

    >>> mask, noise = Draw(Distribution.BERNOULLI, (2, 8)), Draw(Distribution.NORMAL, (2, 3))
    >>> paired([mask, noise], [noise, mask]).partner
    (1, 0)
    """
    free = [index for index, draw in enumerate(reference) if draw.shared]
    own = [index for index, draw in enumerate(candidate) if draw.shared]
    partner: list[int | None] = [None] * len(candidate)
    by_order = [size_of(reference[i]) for i in free] == [size_of(candidate[i]) for i in own]
    if by_order:
        for index, other in zip(own, free, strict=True):
            partner[index] = other
    else:
        for fits in (_alike, _as_large):
            for index in own:
                fitting = [other for other in free if fits(reference[other], candidate[index])]
                if partner[index] is None and fitting:
                    partner[index] = fitting[0]
                    free.remove(fitting[0])
    return Pairs(tuple(reference), tuple(candidate), tuple(partner), by_order)


def hypotheses(pairs: Pairs, ways: Sequence[Way], *, moved: bool) -> Iterator[tuple[Share, ...]]:
    """Where the candidate's draws may read the stream, the plainest first, each once.

    Args:
        pairs: the draws.
        ways: the permutations that images may need between the two sides.
        moved: whether the candidate's images have their channels elsewhere.
    """
    orders = [
        _orders(pairs.reference[index], own, ways, moved=moved) if index is not None else [None]
        for index, own in zip(pairs.partner, pairs.candidate, strict=True)
    ]
    seen = set()
    most = max(map(len, orders), default=1)
    for *ends, number in itertools.product((False, True), (False, True), range(most)):
        shares = tuple(
            _share(pairs, position, choices[min(number, len(choices) - 1)], ends)
            for position, choices in enumerate(orders)
        )
        if shares not in seen:
            seen.add(shares)
            yield shares


def size_of(draw: Draw) -> int:
    """How many numbers are drawn.

    Args:
        draw: of either side.
    """
    return math.prod(draw.shape)


def _share(pairs: Pairs, position: int, axes: tuple[int, ...] | None, ends: Sequence[bool]) -> Share:
    own, index = pairs.candidate[position], pairs.partner[position]
    if index is None:  # numbers that the reference does not read
        return Share(len(pairs.reference) + position)
    other = pairs.reference[index]
    index = index if other.same_as is None else other.same_as
    mirrored = {own.distribution, other.distribution} == MIRRORED
    return Share(index, axes, mirrored or _from_other_end(own, other, ends))


def _from_other_end(own: Draw, other: Draw, ends: Sequence[bool]) -> bool:
    """Whether a draw reads 1 - u: of the same distribution as its partner, and of another, are told apart."""
    if not {own.distribution, other.distribution} <= SYMMETRIC:
        return False
    if own.distribution is not other.distribution:
        return ends[0]
    if own.distribution is not Distribution.BERNOULLI:
        return ends[1]
    known = bool(own.parameters) and bool(other.parameters)
    equal = known and math.isclose(own.parameters[0], other.parameters[0], rel_tol=1e-6)
    return ends[0] and not equal


def _orders(
    reference: Draw, candidate: Draw, ways: Sequence[Way], *, moved: bool
) -> list[tuple[int, ...] | None]:
    """The permutations that fit two shapes, the likeliest first; None where both lie alike."""
    one, other = reference.shape, candidate.shape
    alike = _squeezed(one) == _squeezed(other)
    found: list[tuple[int, ...] | None] = []
    if len(one) == len(other) and (moved or not alike):
        rank = len(one)
        likely = [way(rank) for way in ways] if rank >= 3 else []
        others = itertools.permutations(range(rank)) if rank <= MOST_AXES and not alike else ()
        fitting = dict.fromkeys(a for a in (*likely, *others) if tuple(one[axis] for axis in a) == other)
        found = [None if _lies_alike(one, axes) else axes for axes in fitting]
    return list(dict.fromkeys([*found[:MOST_ORDERS], None] if alike else found[:MOST_ORDERS])) or [None]


def _lies_alike(shape: Sequence[int], axes: Sequence[int]) -> bool:
    """Whether a permutation moves axes of length 1 alone."""
    kept = [axis for axis in axes if shape[axis] != 1]
    return kept == sorted(kept)


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _alike(one: Draw, other: Draw) -> bool:
    """Whether two draws have the same axes, in any order, and ask for the same."""
    same: Callable[[Draw], object] = lambda draw: sorted(_squeezed(draw.shape))  # noqa: E731
    return one.distribution is other.distribution and same(one) == same(other)


def _as_large(one: Draw, other: Draw) -> bool:
    return size_of(one) == size_of(other)
