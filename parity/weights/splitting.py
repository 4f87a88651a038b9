"""The ways to see a tensor or a leaf: whole, as parts of a pack, as layers of a stack.

A packed array holds its parts one after the other along its outputs: query, key and value, or gates, in
equal lengths or, with fewer heads of keys and values, in unequal ones. A stack has an axis of layers, the
first or, where the other side counts as many, the second (`in_axes=1` of a scan: T5X, MaxText).
"""

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from parity.weights.evidence import Known, Signature, Use
from parity.weights.layer_kinds import SPATIAL, kind_of
from parity.weights.names import role
from parity.weights.namesakes import spelled as spelled_path
from parity.weights.part_names import inside, part_names, spelled, with_gate_names
from parity.weights.transfer import Index, Shape, within
from parity.weights.units import PACKED, Choice, Group, Slot, Unit, taken

PARTS = (2, 3, 4)
"""Numbers of equal parts that a packed array may have: key and value, or query too, or four gates."""

DIRECTIONS = 2
"""Directions of a recurrent layer, on an axis before those of its kernels."""

KERNELS = ("input", "recurrent")
"""What the parts of two kernels in one array are called."""

LONGEST_STACK = 512
"""The most layers that one array may stack."""

MOST_TIED = 4
"""Further names of one tensor of which any may be a leaf of its own; of more, all or none."""

STACKED = 0.02
TIED = 0.3
"""Costs of seeing an array as a stack, and a tied tensor twice."""

ACROSS = 0.1
"""How much more a stack costs whose layers lie along the second axis, as those of some scans do."""

NAMESAKE = 0.5
"""Cost of seeing a leaf in parts though one tensor has its name and as many numbers."""

MISSPELT = 0.3
"""Cost of other parts of a pack than its name puts together, as three of a `gate_up`."""


def of_tensor(
    name: str,
    tensor: Signature,
    sizes: Collection[int] = (),
    joints: Collection[tuple[int, int]] = (),
    *,
    said: Collection[str] = (),
    is_alike: bool = False,
    any_lengths: bool = False,
) -> Group[Unit]:
    """One tensor: whole, as parts of a packed one, once for each of its names, or as the rows of a stack.

    Args:
        name: its name.
        tensor: what is known of it.
        sizes: lengths of axes of the leaves, which the parts of a pack may have.
        joints: as in `of_leaf`; only used if both sides are of one framework.
        said: words of the leaves' names, of which a pack may be named.
        is_alike: whether both sides are of one framework, so that a tensor may be seen in every way in which
            a leaf may.
        any_lengths: whether the parts of a pack may have any of the sizes.

    Returns:
        The ways, the plainest first.
    """
    whole = _whole(name, tensor)
    if is_alike:
        count = spelled(name, said)
        ways = list(_ways(whole, sizes, joints, count, is_alike=True, any_lengths=any_lengths))
    else:
        kind = kind_of(tensor.layer)
        axis = None if kind is None else kind.packed_axis(len(tensor.shape))
        axes = [] if axis is None else [axis]
        if not tensor.layer:
            last = len(tensor.shape) - 1
            axes = sorted({0, min(1, last), last} if last >= 0 else ())
        packs = _cut_along(whole, axes, sizes, any_lengths)
        count = spelled(name, said)
        ways = [taken((whole,)), *(taken(pack, _cost(pack, count)) for pack in packs)]
        ways += [taken(pair, PACKED) for pair in _of_joined_inputs(whole, sizes)]
        if _may_stack(whole) and tensor.shape[0] > 1:
            ways.append(Choice((_layer(whole, 0),), tensor.shape[0], partial(_layers, whole), STACKED))
    choices = [_as_units(way) for way in ways]
    if tensor.tied:
        unit = whole.as_unit()
        others = [unit._replace(label=other, role=role(other), use=None) for other in tensor.tied]
        # The other side may have a leaf for each name, or for some of them.
        counts = range(len(others), 0, -1) if len(others) <= MOST_TIED else (len(others),)
        some = (chosen for count in counts for chosen in itertools.combinations(others, count))
        choices[1:1] = [taken((unit, *chosen), TIED) for chosen in some]
    return Group((name,), tuple(choices))


def of_leaf(
    path: str,
    leaf: Signature,
    sizes: Collection[int] = (),
    joints: Collection[tuple[int, int]] = (),
    *,
    depths: Collection[int] = (),
    series: Collection[tuple[int, ...]] = (),
    said: Collection[str] = (),
    is_named: bool = False,
    is_alike: bool = False,
    any_lengths: bool = False,
) -> Group[Slot]:
    """One leaf: whole, as parts of a packed one, as a stack of layers, or as a stack of packs.

    Args:
        path: the leaf's path.
        leaf: what is known of it.
        sizes: lengths of axes of the tensors, which the parts of a pack may have.
        joints: (input, hidden) sizes of recurrent layers, whose two kernels may be one leaf.
        depths: numbers of layers that the tensors' names count.
        series: first axes of tensors whose names count them, which may lie one after the other in one leaf.
        said: words of the tensors' names, of which a pack may be named.
        is_named: whether one tensor has its name and as many numbers, and is most likely all of it.
        is_alike: whether both sides are of one framework.
        any_lengths: whether the parts of a pack may have any of the sizes.

    Returns:
        The ways, the plainest first.
    """
    count = spelled(path, said)
    whole = _whole(path, leaf)
    plain, *others = _ways(whole, sizes, joints, count, depths, is_alike=is_alike, any_lengths=any_lengths)
    others += [taken(parts, PACKED) for parts in _in_series(whole, series)]
    more = NAMESAKE * is_named
    return Group((path,), (plain, *(dataclasses.replace(way, cost=way.cost + more) for way in others)))


def of_one_name(tensors: Known, leaves: Known) -> set[str]:
    """The leaves that have the name of one tensor and as many numbers, whatever their shapes.

    >>> of_one_name({"q_proj.weight": Signature((8, 4))}, {"q_proj": Signature((2, 4, 4))})
    {'q_proj'}

    Args:
        tensors: the tensors by name.
        leaves: the leaves by path.
    """
    sides = [
        [
            ("_".join(spelled_path(name)).removesuffix("_weight"), math.prod(known.shape))
            for name, known in own
        ]
        for own in (tensors.items(), leaves.items())
    ]
    counts, there = Counter(sides[0]), Counter(sides[1])
    return {path for path, key in zip(leaves, sides[1], strict=True) if counts[key] == 1 == there[key]}


def lengths(shape: Shape) -> set[int]:
    """The lengths of the axes of a leaf, and of two neighbours as one: heads and their size.

    Args:
        shape: shape of the leaf.

    Returns:
        The lengths.
    """
    return {*shape, *(a * b for a, b in itertools.pairwise(shape))}


def _whole(name: str, known: Signature) -> Slot:
    return Slot(name, name, (), known.shape, known.layer, role(name), known.use)


def _as_units(way: Choice[Slot]) -> Choice[Unit]:
    samples = tuple(slot.as_unit() for slot in way.samples)
    return Choice(samples, way.times, lambda: tuple(slot.as_unit() for slot in way.make()), way.cost)


def _ways(
    whole: Slot,
    sizes: Collection[int],
    joints: Collection[tuple[int, int]],
    said: int,
    depths: Collection[int] = (),
    *,
    is_alike: bool,
    any_lengths: bool,
) -> Iterator[Choice[Slot]]:
    """Every way to see an array, whose name puts as many words together as it says."""

    def parts(slot: Slot) -> list[tuple[Slot, ...]]:
        return [*_packs(slot, sizes, is_alike, any_lengths), *_joined(slot, joints)]

    yield taken((whole,))
    for pack in parts(whole):
        yield taken(pack, _cost(pack, said))
    for axis, more in ((0, 0.0), (1, ACROSS)):
        if not _may_stack(whole, axis) or (is_alike and not _holds_product(whole, axis)):
            continue
        if axis and whole.shape[axis] not in depths:
            continue
        count = whole.shape[axis]
        first = _layer(whole, 0, axis)
        if count > 1:
            yield Choice((first,), count, partial(_layers, whole, axis), STACKED + more)
        for number, pack in enumerate(parts(first)):

            def stack(axis: int = axis, number: int = number) -> tuple[Slot, ...]:
                return tuple(slot for own in _layers(whole, axis) for slot in parts(own)[number])

            yield Choice(pack, count, stack, STACKED + more + _cost(pack, said))


def _joined(slot: Slot, joints: Collection[tuple[int, int]]) -> Iterator[tuple[Slot, ...]]:
    """The two kernels of a recurrent layer in one array, or those of both its directions."""
    if slot.layer:
        return
    for axis in range(min(len(slot.shape), 2)):
        for joint in joints:
            if len(slot.shape) > 1 and sum(joint) == slot.shape[axis]:
                yield _blocks(slot, axis, joint, KERNELS)
    if len(slot.shape) > 2 and slot.shape[0] == DIRECTIONS:
        directions = [list(_joined(own, joints)) for own in _rows(slot, 0, DIRECTIONS)]
        yield from (tuple(itertools.chain(*both)) for both in zip(*directions, strict=True))


def _in_series(whole: Slot, series: Collection[tuple[int, ...]]) -> Iterator[tuple[Slot, ...]]:
    """Several layers in one array: the tables of categories, one behind the other; heads of several tasks."""
    axes = sorted({0, len(whole.shape) - 1}) if whole.shape and not whole.layer else ()
    for axis, lengths in itertools.product(axes, series):
        if sum(lengths) == whole.shape[axis]:
            yield _blocks(whole, axis, lengths, [str(number) for number in range(len(lengths))])


def _of_joined_inputs(whole: Slot, sizes: Collection[int]) -> Iterator[tuple[Slot, ...]]:
    """A layer of two inputs that are joined, such as an input and a state, as the kernels of either."""
    kind = kind_of(whole.layer)
    if kind is None or set(kind.axes.split()) - {SPATIAL} != {"out", "in"} or kind.axes.split()[0] != "out":
        return
    length = whole.shape[1] if len(whole.shape) > 1 else 0
    for first in sorted(sizes):
        if 0 < first < length and length - first in sizes:
            yield _blocks(whole, 1, (first, length - first), KERNELS)


def _cost(pack: Collection[Slot], said: int) -> float:
    """The cost of seeing an array as a pack, more if its name says how many parts it has, and not so many."""
    return PACKED + MISSPELT * (said not in (0, len(pack)))


def _may_stack(whole: Slot, axis: int = 0) -> bool:
    return not whole.layer and len(whole.shape) > 1 and 0 < whole.shape[axis] <= LONGEST_STACK


def _holds_product(slot: Slot, axis: int) -> bool:
    """Whether slices along an axis are still matrices, if the array is used as one."""
    if slot.use is None or slot.use.operation not in ("matmul", "conv"):
        return True
    return len(slot.shape) > 2 and axis not in slot.use.contracted


def _layers(whole: Slot, axis: int = 0) -> tuple[Slot, ...]:
    return tuple(_layer(whole, index, axis) for index in range(whole.shape[axis]))


def _layer(whole: Slot, index: int, axis: int = 0) -> Slot:
    """One layer of a stack, whose layers lie along an axis."""
    return whole._replace(
        label=f"{index}/{whole.path}",
        put=(*[slice(None)] * axis, index),
        shape=(*whole.shape[:axis], *whole.shape[axis + 1 :]),
        use=_without(whole.use, axis),
        depth=index,
    )


def _cuts(length: int, sizes: Collection[int], *, any_lengths: bool) -> list[tuple[int, ...]]:
    """The lengths of parts of an axis: equal ones, or two of one of the sizes after a longer one.

    With `any_lengths` also two of the sizes, or two alike after a shorter one: a step's rank before the two
    matrices of a state space. So much fits by chance that it is not looked at first.
    """
    equal = [(length // count,) * count for count in PARTS if length % count == 0 and length > count]
    alike = [(length - 2 * size, size, size) for size in sorted(sizes)]
    two = [(size, length - size) for size in sorted(sizes)] if any_lengths else []
    known = [cut for cut in (*alike, *two) if cut[0] in sizes and cut[-1] in sizes]
    return equal + [cut for cut in known if cut[0] > cut[-1] or (any_lengths and cut[0] < cut[-1])]


def _cut_along(
    slot: Slot, axes: Collection[int], sizes: Collection[int], any_lengths: bool
) -> list[tuple[Slot, ...]]:
    """Every way to cut an array along one of some axes."""
    cuts = ((axis, cut) for axis in axes for cut in _cuts(slot.shape[axis], sizes, any_lengths=any_lengths))
    return [_cut(slot, axis, cut) for axis, cut in cuts]


def _packs(slot: Slot, sizes: Collection[int], is_alike: bool, any_lengths: bool) -> list[tuple[Slot, ...]]:
    """Every way to see an array as parts: along its first or last axis, or along one of their number."""
    last = len(slot.shape) - 1
    kind = kind_of(slot.layer)
    axes: Collection[int] = sorted({0, last} if last >= 0 else ())
    packs = []
    if slot.layer:
        axis = None if kind is None else kind.packed_axis(len(slot.shape))
        axes = () if axis is None else (axis,)
    elif last > 0:
        counted = [axis for axis, size in enumerate(slot.shape) if size in PARTS]
        counted = [axis for axis in counted if not is_alike or _holds_product(slot, axis)]
        packs = [_rows(slot, axis, slot.shape[axis]) for axis in counted]
    packs += _cut_along(slot, axes, sizes, any_lengths)
    return [with_gate_names(pack, slot) for pack in packs] if is_alike else packs


def _rows(slot: Slot, axis: int, count: int) -> tuple[Slot, ...]:
    """The parts of an array along an axis that counts them."""
    return tuple(
        slot._replace(
            label=inside(slot.label, name),
            put=within(slot.put, (*[slice(None)] * axis, part)),
            shape=(*slot.shape[:axis], *slot.shape[axis + 1 :]),
            use=_without(slot.use, axis),
            part=part,
        )
        for part, name in enumerate(part_names(slot, count))
    )


def _cut(slot: Slot, axis: int, cut: Sequence[int]) -> tuple[Slot, ...]:
    """The parts of an array one after the other along an axis, under their usual names."""
    return _blocks(slot, axis, cut, part_names(slot, len(cut)))


def _blocks(slot: Slot, axis: int, cut: Sequence[int], names: Sequence[str]) -> tuple[Slot, ...]:
    """The parts of an array one after the other along an axis."""
    return tuple(
        slot._replace(
            label=inside(slot.label, name),
            put=within(slot.put, _block(axis, cut, part)),
            shape=(*slot.shape[:axis], size, *slot.shape[axis + 1 :]),
            part=part,
        )
        for part, (name, size) in enumerate(zip(names, cut, strict=True))
    )


def _block(axis: int, cut: Sequence[int], part: int) -> Index:
    """Where one part lies."""
    return (*[slice(None)] * axis, slice(sum(cut[:part]), sum(cut[: part + 1])))


def _without(use: Use | None, axis: int) -> Use | None:
    """A use as seen by one slice along an axis."""
    if use is None:
        return None
    kept = tuple(a - (a > axis) for a in use.contracted if a != axis)
    # A slice is what was gathered; what it is used for is not known.
    return use._replace(contracted=kept, operation="other" if use.operation == "gather" else use.operation)
