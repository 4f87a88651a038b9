"""Packs whose parts lie otherwise: head by head, or the inputs of a matrix joined in the other order.

An attention's packed weight holds its parts one after the other, or a head's beside each other (GPT-NeoX,
Falcon, InternLM2: there the queries that share a key and a value form a group). Shapes do not tell which, nor
how many heads there are, so these are alternatives of a plan. All are bijections on the same numbers.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from parity.weights.exchanges import PINNED
from parity.weights.names import owner, without_numbers
from parity.weights.plan import Plan
from parity.weights.transfer import Index, Shape, Transfer, grouped

MOST_COUNTS = 12
"""Numbers of heads that are tried for one pack."""

REASON = "its parts lie head by head"


class Pack(NamedTuple):
    """Transfers of the parts of one array, in the order in which they lie, and the rows of each."""

    parts: tuple[Transfer, ...]
    rows: tuple[int, ...]


def interleaved(plan: Plan, transfer: Transfer) -> Iterator[tuple[Plan, tuple[str, ...], str]]:
    """The plans in which the pack that a transfer belongs to holds its parts head by head.

    Args:
        plan: the plan.
        transfer: the transfer of a weight.

    Yields:
        Each plan, the names of the packed arrays, and the same in words.
    """
    for is_leaf in (False, True):
        packs = _family(plan, transfer, is_leaf=is_leaf)
        if not packs:
            continue
        every = [pack for own in packs.values() for pack in own]
        for count in _counts(every[0]):
            changed = [_by_head(pack, count, is_leaf=is_leaf) for pack in every]
            if None in changed:
                continue
            new = {
                id(part): parts
                for pack, own in zip(every, changed, strict=True)
                for part, parts in zip(pack.parts, own or (), strict=True)
            }
            transfers = tuple(t for old in plan.transfers for t in new.get(id(old), (old,)))
            names = tuple(packs)
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            way = "row by row" if set(every[0].rows) == {count} else f"head by head, {count} heads"
            text = f"`{names[0]}`{more}: {'their' if more else 'its'} parts lie {way}"
            yield plan._replace(transfers=transfers), names, text


def joined_otherwise(plan: Plan, transfer: Transfer) -> Iterator[tuple[Plan, tuple[str, ...], str]]:
    """The plan in which a matrix of two joined inputs has them in the other order.

    Args:
        plan: the plan.
        transfer: the transfer of a weight.

    Yields:
        The plan, the names of the matrices, alike in all layers, and the same in words.
    """
    kin = without_numbers(transfer.tensor_name)
    new: dict[int, Transfer] = {}
    names: list[str] = []
    for name, own in grouped(plan.transfers, lambda t: t.tensor_name).items():
        if without_numbers(name) != kin or len(own) != 2 or any(t.reason == PINNED for t in own):
            continue
        blocks = [t.take[1] for t in own if len(t.take) == 2 and t.take[0] == slice(None) and t.view is None]
        if len(blocks) != 2 or not all(isinstance(at, slice) for at in blocks):
            continue
        names.append(name)
        for part in own:
            at = part.take[1]
            assert isinstance(at, slice)  # as was seen
            length = part.tensor_shape[1]
            moved = slice(length - at.stop, length - at.start)
            new[id(part)] = part._replace(take=(slice(None), moved), reason=f"{part.reason}, inputs in turn")
    if new:
        transfers = tuple(new.get(id(t), t) for t in plan.transfers)
        yield plan._replace(transfers=transfers), tuple(names), f"`{names[0]}` joins its inputs the other way"


def _family(plan: Plan, transfer: Transfer, *, is_leaf: bool) -> dict[str, list[Pack]]:
    """The packs of the same name in all layers, and their biases; empty if the array is none."""
    by_name = grouped(plan.transfers, lambda t: t.leaf_path if is_leaf else t.tensor_name)
    name = transfer.leaf_path if is_leaf else transfer.tensor_name
    first = _packs(by_name[name], is_leaf=is_leaf)
    if not first:
        return {}
    found: dict[str, list[Pack]] = {}
    for other, own in by_name.items():
        is_namesake = without_numbers(owner(other)) == without_numbers(owner(name))
        packs = _packs(own, is_leaf=is_leaf) if is_namesake else []
        if packs and packs[0].rows == first[0].rows:
            found[other] = packs
    return found


def _packs(own: Sequence[Transfer], *, is_leaf: bool) -> list[Pack]:
    """The packs in one array: itself, or each layer of a stack; none if one of them is no pack."""

    def layer(transfer: Transfer) -> str:
        cut = transfer.put if is_leaf else ()
        return str([at if isinstance(at, int) else None for at in cut])

    packs = [_pack(parts, is_leaf=is_leaf) for parts in grouped(own, layer).values()]
    found = [pack for pack in packs if pack is not None]
    return found if len(found) == len(packs) and len({pack.rows for pack in found}) == 1 else []


def _pack(own: Sequence[Transfer], *, is_leaf: bool) -> Pack | None:
    """The parts of one array, two or more, none of them pinned or a gate."""
    found = [(start, stop - start, t) for t in own if (at := _rows(t, is_leaf)) for start, stop in (at,)]
    if len(found) < 2 or len(found) != len(own) or any(t.reason == PINNED or t.gates for t in own):
        return None
    found.sort(key=lambda part: part[0])
    ends = [start + rows for start, rows, _ in found]
    if [start for start, _, _ in found] != [0, *ends[:-1]]:
        return None
    return Pack(tuple(t for _, _, t in found), tuple(rows for _, rows, _ in found))


def _rows(transfer: Transfer, is_leaf: bool) -> tuple[int, int] | None:
    """From which to which row a part lies in its pack; None if it is no part along one axis."""
    if is_leaf:
        axis = _packed_axis(transfer.put)
        if axis is None or transfer.take or transfer.view is not None or transfer.flip:
            return None
        block = transfer.put[axis]
        return (block.start, block.stop) if isinstance(block, slice) else None
    view, at = transfer.view or transfer.tensor_shape, transfer.take[0] if transfer.take else None
    if transfer.put or transfer.flip or len(transfer.take) != 1 or not transfer.tensor_shape:
        return None
    of_one = transfer.tensor_shape[0] // view[0] if transfer.tensor_shape[0] % view[0] == 0 else 0
    if isinstance(at, int):
        return (at * of_one, (at + 1) * of_one) if of_one > 1 else None
    return (at.start * of_one, at.stop * of_one) if at is not None and of_one else None


def _packed_axis(put: Index) -> int | None:
    """The axis of a leaf, or of a layer in it, along which a block is a part, if it is whole along others."""
    cut = [axis for axis, at in enumerate(put) if isinstance(at, slice) and at != slice(None)]
    return cut[0] if len(cut) == 1 and isinstance(at := put[cut[0]], slice) and at.step is None else None


def _counts(first: Pack) -> list[int]:
    """Numbers of heads that there may be: what an axis of a leaf counts, one a row, then any that fits."""
    fewest = min(first.rows)
    fitting = [n for n in range(2, fewest + 1) if fewest % n == 0]
    shown = {size for t in first.parts for size in t.leaf_shape}
    return sorted(fitting, key=lambda n: (n not in shown, n != fewest, n))[:MOST_COUNTS]


def _by_head(pack: Pack, count: int, *, is_leaf: bool) -> list[tuple[Transfer, ...]] | None:
    """The transfers of each part if a pack lies head by head; None if its parts have not so many heads."""
    size = math.gcd(*pack.rows) // count
    if not size or any(rows % (count * size) for rows in pack.rows):
        return None
    of_head = [rows // (count * size) for rows in pack.rows]
    found: list[tuple[Transfer, ...]] = []
    for number, part in enumerate(pack.parts):
        before = sum(of_head[:number])
        if is_leaf:
            found.append(tuple(_put_by_head(part, count, size, before, of_head[number], sum(of_head))))
            continue
        taken = _taken_by_head(part, count, size, before, of_head[number], sum(of_head))
        if taken is None:
            return None
        found.append((taken,))
    return found


def _taken_by_head(
    part: Transfer, count: int, size: int, before: int, own: int, all_of_head: int
) -> Transfer | None:
    """A part that is taken from every head of a packed tensor; None if its rows are split otherwise."""
    rest = part.tensor_shape[1:]
    block = part._replace(axes=(), flip=()).shapes()[0]
    num_rest = len(rest)
    split = block[: len(block) - num_rest]  # how its rows are read now
    if block[len(split) :] != rest or math.prod(split) != count * size * own:
        return None
    new_rows = (count, size) if own == 1 else (count, own, size)
    groups = _regrouped(split, new_rows)
    if groups is None:
        return None
    moved = len(new_rows) - len(split)
    axes = [
        axis
        for old in part.axes or range(len(block))
        for axis in (groups[old] if old < len(split) else (old + moved,))
    ]
    at: slice | int = before if own == 1 else slice(before, before + own)
    return part._replace(
        view=(count, all_of_head, size, *rest),
        take=(slice(None), at),
        axes=tuple(axes),
        reason=f"{part.reason}, {REASON}",
    )


def _regrouped(split: Shape, rows: Shape) -> list[tuple[int, ...]] | None:
    """Which of the new axes of its rows each of the old ones is; None if they cut them elsewhere."""
    groups: list[tuple[int, ...]] = []
    start = 0
    for length in split:
        stop = start + 1
        while stop <= len(rows) and math.prod(rows[start:stop]) < length:
            stop += 1
        if math.prod(rows[start:stop]) != length:
            return None
        groups.append(tuple(range(start, stop)))
        start = stop
    return groups if start == len(rows) else None


def _put_by_head(
    part: Transfer, count: int, size: int, before: int, own: int, all_of_head: int
) -> Iterator[Transfer]:
    """The rows of each head of a tensor, put where the leaf has this head."""
    axis = _packed_axis(part.put)
    assert axis is not None  # as `_rows` has seen
    if own * size == 1:  # one block, with a step
        stop = count * all_of_head
        at = slice(before, stop, all_of_head)
        in_turn = (*part.put[:axis], at, *part.put[axis + 1 :])
        yield part._replace(put=in_turn, reason=f"{part.reason}, {REASON}")
        return
    for head in range(count):
        start = (head * all_of_head + before) * size
        put = list(part.put)
        put[axis] = slice(start, start + own * size)
        rows = slice(head * own * size, (head + 1) * own * size)
        yield part._replace(take=(rows,), put=tuple(put), reason=f"{part.reason}, {REASON}")
