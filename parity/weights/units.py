"""Units and slots: the blocks in which the tensors of one side can meet the leaves of the other.

A tensor is usually one unit and a leaf one slot. A packed tensor can also be its parts, a tied one a unit for
each of its names, a stacked leaf one slot a layer. Each `Group` lists such choices; which is taken is
decided for all groups together, in `balance`.
"""

import dataclasses
from collections.abc import Callable, Collection
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from parity.weights.evidence import Leaf, Signature, Use
from parity.weights.layouts import LINEAR
from parity.weights.names import owner, role, words
from parity.weights.plan import Index, Shape

PARTS = (2, 3, 4)
"""Numbers of equal parts that a packed tensor may have: key and value, or query too, or four gates."""

LONGEST_STACK = 512
"""The most layers that one leaf may stack."""

STACKED = 0.02
PACKED = 0.2
TIED = 0.3
"""Costs of seeing a leaf as a stack, a tensor or leaf as a pack, a tied tensor twice."""

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


def of_tensor(name: str, tensor: Signature) -> Group[Unit]:
    """One tensor: whole, as equal parts of a packed one, once for each of its names, or as a stack's rows."""
    shape, layer = tensor.shape, tensor.layer
    whole = Unit(name, shape, layer, (Piece(name),), role(name), tensor.use)
    choices = [taken((whole,))]
    if tensor.tied:
        others = (whole._replace(label=other, role=role(other), use=None) for other in tensor.tied)
        choices.append(taken((whole, *others), TIED))
    outputs = layer in LINEAR or layer.startswith("Conv")
    for axis in [0] if outputs and shape else [] if layer else range(min(len(shape), 2)):
        choices += [
            taken(_parts(whole, axis, count), PACKED)
            for count in PARTS
            if shape[axis] % count == 0 and shape[axis] > count
        ]
    if not layer and len(shape) > 1 and 1 < shape[0] <= LONGEST_STACK:

        def row(index: int) -> Unit:
            return whole._replace(
                label=_inside(name, str(index)),
                shape=shape[1:],
                pieces=(Piece(name, (index,)),),
                use=_without(tensor.use, 0),
                part=index,
            )

        choices.append(
            Choice((row(0),), shape[0], lambda: tuple(row(index) for index in range(shape[0])), STACKED)
        )
    return Group((name,), tuple(choices))


def of_leaf(path: str, leaf: Leaf, joints: Collection[tuple[int, int]] = ()) -> Group[Slot]:
    """One leaf: whole, as equal parts of a packed one, as a stack of layers, or as a stack of packs.

    Args:
        path: the leaf's path.
        leaf: its shape and use.
        joints: (input, hidden) sizes of recurrent layers, whose two kernels may be one leaf.
    """
    whole = Slot(path, path, (), leaf.shape, role(path), leaf.use)
    choices = [taken((whole,)), *(taken(pack, PACKED) for pack in _packs(whole))]
    for axis in {0, 1} if len(leaf.shape) == 2 else ():
        sizes = [joint for joint in joints if sum(joint) == leaf.shape[axis]]
        choices += [taken(_joined(whole, axis, *joint), PACKED) for joint in sizes]
    if len(leaf.shape) > 1 and 1 < leaf.shape[0] <= LONGEST_STACK:

        def layer(index: int) -> Slot:
            return whole._replace(
                label=f"{index}/{path}",
                put=(index,),
                shape=leaf.shape[1:],
                use=_without(leaf.use, 0),
                layer=index,
            )

        def stack(number: int | None = None) -> tuple[Slot, ...]:
            layers = [layer(index) for index in range(leaf.shape[0])]
            return (
                tuple(layers) if number is None else tuple(s for own in layers for s in _packs(own)[number])
            )

        choices.append(Choice((layer(0),), leaf.shape[0], stack, STACKED))
        choices += [
            Choice(pack, leaf.shape[0], partial(stack, number), STACKED + PACKED)
            for number, pack in enumerate(_packs(layer(0)))
        ]
    return Group((path,), tuple(choices))


def part_names(label: str, count: int) -> list[str]:
    """What the parts of a packed tensor are called, in their usual order."""
    said = set(words(label))
    if count == 3:
        return ["query", "key", "value"]
    if count == 2 and said & {"kv", "keyvalue"}:
        return ["key", "value"]
    if count == 2 and "gate" in said:
        return ["gate", "up"]
    return [f"part{index}" for index in range(count)]


def _parts(unit: Unit, axis: int, count: int) -> tuple[Unit, ...]:
    size = unit.shape[axis] // count
    shape = (*unit.shape[:axis], size, *unit.shape[axis + 1 :])
    return tuple(
        unit._replace(
            label=_inside(unit.label, part),
            shape=shape,
            pieces=(Piece(unit.label, (*[slice(None)] * axis, slice(index * size, (index + 1) * size))),),
            part=index,
        )
        for index, part in enumerate(part_names(unit.label, count))
    )


def _packs(slot: Slot) -> list[tuple[Slot, ...]]:
    """Every way to see a slot as equal parts: along its first or last axis, or along one of their number."""
    packs = []
    rank = len(slot.shape)
    for count in PARTS:
        for axis in range(rank):
            size = slot.shape[axis]
            alone = size == count and rank > 1
            if not alone and (size % count or size == count or axis not in (0, rank - 1)):
                continue
            step = size // count
            shape = (*slot.shape[:axis], *([] if alone else [step]), *slot.shape[axis + 1 :])
            packs.append(
                tuple(
                    slot._replace(
                        label=_inside(slot.label, part),
                        put=(
                            *slot.put,
                            *[slice(None)] * axis,
                            index if alone else slice(index * step, (index + 1) * step),
                        ),
                        shape=shape,
                        use=_without(slot.use, axis) if alone else slot.use,
                        part=index,
                    )
                    for index, part in enumerate(part_names(slot.label, count))
                )
            )
    return packs


def _joined(slot: Slot, axis: int, inputs: int, hidden: int) -> tuple[Slot, ...]:
    """A recurrent layer's two kernels, the input's first, as one leaf."""
    other = slot.shape[1 - axis]
    return tuple(
        slot._replace(
            label=_inside(slot.label, word),
            put=(*[slice(None)] * axis, slice(start, start + size)),
            shape=(size, other) if axis == 0 else (other, size),
            part=part,
        )
        for part, (word, start, size) in enumerate((("input", 0, inputs), ("recurrent", inputs, hidden)))
    )


def _inside(label: str, word: str) -> str:
    """A label with a word put before its last part."""
    place = len(owner(label))
    separator = "/" if "/" in label else "."
    return f"{label[:place]}{separator if place else ''}{word}{separator}{label[place:].lstrip('./')}"


def _without(use: Use | None, axis: int) -> Use | None:
    """A use as seen by one slice along an axis."""
    if use is None:
        return None
    kept = tuple(a - (a > axis) for a in use.contracted if a != axis)
    # A slice is what was gathered; what it is used for is not known.
    return use._replace(contracted=kept, operation="other" if use.operation == "gather" else use.operation)
