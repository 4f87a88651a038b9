"""Units and slots: the blocks in which the tensors of one side can meet the leaves of the other.

A tensor is usually one unit and a leaf one slot. Each `Group` lists the ways to see some tensors, or a leaf;
which is taken is decided for all groups together, in `balance`.
"""

import dataclasses
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from parity.weights.evidence import Use
from parity.weights.transfer import Index, Shape

PACKED = 0.2
"""Cost of seeing an array as the parts that it packs."""

Role = tuple[str, bool]
"""What a name says about an array's role, and whether in words or by a single letter."""


class Piece(NamedTuple):
    """A block of a tensor, and the block of the unit that it is added to; () is all of either."""

    name: str
    take: Index = ()
    at: Index = ()


class Unit(NamedTuple):
    """One thing to be placed: usually a whole tensor.

    Attributes:
        label: its name, made up for a part of a packed tensor.
        shape: in the tensor's order of axes.
        layer: class name of the layer, which says how its axes go; "" for a bare array.
        pieces: the blocks of tensors that add up to it.
        role: of the label.
        use: first use of the tensor, axes counted in the unit.
        depth: index of its layer in a stacked tensor, -1 elsewhere.
        part: which part of a packed tensor it is.
        also: other names that it may well have.
        gates: the gates that it packs, in order, a letter each.
    """

    label: str
    shape: Shape
    layer: str
    pieces: tuple[Piece, ...]
    role: Role
    use: Use | None = None
    depth: int = -1
    part: int = 0
    also: tuple[str, ...] = ()
    gates: str = ""

    @property
    def home(self) -> str:
        """Name of the tensor that it is of, the first if there are several."""
        return self.pieces[0].name


class Slot(NamedTuple):
    """One place to be filled: usually a whole leaf.

    Attributes:
        label: its path, made up for a part of a packed leaf.
        path: the leaf's path.
        put: the block of the leaf; () is all of it.
        shape: of the block.
        layer: class name of the layer, which says how its axes go; "" for a bare array.
        role: of the label.
        use: first use of the leaf, axes counted in the slot.
        depth: index of its layer in a stacked leaf, -1 elsewhere.
        part: which part of a packed leaf it is.
        also: other names that it may well have.
    """

    label: str
    path: str
    put: Index
    shape: Shape
    layer: str
    role: Role
    use: Use | None = None
    depth: int = -1
    part: int = 0
    also: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """Path of the leaf that it is of."""
        return self.path

    def as_unit(self) -> Unit:
        """The same block as one of a tensor.

        Returns:
            The unit.
        """
        return Unit(
            self.label,
            self.shape,
            self.layer,
            (Piece(self.path, self.put),),
            self.role,
            self.use,
            self.depth,
            self.part,
            self.also,
        )


Item = TypeVar("Item", Unit, Slot)


@dataclasses.dataclass(frozen=True)
class Choice(Generic[Item]):
    """One way to see some tensors, or a leaf.

    Attributes:
        samples: the items; of a stack, those of its first layer.
        times: how many layers there are.
        make: all items, made when this way is taken.
        cost: cost of this way; lower is more plausible.
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
    """A way that is no stack.

    Args:
        items: the items.
        cost: cost of this way; lower is more plausible.

    Returns:
        The choice.
    """
    return Choice(items, 1, lambda: items, cost)
