"""Ties, settled by evidence or by running: never by hope.

Which way a square matrix lies is settled by its first use, or by what the model's other matrices of the same
name do. What is left, and tensors that could as well be exchanged, is tried: both models are run with a plan,
and what makes more of them agree is kept.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from parity.weights.assigning import MARGIN, Exchange
from parity.weights.doubt import AGAINST_EVIDENCE, BY_RUNNING
from parity.weights.evidence import Known
from parity.weights.matches import Match, could_turn, marked, matched
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


def settled(
    matches: list[Match],
    ties: Sequence[Exchange],
    agreement: Callable[[list[Match]], float] | None,
    tell: Callable[[list[Match], Sequence[Exchange]], list[Match]],
    budget: int,
    pricing: Pricing,
) -> tuple[list[Match], list[int], list[Exchange]]:
    """The matches with what could be settled by running; which of them could still be turned or exchanged.

    Args:
        matches: the matches to start from.
        ties: which of them could be exchanged.
        agreement: the share of the computation, 0 to 1, that agrees with some matches; None settles nothing.
        tell: settles all of some exchanges at once, where gradients tell.
        budget: how many plans may be tried.
        pricing: what fits where.

    Returns:
        The matches, the places of those that could still be turned, and the exchanges that are still open.
    """

    def first_use(tie: Exchange) -> float:
        return min(_position(matches[tie.first]), _position(matches[tie.second]))

    def exchanges(some: Sequence[Exchange]) -> list[Callable[[list[Match]], list[Match]]]:
        return [exchange(tie, pricing) for tie in some]

    open_ties = sorted((tie for tie in ties if tie.cost <= MARGIN), key=first_use)
    weak = sorted((tie for tie in ties if tie.cost > MARGIN), key=first_use)
    turns = [place for place, match in enumerate(matches) if match.undecided]
    others = [place for place, match in enumerate(matches) if could_turn(match) and not match.undecided]
    if agreement is None or not (turns or open_ties or weak or others):
        return matches, turns, open_ties
    changes = [*map(turn, turns), *exchanges(open_ties)]
    sure = settle(matches, changes, agreement, lambda own: tell(own, open_ties), budget=budget)
    best = sure
    if sure.agreement < 1.0:
        changes = [*map(turn, others), *exchanges(weak)]
        best = settle(
            sure.matches, changes, agreement, lambda own: tell(own, [*open_ties, *weak]), budget=budget // 4
        )
    still = [] if best.agreement >= 1.0 else sure.open
    by_running = {*turns, *(place for tie in open_ties for place in (tie.first, tie.second))}
    return (
        _with_doubts(sure.matches, best.matches, by_running),
        [turns[i] for i in still if i < len(turns)],
        [open_ties[i - len(turns)] for i in still if i >= len(turns)],
    )


def _with_doubts(sure: Sequence[Match], best: Sequence[Match], by_running: Collection[int]) -> list[Match]:
    """The matches; those that running decided have a doubt in their reason."""
    doubted = []
    for place, (before, match) in enumerate(zip(sure, best, strict=True)):
        if (before.slot, before.ways[0]) != (match.slot, match.ways[0]):
            doubted.append(marked(match, AGAINST_EVIDENCE))
        else:
            doubted.append(marked(match, BY_RUNNING) if place in by_running else match)
    return doubted


def _position(match: Match) -> float:
    return float(match.slot.use.position) if match.slot.use is not None else float("inf")
