"""Units and slots: the blocks in which the tensors of one side can meet the leaves of the other.

A tensor is usually one unit and a leaf one slot. Each `Group` lists the ways to see some tensors, or a leaf;
which is taken is decided for all groups together, in `balance`.
"""

import dataclasses
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from parity.weights.evidence import Use
from parity.weights.plan import Index, Shape

Role = tuple[str, bool]
"""What a name says about a tensor's role, and whether in words or by a single letter."""


class Piece(NamedTuple):
    """A block of a tensor, and the block of the unit that it is added to; () is all of either."""

    name: str
    take: Index = ()
    at: Index = ()


class Unit(NamedTuple):
    """One thing to be placed: usually a whole PyTorch tensor.

    Attributes:
        label: its name, made up for a part of a packed tensor.
        shape: in PyTorch's order of axes.
        layer: class name of the layer, which says how its axes go.
        pieces: the blocks of tensors that add up to it.
        role: of the label.
        use: first use of the tensor, axes counted in the unit.
        part: which part of a packed tensor it is.
        also: other names that it may well have.
    """

    label: str
    shape: Shape
    layer: str
    pieces: tuple[Piece, ...]
    role: Role
    use: Use | None = None
    part: int = 0
    also: tuple[str, ...] = ()


class Slot(NamedTuple):
    """One place to be filled: usually a whole JAX leaf.

    Attributes:
        label: its path, made up for a part of a packed leaf.
        path: the leaf's path.
        put: the block of the leaf; () is all of it.
        shape: of the block.
        role: of the label.
        use: first use of the leaf, axes counted in the slot.
        layer: index of its layer in a stacked leaf, -1 elsewhere.
        part: which part of a packed leaf it is.
    """

    label: str
    path: str
    put: Index
    shape: Shape
    role: Role
    use: Use | None = None
    layer: int = -1
    part: int = 0


Item = TypeVar("Item", Unit, Slot)


@dataclasses.dataclass(frozen=True)
class Choice(Generic[Item]):
    """One way to see some tensors, or a leaf.

    Attributes:
        samples: the items; of a stack, those of its first layer.
        times: how many layers there are.
        make: all items, made when this way is taken.
        cost: how far-fetched it is.
    """

    samples: tuple[Item, ...]
    times: int
    make: Callable[[], tuple[Item, ...]]
    cost: float = 0.0


@dataclasses.dataclass(frozen=True)
class Group(Generic[Item]):
    """Tensors, or a leaf, with the ways to see them, the plainest first."""

    names: tuple[str, ...]
    choices: tuple[Choice[Item], ...]


def taken(items: tuple[Item, ...], cost: float = 0.0) -> Choice[Item]:
    """A way that is no stack."""
    return Choice(items, 1, lambda: items, cost)
