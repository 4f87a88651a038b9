"""What fits where, and what it costs: the shape, layer, role and first use of a unit against a slot's."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from parity.weights.evidence import Use
from parity.weights.layer_kinds import LayerKind, kind_named, kind_of
from parity.weights.layouts import End, Layout, Summed, layouts
from parity.weights.names import last_word
from parity.weights.transfer import Shape
from parity.weights.units import Role, Slot, Unit

CONFLICT = 30.0
"""Cost of a matrix that is called a bias on one side and a weight on the other."""

LETTERS_DIFFER = 4.0
"""Cost of roles that differ by a single letter, which may mean something else."""

SORTS = {"matmul": 0, "conv": 0, "gather": 1, "mul": 2, "add": 3}
"""Operations whose weights can be the same are of the same sort."""

OTHER_USE = 5.0
"""Cost of a first use in another sort of operation."""

PRODUCTS = {SORTS["matmul"], SORTS["mul"]}
PRODUCT_AND_SUM = 2.0
"""Cost of a product that one side sums over and the other sums up afterwards."""

LAYOUT_NAMES = ("kernel", "weight")
"""Last words of names that say something of how a matrix lies."""


class Sort(NamedTuple):
    """What decides where a unit or slot fits.

    Attributes:
        end: its shape, kind of layer and what is summed over.
        role: what its name says that it is.
        operation: of its first use, "" if unknown.
    """

    end: End
    role: Role
    operation: str

    @property
    def shape(self) -> Shape:
        """Shape of the block."""
        return self.end.shape


def summed(use: Use | None) -> Summed:
    """The axes that a first use sums over, None where that says nothing about the layout.

    Args:
        use: the first use, if known.

    Returns:
        The axes.
    """
    return use.contracted if use is not None and use.contracted else None


class Pricing(NamedTuple):
    """The prices of a plan.

    Attributes:
        is_alike: whether both sides are of one framework, so that an array most likely keeps its layout.
    """

    is_alike: bool = False

    def of_unit(self, unit: Unit) -> Sort:
        """What decides which slots a unit fits.

        Args:
            unit: the unit.

        Returns:
            Its sort.
        """
        return self._sort(unit, LAYOUT_NAMES if self.is_alike else (), may_convolve=True)

    def of_slot(self, slot: Slot) -> Sort:
        """What decides which units fit a slot.

        Args:
            slot: the slot.

        Returns:
            Its sort.
        """
        return self._sort(slot, LAYOUT_NAMES if self.is_alike else ("weight",), may_convolve=self.is_alike)

    def ways(self, unit: Unit, slot: Slot) -> tuple[Layout, ...]:
        """The layouts that take a unit to a slot, the most likely first.

        Args:
            unit: the unit.
            slot: the slot.

        Returns:
            The layouts; empty if it does not fit.
        """
        return layouts(self.of_unit(unit).end, self.of_slot(slot).end, self.is_alike)

    def _sort(self, item: Unit | Slot, last_words: tuple[str, ...], may_convolve: bool) -> Sort:
        """What decides where an item fits; known layers say how they use their weights."""
        operation = item.use.operation if item.use else ""
        rank = len(item.shape)
        over = summed(item.use)
        kind = kind_of(item.layer)
        if not item.layer and may_convolve:
            kind = _kind_of_use(operation, over, rank)
        if kind is not None:
            over = kind.summed_axes(rank) or over
            if not kind.places(rank):
                operation = dict(kind.operations).get(item.role[0], operation)
        last = last_word(item.home) if rank > 1 else ""
        if self.is_alike:
            last = last.partition("_")[0]  # Equinox's `weight_hh`
        return Sort(End(item.shape, kind, over, last if last in last_words else ""), item.role, operation)

    def fit(self, unit: Sort, slot: Sort) -> float:
        """The cost of a sort of unit in a sort of slot, by shape, role and use.

        Args:
            unit: what decides where the unit fits.
            slot: the same of the slot.

        Returns:
            The cost; infinite if it does not fit.
        """
        ways = layouts(unit.end, slot.end, self.is_alike)
        if not ways:
            return math.inf
        cost = ways[0].cost
        (role, is_sure), (leaf_role, is_leaf_sure) = unit.role, slot.role
        if role and leaf_role and role != leaf_role:
            both = is_sure and is_leaf_sure
            if both and (len(unit.shape) < 2 or {role, leaf_role} != {"weight", "bias"}):
                return math.inf
            cost += CONFLICT if both else LETTERS_DIFFER
        if unit.operation in SORTS and slot.operation in SORTS:
            sorts = {SORTS[unit.operation], SORTS[slot.operation]}
            cost += PRODUCT_AND_SUM if sorts == PRODUCTS else OTHER_USE * (len(sorts) > 1)
        return cost

    def fitting(self, units: Iterable[Sort], slots: Iterable[Sort]) -> list[tuple[Sort, Sort, float]]:
        """The pairs of sorts that fit.

        Args:
            units: sorts of units.
            slots: sorts of slots.

        Returns:
            (sort of unit, sort of slot, cost) of each pair.
        """
        by_size: dict[int, list[Sort]] = {}
        for slot in slots:
            by_size.setdefault(math.prod(slot.shape), []).append(slot)
        pairs = ((u, s, self.fit(u, s)) for u in units for s in by_size.get(math.prod(u.shape), ()))
        return [pair for pair in pairs if math.isfinite(pair[2])]


def _kind_of_use(operation: str, over: Summed, rank: int) -> LayerKind | None:
    """The kind of layer that a bare array is the weight of, by its first use."""
    convolution = kind_named("convolution")
    if operation != "conv" or convolution is None or not 2 < rank < 6:
        return None
    if over == (0,):  # only PyTorch sums over no spatial axis here
        return kind_named("transposed convolution")
    return convolution if over in (None, convolution.summed_axes(rank)) else None
