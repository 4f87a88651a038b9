"""Find the plan: pair tensors with leaves, whatever they are called.

1. `splitting`, `recurrent`: the ways in which each tensor and leaf can be seen, whole or as parts.
2. `balance`: the ways in which everything finds a place.
3. `assigning`: which unit goes to which slot, by shape, role, name and order of first use.
4. `ties`: what is open is settled by what the rest of the model does, or by running.

What then is left over or open is an error that lists the candidates and the line that pins one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from parity.numerics.arrays import Arrays
from parity.report.sides import Sides
from parity.weights.assigning import Exchange, assign
from parity.weights.balance import balanced
from parity.weights.completeness import allowed, require_complete, require_settled
from parity.weights.doubt import OPEN
from parity.weights.evidence import Given, Known, Pins, signatures
from parity.weights.layer_kinds import kind_of
from parity.weights.levelling import Level, told_apart
from parity.weights.matches import Match, as_named, as_plan, by_convention, marked, matched
from parity.weights.names import layers_in, without_numbers
from parity.weights.part_names import spelling_words
from parity.weights.partial_plans import guesses, whole_part
from parity.weights.pinning import pinned_transfers, turned_round
from parity.weights.plan import Plan
from parity.weights.pricing import Pricing
from parity.weights.recurrent import recurrent_groups
from parity.weights.splitting import lengths, of_leaf, of_one_name, of_tensor
from parity.weights.ties import settled, tries_for
from parity.weights.transfer import Transfer, WeightError, array_names

TryPlan = Callable[[Plan], float]

Differentiate = Callable[[Plan, Level], tuple[Arrays, Arrays] | None]
"""With a plan and levelled tensors the gradients of tensors and leaves, by name; None if there are none."""


class Sought(NamedTuple):
    """Which plan is looked for: what is known, and what the user says of it.

    Attributes:
        tensors: the tensors by name, in definition order.
        leaves: the leaves by path.
        pins: what the user knows of the plan.
        allow_unused: tensors that may stay without a leaf.
        allow_missing: leaves that may stay without a tensor.
        is_alike: whether both sides are of one framework.
        reversed: whether the tensors are the candidate's.
        sides: what the two sides are called in messages.
    """

    tensors: Known
    leaves: Known
    pins: Pins
    allow_unused: Collection[str]
    allow_missing: Collection[str]
    is_alike: bool
    reversed: bool
    sides: Sides

    @property
    def what(self) -> tuple[str, str]:
        """What a tensor and a leaf are called in messages."""
        return array_names(self.sides, self.reversed)

    def plan(self, matches: Sequence[Match], given: Sequence[Transfer]) -> Plan:
        """The plan of some matches and of the pinned transfers.

        Args:
            matches: the matches.
            given: the pinned transfers.

        Returns:
            The plan, in the direction that is sought.
        """
        plan = as_plan(matches, self.tensors, self.leaves, given)
        used, held = plan.names(), {transfer.leaf_path for transfer in plan.transfers}
        return plan._replace(
            reversed=self.reversed,
            sides=self.sides,
            unused=tuple(name for name in self.tensors if name in self.allow_unused and name not in used),
            missing=tuple(path for path in self.leaves if path in self.allow_missing and path not in held),
        )


def find_plan(
    tensors: Given,
    leaves: Given,
    *,
    alike: bool = False,
    reversed: bool = False,
    try_plan: TryPlan | None = None,
    differentiate: Differentiate | None = None,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
    sides: Sides | None = None,
    partial: bool = False,
) -> Plan:
    """The plan that pairs every tensor with a leaf.

    >>> from parity.weights import Signature
    >>> print(find_plan({"fc.weight": Signature((3, 2), "Linear")}, {"fc/kernel": (2, 3)}))
    fc.weight (3, 2)  ->  fc/kernel (2, 3)  permute (1, 0)

    Args:
        tensors: the tensors by name, in definition order, or their shapes. Between two frameworks these are
            PyTorch's, within one framework the reference's.
        leaves: the leaves by path, or their shapes.
        alike: whether both sides are of one framework, so that an array most likely keeps its layout and an
            equal path with an equal shape is strong evidence.
        reversed: whether the tensors are the candidate's.
        try_plan: runs the models with a plan (loaded with `Plan.to_candidate`) and returns the share, 0 to 1,
            of the candidate's computation that then agrees with the reference's; 1 if the outputs do. Ties
            are settled by it.
        differentiate: runs the models backwards with a plan whose tensors are changed first. What nothing but
            that tells apart is told apart by it.
        pins: what the user knows: tensor name -> leaf path, (leaf path, permutation), Transfer or Transfers.
        allow_unused: tensors that may stay without a leaf, by name or by pattern ("head.*").
        allow_missing: leaves that may stay without a tensor, likewise.
        sides: what the reference and the candidate are called in messages; by default PyTorch and JAX, or
            the other way round if the plan is reversed.
        partial: whether arrays may be left over: what pairs up whole is planned, all else is listed as unused
            or missing, and ties are settled as well as they can be.

    Returns:
        The plan. Its `reversed` is the argument's, unless only the other direction has a plan: within one
        framework, PyTorch's own recurrent layers among the leaves are planned from their side, because their
        two biases add up to the other side's one. The plan's tensors are then the arrays given as leaves.

    Raises:
        WeightError: naming every tensor that is unused or missing, and without `try_plan` every ambiguous
            one with its candidates; with it, what no run settles is marked in the plan's reasons.
    """
    if sides is None:
        sides = Sides("JAX", "PyTorch") if reversed else Sides()
    known, own = signatures(tensors), signatures(leaves)
    sought = Sought(
        known,
        own,
        pins or {},
        allowed(allow_unused, known),
        allowed(allow_missing, own),
        alike,
        reversed,
        sides,
    )
    if partial:
        return _find(sought, try_plan, differentiate, partial=True)
    try:
        return _find(sought, try_plan, differentiate)
    except WeightError as error:
        other = _from_the_other_side(sought)
        if other is None:
            raise
        try:
            return _find(other, try_plan, differentiate)
        except WeightError:
            raise error from None


def _from_the_other_side(sought: Sought) -> Sought | None:
    """The same search with tensors and leaves exchanged; None where that could find nothing new."""
    kinds = [kind_of(leaf.layer) for leaf in sought.leaves.values()]
    if not sought.is_alike or not any(kind is not None and kind.is_recurrent for kind in kinds):
        return None
    pins = turned_round(sought.pins)
    if pins is None:
        return None
    return sought._replace(
        tensors=sought.leaves,
        leaves=sought.tensors,
        pins=pins,
        allow_unused=sought.allow_missing,
        allow_missing=sought.allow_unused,
        reversed=not sought.reversed,
    )


def _find(
    sought: Sought,
    try_plan: TryPlan | None,
    differentiate: Differentiate | None,
    *,
    partial: bool = False,
) -> Plan:
    """The plan in one direction."""
    tensors, leaves, pins, what = sought.tensors, sought.leaves, sought.pins, sought.what
    pricing = Pricing(sought.is_alike)
    given = [t for own in pinned_transfers(pins, tensors, leaves, pricing, what).values() for t in own]
    names = [n for n in tensors if n not in pins and n not in sought.allow_unused]
    filled = {transfer.leaf_path for transfer in given}
    paths = [p for p in leaves if p not in filled and p not in sought.allow_missing]
    matches, ties = _match(names, paths, tensors, leaves, pricing)
    allowed = sought.allow_unused, sought.allow_missing
    first = sought.plan(matches, given)
    if partial:
        return whole_part(first, tensors, leaves)

    def guess() -> Iterator[str]:
        return guesses(whole_part(first, tensors, leaves), tensors, leaves)

    try:
        require_complete(first, tensors, leaves, *allowed, what=what, guess=guess)
    except WeightError as error:
        matches, ties = _match(names, paths, tensors, leaves, pricing, any_lengths=True)
        try:
            require_complete(sought.plan(matches, given), tensors, leaves, *allowed, what=what)
        except WeightError:
            raise error from None

    def tell(own: list[Match], some: Sequence[Exchange]) -> list[Match]:
        if differentiate is None:
            return own
        run = differentiate

        def gradients(now: list[Match], level: Level) -> tuple[Arrays, Arrays] | None:
            return run(sought.plan(now, given), level)

        return told_apart(own, some, gradients, tensors, pricing)

    matches, turns, ties = settled(
        as_named(by_convention(matches), is_alike=sought.is_alike),
        ties,
        None if try_plan is None else lambda own: try_plan(sought.plan(own, given)),
        tell,
        tries_for(tensors),
        pricing,
    )
    if try_plan is None:
        require_settled([matches[place] for place in turns], [(matches[a], matches[b]) for a, b, _ in ties])
    still_open = {*turns, *(place for a, b, _ in ties for place in (a, b))}
    matches = [marked(match, OPEN) if place in still_open else match for place, match in enumerate(matches)]
    return sought.plan(matches, given)


def _in_series(tensors: Known) -> set[tuple[int, ...]]:
    """The first axes of tensors whose names differ in numbers alone, where their lengths are not alike."""
    lengths: dict[str, list[int]] = {}
    for name, tensor in tensors.items():
        if tensor.shape:
            lengths.setdefault(without_numbers(name), []).append(tensor.shape[0])
    return {tuple(own) for own in lengths.values() if len(set(own)) > 1}


def _match(
    names: Sequence[str],
    paths: Sequence[str],
    tensors: Known,
    leaves: Known,
    pricing: Pricing,
    *,
    any_lengths: bool = False,
) -> tuple[list[Match], list[Exchange]]:
    """The matches, and what could be exchanged among them.

    With `any_lengths` arrays may hold others of any lengths, too.
    """
    is_alike = pricing.is_alike
    own = {name: tensors[name] for name in names}
    groups = recurrent_groups(tensors, own.keys(), is_alike=is_alike)
    grouped = {name for group in groups for name in group.names}
    sizes = {size for tensor in own.values() for size in tensor.shape}
    leaf_sizes = {size for path in paths for size in lengths(leaves[path].shape)}
    if is_alike:
        sizes |= {size for tensor in own.values() for size in lengths(tensor.shape)}
    said, leaf_said = spelling_words(own), spelling_words(paths)
    joints = {
        (own[ih].shape[1], own[hh].shape[1])
        for ih, hh, *_ in (group.names for group in groups if len(group.names) == 2)
        if len(own[ih].shape) == 2
    }
    groups += [
        of_tensor(name, tensor, leaf_sizes, said=leaf_said, is_alike=is_alike, any_lengths=any_lengths)
        for name, tensor in own.items()
        if name not in grouped
    ]
    named = of_one_name(own, {path: leaves[path] for path in paths})
    depths = {depth for layers in layers_in(list(own)) for depth in layers}
    series = _in_series(own) if any_lengths else set()
    leaf_groups = [
        of_leaf(
            path,
            leaves[path],
            sizes,
            joints,
            depths=depths,
            series=series,
            said=said,
            is_named=path in named,
            is_alike=is_alike,
            any_lengths=any_lengths,
        )
        for path in paths
    ]
    if not groups and not leaf_groups:
        return [], []
    ways, leaf_ways = balanced(groups, leaf_groups, pricing)
    units = [unit for way in ways for unit in way.make()]
    slots = [slot for way in leaf_ways for slot in way.make()]
    pairs, ties = assign(units, slots, pricing)
    return [matched(units[i], slots[j], pricing) for i, j in pairs], ties
