"""What fits where, and what it costs: the shape, layer, role and first use of a unit against a slot's."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from parity.weights.evidence import Use
from parity.weights.layouts import LINEAR, Axes, layouts
from parity.weights.plan import Shape
from parity.weights.units import Role, Slot, Unit

CONFLICT = 30.0
"""Cost of a matrix that is called a bias on one side and a weight on the other."""

LETTERS_DIFFER = 4.0
"""Cost of roles that differ by a single letter, which may mean something else."""

OPERATIONS = {"matmul": 0, "conv": 0, "gather": 1, "mul": 2, "add": 3}
"""Operations whose weights can be the same have the same number."""

OTHER_USE = 5.0
"""Cost of a first use in another kind of operation."""


class UnitKind(NamedTuple):
    """What decides where a unit fits."""

    shape: Shape
    layer: str
    role: Role
    contracted: Axes
    operation: str


class SlotKind(NamedTuple):
    """What decides what fits into a slot; `kept` is whether the leaf has PyTorch's own name."""

    shape: Shape
    kept: bool
    role: Role
    contracted: Axes
    operation: str


def summed(use: Use | None) -> Axes:
    """The axes that a first use sums over, None where that says nothing about the layout."""
    return use.contracted if use is not None and use.contracted else None


def kind_of_unit(unit: Unit) -> UnitKind:
    """What decides which slots a unit fits; PyTorch's own layers say how they use their weights."""
    operation = unit.use.operation if unit.use else ""
    layer, contracted, rank = unit.layer, summed(unit.use), len(unit.shape)
    if not layer and operation == "conv" and 2 < rank < 6:
        layer = f"{'ConvTranspose' if contracted == (0,) else 'Conv'}{rank - 2}d"
    if layer in LINEAR and rank == 2:
        contracted = (1,)
    elif layer.startswith("Conv") and rank > 2:
        contracted = (0 if layer.startswith("ConvTranspose") else 1, *range(2, rank))
    if layer in LINEAR or layer.startswith("Conv"):
        operation = "add" if rank < 2 else operation
    elif (layer and layer.endswith("Norm")) or re.search(r"Norm\dd$", layer):
        operation = {"weight": "mul", "bias": "add"}.get(unit.role[0], "")
    return UnitKind(unit.shape, layer, unit.role, contracted, operation)


def kind_of_slot(slot: Slot) -> SlotKind:
    """What decides which units fit a slot."""
    kept = slot.path.rpartition("/")[2] == "weight"
    operation = slot.use.operation if slot.use else ""
    return SlotKind(slot.shape, kept, slot.role, summed(slot.use), operation)


def fit(unit: UnitKind, slot: SlotKind) -> float:
    """The cost of a kind of unit in a kind of slot by shape, role and use; infinite if it does not fit."""
    shape, layer, (role, sure), contracted, operation = unit
    leaf_shape, kept, (jax_role, jax_sure), jax_contracted, jax_operation = slot
    ways = layouts(shape, layer, contracted, leaf_shape, jax_contracted, kept)
    if not ways:
        return float("inf")
    cost = ways[0].cost
    if role and jax_role and role != jax_role:
        if sure and jax_sure and (len(shape) < 2 or {role, jax_role} != {"weight", "bias"}):
            return float("inf")
        cost += CONFLICT if sure and jax_sure else LETTERS_DIFFER
    if operation in OPERATIONS and jax_operation in OPERATIONS:
        cost += OTHER_USE * (OPERATIONS[operation] != OPERATIONS[jax_operation])
    return cost


def fitting(ours: Iterable[UnitKind], theirs: Iterable[SlotKind]) -> list[tuple[UnitKind, SlotKind, float]]:
    """The pairs of kinds that fit, with their costs."""
    by_size: dict[int, list[SlotKind]] = {}
    for slot in theirs:
        by_size.setdefault(math.prod(slot.shape), []).append(slot)
    pairs = ((u, s, fit(u, s)) for u in ours for s in by_size.get(math.prod(u.shape), ()))
    return [pair for pair in pairs if math.isfinite(pair[2])]
