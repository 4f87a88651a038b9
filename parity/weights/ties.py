"""Ties, settled by evidence or by running: never by hope.

Which way a square matrix lies is settled by its first use, or by what the model's other matrices of the same
name do. What is left, and tensors that could as well be exchanged, is tried: both models are run with a plan,
and what makes more of them agree is kept.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from parity.weights.assigning import Exchange
from parity.weights.evidence import Known
from parity.weights.matches import Match, matched
from parity.weights.names import last_word, owner
from parity.weights.pricing import Pricing
from parity.weights.transfer import Shape
from parity.weights.units import Unit

TRIES = 256
"""How many plans are tried at most for ties; a quarter of it for what merely could be otherwise."""

WORK = 2_500_000_000
"""How many numbers all tries together may hold, at eight tries at least."""


def tries_for(tensors: Known) -> int:
    """How many plans may be tried to settle ties between these tensors.

    Args:
        tensors: the tensors by name.

    Returns:
        A number of plans; the more numbers there are, the fewer.
    """
    size = sum(math.prod(tensor.shape) for tensor in tensors.values())
    return max(8, min(TRIES, WORK // max(1, size)))


Change = Callable[[list[Match]], list[Match]]
"""One change to a plan that the evidence leaves open."""


class Settled(NamedTuple):
    """The outcome of running the plans.

    Attributes:
        matches: the best ones found.
        agreement: the share of the computation that then agrees, 1.0 if all does.
        open: indices of the changes, among those given, that make no difference.
    """

    matches: list[Match]
    agreement: float
    open: list[int]


def settle(
    matches: list[Match],
    changes: Sequence[Change],
    try_matches: Callable[[list[Match]], float],
    tell: Callable[[list[Match]], list[Match]],
    *,
    budget: int,
) -> Settled:
    """Take what gradients tell if it makes more agree, then try changes one by one, and keep each that does.

    A change that makes something agree can make an earlier one count, so they are tried until none helps.

    Args:
        matches: the matches to start from.
        changes: what could be otherwise.
        try_matches: the share of the computation, 0 to 1, that agrees with some matches.
        tell: settles all exchanges at once, where the gradients tell.
        budget: how many changes may be tried.

    Returns:
        The best matches, and what stays open.
    """
    best = try_matches(matches)
    if best < 1.0:
        told = tell(matches)
        agreement = try_matches(told) if told != matches else best
        if agreement > best:
            matches, best = told, agreement
    still: list[int] = list(range(len(changes)))
    tries = 0
    improved = True
    while improved and best < 1.0:
        improved = False
        still = []
        for place, change in enumerate(changes):
            if best >= 1.0 or tries >= budget:
                still += range(place, len(changes))
                break
            other = change(matches)
            agreement = try_matches(other)
            tries += 1
            if agreement > best:
                matches, best, improved = other, agreement, True
            elif agreement == best:
                still.append(place)
    return Settled(matches, best, [] if best >= 1.0 else still)


def exchange(tie: Exchange, pricing: Pricing) -> Change:
    """Exchange the slots of two matches, and those of the other arrays of their modules.

    Args:
        tie: the two matches, by place.
        pricing: what fits where.

    Returns:
        The change, which leaves the matches as they are where the exchanged ones would not fit.
    """

    def change(matches: list[Match]) -> list[Match]:
        one, other = matches[tie.first].unit, matches[tie.second].unit
        pairs = {tie.first: tie.second}
        if owner(one.label) != owner(other.label) and _like(one) == _like(other):
            partners = {
                _like(m.unit): i for i, m in enumerate(matches) if owner(m.unit.label) == owner(other.label)
            }
            for i, match in enumerate(matches):
                if owner(match.unit.label) == owner(one.label) and _like(match.unit) in partners:
                    pairs[i] = partners[_like(match.unit)]
        changed = list(matches)
        for i, j in pairs.items():
            changed[i] = matched(matches[i].unit, matches[j].slot, pricing)
            changed[j] = matched(matches[j].unit, matches[i].slot, pricing)
        return changed if all(match.ways for match in changed) else list(matches)

    return change


def _like(unit: Unit) -> tuple[str, Shape]:
    return last_word(unit.label), unit.shape


def turn(place: int) -> Change:
    """Take the second layout of a match.

    Args:
        place: index of the match.

    Returns:
        The change.
    """

    def change(matches: list[Match]) -> list[Match]:
        changed = list(matches)
        first, second, *rest = matches[place].ways
        changed[place] = matches[place]._replace(ways=(second, first, *rest))
        return changed

    return change
