"""Ties, settled by evidence or by running: never by hope.

Which way a square matrix lies is settled by its first use, or by what the model's other matrices of the same
name do. What is left, and tensors that could as well be exchanged, is tried: both models are run with a plan,
and what makes more of them agree is kept.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from parity.weights.assigning import MARGIN, Exchange
from parity.weights.evidence import Known
from parity.weights.layer_kinds import KEPT
from parity.weights.layouts import Layout
from parity.weights.names import last_word, owner
from parity.weights.plan import Plan
from parity.weights.pricing import Pricing
from parity.weights.transfer import Index, Shape, Transfer
from parity.weights.units import Slot, Unit

TRIES = 256
"""How many plans are tried at most for ties; a quarter of it for what merely could be otherwise."""

WORK = 2_500_000_000
"""How many numbers all tries together may hold, at eight tries at least."""


class Match(NamedTuple):
    """A unit in its slot, with the layouts that could take it there, the chosen one first."""

    unit: Unit
    slot: Slot
    ways: tuple[Layout, ...]

    @property
    def undecided(self) -> bool:
        """Whether the second layout is as good as the first."""
        return len(self.ways) > 1 and self.ways[1].cost - self.ways[0].cost < MARGIN

    def transfers(self, tensors: Known, leaves: Known) -> Iterator[Transfer]:
        """The transfers of this match, one for each piece of its unit."""
        way = self.ways[0]
        for piece in self.unit.pieces:
            yield Transfer(
                piece.name,
                self.slot.path,
                tensors[piece.name].shape,
                leaves[self.slot.path].shape,
                way.view,
                piece.take,
                way.axes,
                way.flip,
                _within(self.slot.put, piece.at),
                way.reason,
                self.unit.gates,
            )


def _within(put: Index, at: Index) -> Index:
    """A block of a block, in terms of the leaf. Only vectors are put together from pieces."""
    if at and put and isinstance(put[-1], slice) and isinstance(at[0], slice):
        start = put[-1].start
        return (*put[:-1], slice(start + at[0].start, start + at[0].stop))
    return (*put, *at)


def matched(unit: Unit, slot: Slot, pricing: Pricing) -> Match:
    """A unit in a slot, by its best layout."""
    return Match(unit, slot, pricing.ways(unit, slot))


def by_convention(matches: Sequence[Match]) -> list[Match]:
    """Undecided matrices lie as all others of their kind of layer and name do, where these agree.

    Args:
        matches: all matches of a plan.

    Returns:
        The matches, those decided that could be.
    """
    seen: dict[tuple[str, str], set[tuple[int, ...]]] = {}
    for match in matches:
        if len(match.unit.shape) == 2 and not match.undecided:
            seen.setdefault(_convention(match), set()).add(match.ways[0].axes)
    settled = []
    for match in matches:
        ways = match.ways
        usual = seen.get(_convention(match), set())
        if match.undecided and len(usual) == 1:
            ways = tuple(
                way._replace(reason=f"{way.reason}, as the others do") for way in ways if way.axes in usual
            )
        settled.append(match._replace(ways=ways or match.ways))
    return settled


def _convention(match: Match) -> tuple[str, str]:
    return match.unit.layer, last_word(match.slot.path)


def tries_for(tensors: Known) -> int:
    """How many plans may be tried to settle ties between these tensors."""
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
    *,
    budget: int,
) -> Settled:
    """Try changes one after the other, in the order given, and keep each that makes more agree.

    A change that makes something agree can make an earlier one count, so they are tried until none helps.

    Args:
        matches: the matches to start from.
        changes: what could be otherwise.
        try_matches: the share of the computation, 0 to 1, that agrees with some matches.
        budget: how many changes may be tried.

    Returns:
        The best matches, and what stays open.
    """
    best = try_matches(matches)
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


def could_turn(match: Match) -> bool:
    """Whether the second layout, though less usual, is a known one."""
    return len(match.ways) > 1 and match.ways[1].cost - match.ways[0].cost <= KEPT


def as_plan(matches: Sequence[Match], tensors: Known, leaves: Known, others: Sequence[Transfer] = ()) -> Plan:
    """The plan of some matches, in the order of the tensors.

    Args:
        matches: the matches.
        tensors: all tensors by name.
        leaves: all leaves by path.
        others: transfers that the user gave.

    Returns:
        The plan.
    """
    transfers = [*others, *(t for match in matches for t in match.transfers(tensors, leaves))]
    order = {name: place for place, name in enumerate(tensors)}
    return Plan(tuple(sorted(transfers, key=lambda t: order[t.tensor_name])))
