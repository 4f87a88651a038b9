"""A unit in its slot: the layouts that could take it there, and the transfers that the chosen one makes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parity.weights.assigning import MARGIN
from parity.weights.doubt import BY_CONVENTION
from parity.weights.evidence import Known
from parity.weights.layer_kinds import KEPT
from parity.weights.layouts import Layout
from parity.weights.names import last_word
from parity.weights.namesakes import spelled
from parity.weights.plan import Plan
from parity.weights.pricing import LAYOUT_NAMES, Pricing, summed
from parity.weights.transfer import Index, Shape, Transfer, WeightError, in_brackets, within
from parity.weights.units import Slot, Unit

AS_NAMED = "as its name and shape say"
"""The reason of a bare array that lies as its namesake does: no convention says otherwise."""


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
        """The transfers of this match, one for each piece of its unit.

        Args:
            tensors: all tensors by name.
            leaves: all leaves by path.

        Returns:
            The transfers, by the chosen layout.
        """
        way = self.ways[0]
        for piece in self.unit.pieces:
            shape = tensors[piece.name].shape
            view, take = (way.view, piece.take) if way.view is None else _viewed(shape, piece.take, way.view)
            yield Transfer(
                piece.name,
                self.slot.path,
                shape,
                leaves[self.slot.path].shape,
                view,
                take,
                way.axes,
                way.flip,
                within(self.slot.put, piece.at),
                way.reason,
                self.unit.gates,
            )


def matched(unit: Unit, slot: Slot, pricing: Pricing) -> Match:
    """A unit in a slot, by its best layout.

    Args:
        unit: the unit.
        slot: the slot.
        pricing: what fits where.

    Returns:
        The match.
    """
    return Match(unit, slot, pricing.ways(unit, slot))


def _viewed(shape: Shape, take: Index, view: Shape) -> tuple[Shape, Index]:
    """A whole tensor's view in which one of its blocks is read in a view of its own.

    >>> _viewed((16, 8), (slice(8, 16),), (2, 4, 8))
    ((2, 2, 4, 8), (1,))
    >>> _viewed((20, 12), (slice(0, 12),), (3, 4, 12))
    ((5, 4, 12), (slice(0, 3, None),))

    Args:
        shape: of the tensor.
        take: the block; () is all of it.
        view: the shape in which the block is read.

    Returns:
        The view of the tensor, and the block of that.

    Raises:
        WeightError: if the block is no part along the tensor's first axis that the view keeps apart.
    """
    if not take:
        return view, take
    at, length = take[0], shape[0]
    if len(take) == 1 and isinstance(at, int):
        return (length, *view), take
    if len(take) == 1 and isinstance(at, slice) and at.start is not None and at.stop is not None:
        size = at.stop - at.start
        if length % size == 0 == at.start % size:
            return (length // size, *view), (at.start // size,)
        inner = size // view[0] if size % view[0] == 0 else 0
        if inner and length % inner == 0 == at.start % inner:
            return (length // inner, *view[1:]), (slice(at.start // inner, at.stop // inner),)
    raise WeightError(
        f"a part {in_brackets(take)} of a tensor of shape {shape} cannot be read as {view}: pin the tensor"
    )


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
                way._replace(reason=f"{way.reason}, {BY_CONVENTION}") for way in ways if way.axes in usual
            )
        settled.append(match._replace(ways=ways or match.ways))
    return settled


def as_named(matches: Sequence[Match], *, is_alike: bool) -> list[Match]:
    """Bare arrays lie as their namesakes of the same shape do, whatever makes more of the two agree.

    Not where a convention says otherwise: a name as layers have it; products that sum over the last axis in
    PyTorch and the one before it in JAX, as linear layers do; or other bare matrices of the model that lie
    turned by their shapes.

    Args:
        matches: all matches of a plan.
        is_alike: whether both sides are of one framework.

    Returns:
        The matches.
    """
    if any(_is_bare(match) and _is_turned(match) for match in matches):
        return list(matches)
    return [match._replace(ways=_as_it_is(match, is_alike) or match.ways) for match in matches]


def _as_it_is(match: Match, is_alike: bool) -> tuple[Layout, ...]:
    """The layout of a bare array that lies as its namesake does; none if it need not."""
    unit, slot = match.unit, match.slot
    rank = len(unit.shape)
    over, leaf_over = summed(unit.use), summed(slot.use)
    is_linear = not is_alike and (over, leaf_over) == ((rank - 1,), (rank - 2,))
    if rank < 2 or is_linear or unit.shape != slot.shape or not _is_bare(match) or not _is_named(match):
        return ()
    same = tuple(range(rank))
    return tuple(
        way._replace(reason=f"{way.reason}, {AS_NAMED}")
        for way in match.ways
        if (way.view, way.axes, way.flip) == (None, same, ())
    )


def _is_bare(match: Match) -> bool:
    """Whether two whole arrays are of no layer that is known."""
    unit, slot = match.unit, match.slot
    return not (unit.layer or slot.layer or slot.put or len(unit.pieces) > 1 or unit.pieces[0].take)


def _is_named(match: Match) -> bool:
    """Whether two arrays have the same name, which is not one that says how layers hold it."""
    name, path = match.unit.label, match.slot.label
    last = last_word(path)
    return last == last_word(name) and last not in LAYOUT_NAMES and spelled(name) == spelled(path)


def _is_turned(match: Match) -> bool:
    """Whether the shapes of a matrix say that it lies turned."""
    shape = match.unit.shape
    return len(shape) == 2 and shape[0] != shape[1] and match.slot.shape == shape[::-1]


def _convention(match: Match) -> tuple[str, str]:
    return match.unit.layer, last_word(match.slot.path)


def marked(match: Match, doubt: str) -> Match:
    """A match whose chosen layout has a doubt in its reason.

    Args:
        match: the match.
        doubt: why its layout or its partner is not sure.

    Returns:
        The match, the reason in its transfers.
    """
    first, *rest = match.ways
    return match._replace(ways=(first._replace(reason=f"{first.reason}, {doubt}"), *rest))


def could_turn(match: Match) -> bool:
    """Whether the second layout, though less usual, is a known one.

    Args:
        match: the match.

    Returns:
        Whether trying it is worth a run.
    """
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
