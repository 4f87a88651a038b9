"""Layouts: every way in which a block of a tensor can lie in a leaf of a given shape.

A layer's kind says where its axes go: a linear weight is (out, in) in PyTorch and (in, out) in Flax, a
transposed convolution's is (in, out, ...) and runs backwards. Within one framework an array most likely keeps
its order of axes. Which of its axes a product sums over, where that is known on both sides, settles what
shapes leave open: square matrices above all.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from parity.weights.layer_kinds import GROUPS, KEPT, PERMUTED, SPATIAL, LayerKind, Order, kind_named
from parity.weights.rearrangements import Block, split_orders
from parity.weights.reshapes import carry, regroups, squeeze
from parity.weights.transfer import Shape

RESHAPED = 3.0
"""Cost of axes merged or split."""

SQUEEZED = 1.0
"""Cost of axes of length one added or removed: a convolution of one pixel in place of a linear layer."""

CONTRADICTED = 15.0
"""Cost of a layout in which the two products would sum over other axes."""

CONVOLUTION_LIKE = 0.5
"""How much less an unknown order of axes costs if a convolution's kernel has it."""

SPLIT = 3.2
"""Cost of an axis that is split, what was another axis between its parts: heads stacked in front."""

LATER = 0.1
"""How much more each further way to split axes costs."""

SAME_ORDER = "same order of axes"


class Layout(NamedTuple):
    """One way from a block of a tensor to a block of a leaf.

    Attributes:
        view: shape in which the block is read; None is its own.
        axes: order of the view's axes.
        flip: axes that run backwards afterwards.
        reason: in words.
        cost: how unusual it is; lower is more plausible.
    """

    view: Shape | None
    axes: tuple[int, ...]
    flip: tuple[int, ...]
    reason: str
    cost: float


Summed = tuple[int, ...] | None
"""The axes of an array that a product sums over; None when that is not known."""


class End(NamedTuple):
    """What decides how an array lies, on either side.

    Attributes:
        shape: of the block.
        kind: what is known of the layer that it belongs to, None for a bare array.
        summed: axes that its first product sums over, None if unknown.
        last: last word of its name, "" if that says nothing of its layout.
    """

    shape: Shape
    kind: LayerKind | None = None
    summed: Summed = None
    last: str = ""


@cache
def layouts(tensor: End, leaf: End, is_alike: bool = False) -> tuple[Layout, ...]:
    """The layouts that connect two blocks.

    Args:
        tensor: the block of the tensor.
        leaf: the block of the leaf.
        is_alike: whether both sides are of one framework.

    Returns:
        The layouts, the most likely first; empty when nothing connects the two.
    """
    shape, leaf_shape = tensor.shape, leaf.shape
    if math.prod(shape) != math.prod(leaf_shape):
        return ()
    found: list[Layout] = []
    for option in _alike_options(tensor, leaf) if is_alike else _options(tensor, leaf):
        view = shape if option.view is None else option.view
        moved = tuple(view[axis] for axis in option.axes)
        if not regroups(moved, leaf_shape):
            continue
        cost = option.cost
        if option.view is None:
            cost += SQUEEZED * (moved.count(1) != leaf_shape.count(1))
            cost += RESHAPED * (squeeze(moved) != squeeze(leaf_shape))
        if tensor.summed is not None and leaf.summed is not None:
            summed = carry(tensor.summed, shape, view)
            permuted = None if summed is None else _places(summed, option.axes)
            carried = None if permuted is None else carry(permuted, moved, leaf_shape)
            long = {axis for axis, size in enumerate(leaf_shape) if size > 1}
            if carried is None or set(carried) & long != set(leaf.summed) & long:
                cost += CONTRADICTED
        found.append(option._replace(cost=cost))
    found = found or _split(tensor, leaf)
    return tuple(sorted(found, key=lambda option: option.cost))


def _options(tensor: End, leaf: End) -> list[Layout]:
    """The ways between two frameworks, where the layer's kind says what is usual."""
    shape, kind = tensor.shape, tensor.kind
    same = tuple(range(len(shape)))
    as_it_is = Layout(None, same, (), SAME_ORDER, 0.0)
    if _is_flat(shape, kind):
        return [as_it_is]
    if kind is not None and kind.orders and kind.places(len(shape)):
        ways = _of_kind(kind, shape, leaf.shape)
        # A leaf of PyTorch's own name may have its layout, too.
        is_either = leaf.last == "weight" and set(kind.axes.split()) == {"out", "in"}
        return [way._replace(cost=0.0) for way in ways] if is_either else ways
    if len(shape) == 2:
        return [as_it_is, Layout(None, (1, 0), (), "transposed", 0.0)]
    return [as_it_is, *_permutations(shape, leaf.shape)]


def _alike_options(tensor: End, leaf: End) -> list[Layout]:
    """The ways within one framework: as it is, as a known layer would have it, in any other order."""
    shape = tensor.shape
    same = tuple(range(len(shape)))
    ways = [Layout(None, same, (), SAME_ORDER, 0.0)]
    if _is_flat(shape, tensor.kind) and _is_flat(leaf.shape, leaf.kind):
        return ways
    # Libraries of one framework part here: Flax calls (in, out) `kernel`, Equinox (out, in) `weight`.
    names = tensor.last, leaf.last
    there, back = (0.0 if names == one else KEPT for one in (("weight", "kernel"), ("kernel", "weight")))
    if len(shape) == 2 or len(shape) != len(leaf.shape):
        for start in range(1, len(shape)):  # inputs and outputs may be several axes: heads and their size
            ways.append(Layout(None, (*same[start:], *same[:start]), (), "transposed", min(there, back)))
    bare = kind_named("convolution") if tensor.kind is None and leaf.kind is None else None
    for way in _of_kind(tensor.kind or bare, shape, leaf.shape):
        ways.append(way._replace(cost=way.cost + there))
    for way in _of_kind(leaf.kind or bare, leaf.shape, shape):
        if way.view is None and len(leaf.shape) == len(shape):
            reason = way.reason + ", the other way"
            ways.append(Layout(None, _inverse(way.axes), _sources(way), reason, way.cost + back))
    if len(shape) > 2:
        ways += _permutations(shape, leaf.shape)
    known: dict[tuple[tuple[int, ...], tuple[int, ...], Shape | None], Layout] = {}
    for way in ways:
        known.setdefault((way.axes, way.flip, way.view), way)
    return list(known.values())


def _split(tensor: End, leaf: End) -> list[Layout]:
    """The ways of a matrix whose axes are split, another between their parts: (heads * size, in) as a stack.

    Only where no axis is kept whole elsewhere: heads lie in front where one function is mapped over them.
    """
    axes = set() if tensor.kind is None else set(tensor.kind.axes.split())
    if len(tensor.shape) != 2 or len(leaf.shape) < 3 or axes not in (set(), {"out", "in"}):
        return []
    blocks = Block(tensor.shape, tensor.summed), Block(leaf.shape, leaf.summed)
    return [
        Layout(one.view, one.axes, (), "an axis split, another between its parts", SPLIT + LATER * number)
        for number, one in enumerate(split_orders(*blocks, split=False))
    ]


def _is_flat(shape: Shape, kind: LayerKind | None) -> bool:
    """Whether an array has one axis at most, so that it lies one way; a kernel may still run backwards."""
    spread = kind is not None and SPATIAL in kind.axes
    return len(shape) < 2 or (len(squeeze(shape)) < 2 and not spread)


def _of_kind(kind: LayerKind | None, shape: Shape, leaf_shape: Shape) -> list[Layout]:
    """The ways in which other code holds a weight of a kind."""
    places = kind.places(len(shape)) if kind is not None else {}
    if kind is None or not places:
        return []
    ways = []
    for order in kind.orders:
        names = order.axes.split()
        reason = f"{kind.name}: {_in_words(kind.axes.split())} to {_in_words(names)}"
        if order.axes == kind.axes and not order.backwards:
            reason = f"{kind.name}, kept as {_in_words(names)}"
        reason += ", backwards" * order.backwards
        if GROUPS in names:
            ways += _of_groups(kind, order, shape, leaf_shape)
            continue
        axes = tuple(axis for name in names for axis in places[name])
        ways.append(Layout(None, axes, _backwards(order, names, places), reason, order.cost))
    return ways


def _of_groups(kind: LayerKind, order: Order, shape: Shape, leaf_shape: Shape) -> list[Layout]:
    """The way in which the groups of a layer's inputs lie beside its outputs."""
    places = kind.places(len(shape))
    names = order.axes.split()
    lead = places["in"][0]
    lengths = [len(places.get(name, (0,))) for name in names]
    place = sum(lengths[: names.index("in")]) - (names.index(GROUPS) < names.index("in"))
    narrow = leaf_shape[place] if len(leaf_shape) == len(shape) else 0  # in / groups
    if not 0 < narrow < shape[lead] or shape[lead] % narrow:
        return []
    groups = shape[lead] // narrow
    view = (*shape[:lead], groups, narrow, *shape[lead + 1 :])
    moved = {name: tuple(axis + (axis >= lead) for axis in own) for name, own in places.items()}
    moved |= {GROUPS: (lead,), "in": (lead + 1,)}
    axes = tuple(axis for name in names for axis in moved[name])
    reason = f"{kind.name} of {groups} groups" + ", backwards" * order.backwards
    return [Layout(view, axes, _backwards(order, names, moved), reason, order.cost)]


def _backwards(order: Order, names: Sequence[str], places: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Where the spatial axes are once they are in order, if these run backwards."""
    if not order.backwards:
        return ()
    start = sum(len(places[name]) for name in names[: names.index(SPATIAL)])
    return tuple(range(start, start + len(places[SPATIAL])))


def _permutations(shape: Shape, leaf_shape: Shape) -> list[Layout]:
    """Every other order of axes that gives the leaf's shape."""
    rank = len(shape)
    likely = (*range(2, rank), 1, 0)  # where several fit, what a convolution has
    return [
        Layout(None, axes, (), "axes in another order", PERMUTED - CONVOLUTION_LIKE * (axes == likely))
        for axes in (itertools.permutations(range(rank)) if rank <= 5 else ())
        if axes != tuple(range(rank)) and _exact(shape, axes, leaf_shape)
    ]


def _in_words(names: Sequence[str]) -> str:
    return f"({', '.join(names)})"


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def _sources(way: Layout) -> tuple[int, ...]:
    """The axes, before a layout permutes them, that run backwards after it."""
    return tuple(sorted(way.axes[axis] for axis in way.flip))


def _exact(shape: Shape, axes: tuple[int, ...], leaf_shape: Shape) -> bool:
    moved = tuple(shape[axis] for axis in axes)
    return moved == leaf_shape or squeeze(moved) == squeeze(leaf_shape)


def _places(chosen: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Where some axes are after a permutation."""
    return tuple(place for place, axis in enumerate(axes) if axis in chosen)
