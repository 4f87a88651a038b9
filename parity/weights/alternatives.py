"""Other plans that fit: what a plan could be where it does not make the two sides agree.

A plan is a hypothesis. Its alternatives lay an array out in another way, all arrays of its family alike or
all beside it, count the layers of a stack along another axis, let a kernel run the other way, read a pack
head by head, or exchange two modules, or two arrays, that have the same shapes. Every alternative is a
bijection on the same numbers, and none contradicts the user's pins, the axes that products sum over, or what
names say.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.weights.evidence import Known, Signature
from parity.weights.exchanges import PINNED, exchanged
from parity.weights.interleaved import interleaved, joined_otherwise
from parity.weights.layer_kinds import kind_of
from parity.weights.layouts import End, layouts
from parity.weights.matches import AS_NAMED
from parity.weights.names import owner, without_numbers
from parity.weights.plan import Plan
from parity.weights.rearrangements import Block, Rearrangement, canonical, split_orders
from parity.weights.reshapes import merges
from parity.weights.transfer import Index, Shape, Transfer

MOST_ALONE = 4
"""Tensors of one leaf up to which each is laid otherwise by itself, too."""


class Alternative(NamedTuple):
    """Another plan that fits.

    Attributes:
        plan: the plan.
        about: the names of what is otherwise in it; a later alternative about the same takes its place.
        text: what is otherwise, in words.
    """

    plan: Plan
    about: tuple[str, ...]
    text: str


def alternatives(
    plan: Plan, near: Sequence[str], tensors: Known, leaves: Known, sizes: Collection[int] = ()
) -> Iterator[Alternative]:
    """The plans that differ from a plan in the layout or the partners of some weights.

    Args:
        plan: the plan.
        near: names of the candidate's weights to vary, those that most likely lie otherwise first.
        tensors: all tensors by name.
        leaves: all leaves by path, with their first uses.
        sizes: lengths that the models are known to have, such as an image's channels.

    Yields:
        The alternatives, weight by weight: exchanges first, which are few.
    """
    for name in near:
        own = [t for t in plan.transfers if (t.tensor_name if plan.reversed else t.leaf_path) == name]
        if not own or any(t.reason == PINNED for t in own):
            continue
        for other, names, text in exchanged(plan, own[0]):
            yield Alternative(other, names, text)
        for other, packs, text in (*interleaved(plan, own[0]), *joined_otherwise(plan, own[0])):
            yield Alternative(other, packs, text)
        yield from _turned(plan, own, tensors)
        yield from _stacked_otherwise(plan, own, tensors, leaves)
        yield from _laid_otherwise(plan, own, tensors, leaves, sizes)


def _turned(plan: Plan, own: Sequence[Transfer], tensors: Known) -> Iterator[Alternative]:
    """The plan in which the kernels of transposed convolutions run the other way."""
    first = own[0]
    end = End(first.tensor_shape, kind_of(tensors[first.tensor_name].layer))
    for way in () if first.take or not end.kind else layouts(end, End(first.shapes()[1])):
        if way.view is None and way.axes == first.axes and way.flip != first.flip:
            family = _family(plan, first)
            changed = {id(t): t._replace(flip=way.flip, reason=way.reason) for t in family}
            names = _given_names(plan, family)
            runs = "runs backwards" if way.flip else "does not run backwards"
            yield Alternative(_with(plan, changed), names, f"`{names[0]}` {runs} in the candidate")


def _stacked_otherwise(
    plan: Plan, own: Sequence[Transfer], tensors: Known, leaves: Known
) -> Iterator[Alternative]:
    """The plans in which another axis of the same length counts the layers of a stack."""
    first = own[0]
    shape = first.leaf_shape
    counted = [axis for axis, at in enumerate(first.put) if isinstance(at, int)]
    if len(counted) != 1 or len(own) != shape[counted[0]] or any(at != slice(None) for at in first.put[:-1]):
        return
    if len({t.tensor_shape for t in own}) > 1:
        return
    names = _given_names(plan, own)
    for axis in range(len(shape)):
        if axis == counted[0] or shape[axis] != shape[counted[0]]:
            continue
        moved = [t._replace(put=(*[slice(None)] * axis, t.put[-1])) for t in own]
        blocks = block_of(moved[0], tensors, leaves)
        for way in () if blocks is None else split_orders(*blocks, split=False):
            changed = {id(old): relaid(t, way) for old, t in zip(own, moved, strict=True)}
            text = f"`{first.leaf_path}` counts its layers along axis {axis} ({changed[id(first)].how})"
            yield Alternative(_with(plan, changed), names, text)


def _laid_otherwise(
    plan: Plan, own: Sequence[Transfer], tensors: Known, leaves: Known, sizes: Collection[int]
) -> Iterator[Alternative]:
    """The plans in which one weight, or all of its family, has another layout."""
    first = own[0]
    if any(_form(t) != _form(first) for t in own):  # several tensors in one, each in its own way
        return
    blocks = block_of(first, tensors, leaves)
    family = _family(plan, first)
    groups = [family] if {t.leaf_path for t in family} == {t.leaf_path for t in own} else [family, list(own)]
    if blocks is None:
        return
    if len(beside := _beside(plan, first, tensors, leaves)) > len(family):
        groups.append(beside)
    if 1 < len(own) <= MOST_ALONE:  # a stack may hold layers that lie differently
        groups += [[one] for one in own]
    now = _now(first, blocks[0].shape)
    is_stated = any(AS_NAMED in t.reason for t in family)
    for way in split_orders(*blocks, sizes):
        if canonical(*way) == now or (is_stated and merges(first.tensor_shape, way.view)):
            continue
        if is_stated and _turns(way, *(block.shape for block in blocks)):
            continue  # what a name says is not explained away by more than a transposition either
        for group in groups:
            changed = {id(t): relaid(t, way) for t in group}
            companions = _companions(plan, group, changed, tensors, leaves, sizes)
            if companions is None:
                continue
            changed |= companions
            names = _given_names(plan, group)
            text = _in_words(names, changed[id(group[0])], sizes, blocks[0])
            yield Alternative(_with(plan, changed), names, text)


def _family(plan: Plan, first: Transfer) -> list[Transfer]:
    """The transfers that differ from one in numbers alone, and are not pinned."""
    form = _form(first)
    return [t for t in plan.transfers if _form(t) == form and t.reason != PINNED]


def _given_names(plan: Plan, group: Sequence[Transfer]) -> tuple[str, ...]:
    """The names of the reference's arrays of some transfers, each once."""
    return tuple(dict.fromkeys(t.leaf_path if plan.reversed else t.tensor_name for t in group))


def _beside(plan: Plan, first: Transfer, tensors: Known, leaves: Known) -> list[Transfer]:
    """The weights of one module that have one shape and lie alike: queries, keys and values."""

    def form(transfer: Transfer) -> object:
        blocks = block_of(transfer, tensors, leaves)
        module = without_numbers(owner(owner(transfer.tensor_name)))
        return None if blocks is None else (module, blocks, _now(transfer, blocks[0].shape))

    wanted = form(first)
    return [t for t in plan.transfers if t.reason != PINNED and form(t) == wanted]


def _turns(way: Rearrangement, shape: Shape, leaf_shape: Shape) -> bool:
    """Whether the rows of a matrix are spread along the columns of the leaf, as a transposition does."""
    if len(shape) != 2 or len(leaf_shape) != 2:
        return False
    rows = np.broadcast_to(np.arange(shape[0])[:, None], shape)
    moved = rows.reshape(way.view).transpose(way.axes).reshape(leaf_shape)
    return bool((moved != moved[:, :1]).any())


def block_of(transfer: Transfer, tensors: Known, leaves: Known) -> tuple[Block, Block] | None:
    """The blocks of a transfer on both sides, with what their products sum over.

    Args:
        transfer: the transfer.
        tensors: all tensors by name.
        leaves: all leaves by path, with their first uses.

    Returns:
        The tensor's block, whatever view it is read in now, and the leaf's; None for a block that is no
        whole tensor and no part of equal parts.
    """
    shape = _part_shape(transfer)
    if shape is None or not transfer.shapes()[1]:
        return None
    tensor, leaf = tensors[transfer.tensor_name], leaves[transfer.leaf_path]
    return (
        Block(shape, _summed(tensor, ())),
        Block(transfer.shapes()[1], _summed(leaf, transfer.put)),
    )


def relaid(transfer: Transfer, way: Rearrangement) -> Transfer:
    """A transfer that takes the same block in another way.

    Args:
        transfer: the transfer.
        way: how its block is read.

    Returns:
        The transfer.
    """
    reason = "axes split, in another order" + f", {AS_NAMED}" * (AS_NAMED in transfer.reason)
    if not transfer.take:
        return transfer._replace(view=way.view, axes=way.axes, flip=(), reason=reason)
    part = _part(transfer)
    assert part is not None  # as `block_of` has seen
    count, number = part
    return transfer._replace(view=(count, *way.view), take=(number,), axes=way.axes, flip=(), reason=reason)


def _now(transfer: Transfer, shape: Shape) -> tuple[Shape, tuple[int, ...]] | None:
    """How a block of a shape is read now; None if it runs backwards, which no alternative does."""
    view = shape if transfer.view is None else transfer.view
    if transfer.take and transfer.view is not None:
        view = view[1:]
    return None if transfer.flip else canonical(view, transfer.axes or tuple(range(len(view))))


def _part(transfer: Transfer) -> tuple[int, int] | None:
    """How many equal parts along its first axis a tensor is read in, and which of them is taken."""
    length = transfer.tensor_shape[0] if transfer.tensor_shape else 0
    if len(transfer.take) != 1:
        return None
    at = transfer.take[0]
    if isinstance(at, slice) and transfer.view is None and at.start is not None and at.stop is not None:
        size = at.stop - at.start
        return (length // size, at.start // size) if length % size == 0 == at.start % size else None
    if isinstance(at, int) and (transfer.view is None or length % transfer.view[0] == 0):
        return (length if transfer.view is None else transfer.view[0]), at
    return None


def _part_shape(transfer: Transfer) -> Shape | None:
    if not transfer.take:
        return transfer.tensor_shape
    part = _part(transfer)
    if part is None:
        return None
    rows = transfer.tensor_shape[0] // part[0]
    stacked = isinstance(transfer.take[0], int) and transfer.view is None
    return transfer.tensor_shape[1:] if stacked else (rows, *transfer.tensor_shape[1:])


def _summed(known: Signature, put: Index) -> tuple[int, ...] | None:
    """The axes of a block that a product sums over, None if not known."""
    kind = kind_of(known.layer)
    over = kind.summed_axes(len(known.shape)) if kind is not None else None
    if over is None and known.use is not None and known.use.contracted:
        over = known.use.contracted
    if over is None:
        return None
    kept = [axis for axis in range(len(known.shape)) if axis >= len(put) or isinstance(put[axis], slice)]
    return tuple(kept.index(axis) for axis in over if axis in kept)


def _form(transfer: Transfer) -> tuple[object, ...]:
    """What the transfers of a family have in common: the arrays that differ in numbers alone."""
    names = map(without_numbers, (transfer.tensor_name, transfer.leaf_path))
    slices = tuple(at if isinstance(at, slice) else None for at in transfer.put)
    take = tuple(str(at) if isinstance(at, slice) else None for at in transfer.take)
    shapes = transfer.tensor_shape, transfer.leaf_shape, transfer.view, transfer.axes, transfer.flip
    return (*names, *shapes, str(slices), take)


def _with(plan: Plan, changed: dict[int, Transfer]) -> Plan:
    return plan._replace(transfers=tuple(changed.get(id(t), t) for t in plan.transfers))


def _outputs_in_order(transfer: Transfer, summed: Collection[int]) -> tuple[int, ...] | None:
    """The outputs of a layer in the order in which a leaf has them; None if that cannot be told."""
    target = transfer.shapes()[1]
    rows = transfer.tensor_shape[0] if transfer.tensor_shape else 0
    numbers = np.broadcast_to(
        np.arange(rows).reshape(-1, *[1] * (len(transfer.tensor_shape) - 1)), transfer.tensor_shape
    )
    block = transfer.source(np.array(numbers)).reshape(target)
    kept = block[tuple(0 if axis in summed else slice(None) for axis in range(len(target)))]
    return tuple(int(n) for n in kept.reshape(-1))


def _companions(
    plan: Plan,
    group: Sequence[Transfer],
    changed: dict[int, Transfer],
    tensors: Known,
    leaves: Known,
    sizes: Collection[int],
) -> dict[int, Transfer] | None:
    """The biases beside some weights, with their numbers in the weights' new order; None if they cannot."""
    found: dict[int, Transfer] = {}
    for transfer in group:
        blocks = block_of(transfer, tensors, leaves)
        if blocks is None or blocks[0].summed is None or 0 in blocks[0].summed or blocks[1].summed is None:
            continue
        before, after = (
            _outputs_in_order(one, blocks[1].summed) for one in (transfer, changed[id(transfer)])
        )
        if before == after:
            continue
        for other in plan.transfers:
            beside = owner(other.tensor_name) == owner(transfer.tensor_name) and len(other.tensor_shape) == 1
            if not beside or _outputs_in_order(other, ()) != before:
                continue
            own = block_of(other, tensors, leaves)
            ways = () if own is None else split_orders(*own, sizes)
            turned = (relaid(other, way) for way in ways)
            fitting = next((t for t in turned if _outputs_in_order(t, ()) == after), None)
            if fitting is None or other.reason == PINNED:
                return None
            found[id(other)] = fitting
    return found


def _in_words(names: Sequence[str], way: Transfer, sizes: Collection[int], block: Block) -> str:
    """What is otherwise, in words: "`patch.weight` lies channels last in the candidate (view ...)"."""
    rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
    verb = "lie" if rest else "lies"
    return f"`{names[0]}`{rest} {verb} {_order(way, sizes, block)} in the candidate ({way.how})"


def _order(way: Transfer, sizes: Collection[int], block: Block) -> str:
    """How a weight lies: channels last or first where two or three factors of its inputs changed places."""
    view = way.view or way.tensor_shape
    if outputs := _outputs_split(way, view, block):
        return outputs
    rows = block.shape[0]
    if len(block.shape) > 2 and view == (rows, math.prod(block.shape[1:])) and way.axes == (1, 0):
        return "flattened channels first"
    inside = [axis for axis in way.axes if axis != 0]
    moved = sorted(inside)
    if len(inside) < 2 or inside == moved or len(way.axes) != len(view):
        return "in another order"
    first, last = view[moved[0]], view[moved[-1]]
    if inside == [*moved[1:], moved[0]] and (len(moved) > 2 or first in sizes or last not in sizes):
        return "channels last"
    if inside == [moved[-1], *moved[:-1]]:
        return "channels first"
    return "in another order"


def _outputs_split(way: Transfer, view: Shape, block: Block) -> str:
    """How the outputs of a matrix lie that are split, as by heads, and stay one axis; "" elsewhere."""
    if way.take or block.summed != (1,) or len(way.leaf_shape) != 2:
        return ""
    count = 1
    while math.prod(view[:count]) < block.shape[0]:
        count += 1
    order = tuple(axis for axis in way.axes if axis < count)
    if order == tuple(range(count)):
        return ""
    return f"with its {block.shape[0]} outputs as {view[:count]}, in the order {order},"
