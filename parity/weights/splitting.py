"""The ways to see a tensor or a leaf: whole, as parts of a pack, as layers of a stack.

A packed tensor holds its parts one after the other along its outputs: query, key and value, or gates, in
equal lengths or, with fewer heads of keys and values, in unequal ones. A stack has a leading axis of layers.
"""

import itertools
from collections.abc import Collection, Sequence
from functools import partial

from parity.weights.evidence import Leaf, Signature, Use
from parity.weights.layouts import LINEAR
from parity.weights.names import owner, role, words
from parity.weights.plan import Index, Shape
from parity.weights.units import Choice, Group, Piece, Slot, Unit, taken

PARTS = (2, 3, 4)
"""Numbers of equal parts that a packed tensor may have: key and value, or query too, or four gates."""

LONGEST_STACK = 512
"""The most layers that one leaf may stack."""

STACKED = 0.02
PACKED = 0.2
TIED = 0.3
"""Costs of seeing a leaf as a stack, a tensor or leaf as a pack, a tied tensor twice."""


def of_tensor(name: str, tensor: Signature, sizes: Collection[int] = ()) -> Group[Unit]:
    """One tensor: whole, as parts of a packed one, once for each of its names, or as the rows of a stack.

    Args:
        name: its name.
        tensor: its shape, layer and use.
        sizes: lengths of axes on the JAX side, which the parts of a pack may have.
    """
    shape, layer = tensor.shape, tensor.layer
    whole = Unit(name, shape, layer, (Piece(name),), role(name), tensor.use)
    choices = [taken((whole,))]
    if tensor.tied:
        others = (whole._replace(label=other, role=role(other), use=None) for other in tensor.tied)
        choices.append(taken((whole, *others), TIED))
    outputs = layer in LINEAR or layer.startswith("Conv")
    for axis in [0] if outputs and shape else [] if layer else range(min(len(shape), 2)):
        choices += [taken(_parts(whole, axis, cut), PACKED) for cut in _cuts(shape[axis], sizes)]
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


def of_leaf(
    path: str,
    leaf: Leaf,
    sizes: Collection[int] = (),
    joints: Collection[tuple[int, int]] = (),
) -> Group[Slot]:
    """One leaf: whole, as parts of a packed one, as a stack of layers, or as a stack of packs.

    Args:
        path: the leaf's path.
        leaf: its shape and use.
        sizes: lengths of axes on the PyTorch side, which the parts of a pack may have.
        joints: (input, hidden) sizes of recurrent layers, whose two kernels may be one leaf.
    """
    whole = Slot(path, path, (), leaf.shape, role(path), leaf.use)
    choices = [taken((whole,)), *(taken(pack, PACKED) for pack in _packs(whole, sizes))]
    for axis in {0, 1} if len(leaf.shape) == 2 else ():
        cuts = [joint for joint in joints if sum(joint) == leaf.shape[axis]]
        choices += [taken(_blocks(whole, axis, cut, ("input", "recurrent")), PACKED) for cut in cuts]
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
            if number is None:
                return tuple(layers)
            return tuple(slot for own in layers for slot in _packs(own, sizes)[number])

        choices.append(Choice((layer(0),), leaf.shape[0], stack, STACKED))
        choices += [
            Choice(pack, leaf.shape[0], partial(stack, number), STACKED + PACKED)
            for number, pack in enumerate(_packs(layer(0), sizes))
        ]
    return Group((path,), tuple(choices))


def lengths(shape: Shape) -> set[int]:
    """The lengths of the axes of a leaf, and of two neighbours as one: heads and their size."""
    return {*shape, *(a * b for a, b in itertools.pairwise(shape))}


def _cuts(length: int, sizes: Collection[int]) -> list[tuple[int, ...]]:
    """The lengths of parts of an axis: equal ones, or two of one of the sizes after a longer one."""
    equal = [(length // count,) * count for count in PARTS if length % count == 0 and length > count]
    longer = [(length - 2 * size, size, size) for size in sorted(sizes) if length - 2 * size > size]
    return equal + [cut for cut in longer if cut[0] in sizes]


def _part_names(label: str, count: int) -> Sequence[str]:
    """What the parts of a packed tensor are called, in their usual order."""
    said = set(words(label))
    if count == 3:
        return ("query", "key", "value")
    if count == 2 and said & {"kv", "keyvalue"}:
        return ("key", "value")
    if count == 2 and "gate" in said:
        return ("gate", "up")
    return [f"part{index}" for index in range(count)]


def _parts(unit: Unit, axis: int, cut: Sequence[int]) -> tuple[Unit, ...]:
    names = _part_names(unit.label, len(cut))
    return tuple(
        unit._replace(
            label=_inside(unit.label, name),
            shape=(*unit.shape[:axis], size, *unit.shape[axis + 1 :]),
            pieces=(Piece(unit.label, _block(axis, cut, part)),),
            part=part,
        )
        for part, (name, size) in enumerate(zip(names, cut, strict=True))
    )


def _packs(slot: Slot, sizes: Collection[int]) -> list[tuple[Slot, ...]]:
    """Every way to see a slot as parts: along its first or last axis, or along one of their number."""
    last = len(slot.shape) - 1
    packs = [
        _rows(slot, axis, _part_names(slot.label, size))
        for axis, size in enumerate(slot.shape)
        if size in PARTS and last > 0
    ]
    return packs + [
        _blocks(slot, axis, cut, _part_names(slot.label, len(cut)))
        for axis in sorted({0, last} if last >= 0 else ())
        for cut in _cuts(slot.shape[axis], sizes)
    ]


def _rows(slot: Slot, axis: int, names: Sequence[str]) -> tuple[Slot, ...]:
    """The parts of a slot along an axis that counts them."""
    return tuple(
        slot._replace(
            label=_inside(slot.label, name),
            put=(*slot.put, *[slice(None)] * axis, part),
            shape=(*slot.shape[:axis], *slot.shape[axis + 1 :]),
            use=_without(slot.use, axis),
            part=part,
        )
        for part, name in enumerate(names)
    )


def _blocks(slot: Slot, axis: int, cut: Sequence[int], names: Sequence[str]) -> tuple[Slot, ...]:
    """The parts of a slot one after the other along an axis."""
    return tuple(
        slot._replace(
            label=_inside(slot.label, name),
            put=(*slot.put, *_block(axis, cut, part)),
            shape=(*slot.shape[:axis], size, *slot.shape[axis + 1 :]),
            part=part,
        )
        for part, (name, size) in enumerate(zip(names, cut, strict=True))
    )


def _block(axis: int, cut: Sequence[int], part: int) -> Index:
    """Where one part lies."""
    return (*[slice(None)] * axis, slice(sum(cut[:part]), sum(cut[: part + 1])))


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
