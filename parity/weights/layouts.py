"""Layouts: every way in which a block of a PyTorch tensor can lie in a JAX leaf of a given shape.

A layer's kind says where its axes go: a linear weight is (out, in) in PyTorch and (in, out) in Flax, a
transposed convolution's is (in, out, ...) and runs backwards. Which of its axes a product sums over, where
that is known on both sides, settles what shapes leave open: square matrices above all.
"""

import itertools
import math
import re
from functools import cache
from typing import NamedTuple

from parity.weights.plan import Shape

KEPT = 2.0
"""Cost of a linear weight kept as (out, in)."""

RESHAPED = 3.0
"""Cost of axes merged, split, or of length one added or removed."""

PERMUTED = 6.0
"""Cost of an order of axes that no known layer has."""

CONTRADICTED = 15.0
"""Cost of a layout in which the two products would sum over other axes."""

LINEAR = ("Linear", "MultiheadAttention")
"""Layers whose matrices are (out, in) in PyTorch."""

TABLES = ("Embedding", "EmbeddingBag")
"""Layers whose matrices lie the same way in both frameworks."""


class Layout(NamedTuple):
    """One way from a block of a tensor to a block of a leaf.

    Attributes:
        view: shape in which the block is read; None is its own.
        axes: order of the view's axes.
        flip: axes that run backwards afterwards.
        reason: in words.
        cost: how unusual it is.
    """

    view: Shape | None
    axes: tuple[int, ...]
    flip: tuple[int, ...]
    reason: str
    cost: float


Axes = tuple[int, ...] | None
"""The axes that a product sums over; None when that is not known."""


@cache
def layouts(
    shape: Shape, layer: str, contracted: Axes, leaf_shape: Shape, jax_contracted: Axes, kept: bool = False
) -> tuple[Layout, ...]:
    """The layouts that connect two shapes, the most likely first; empty when nothing does.

    Args:
        shape: of the PyTorch block.
        layer: class name of the layer that it belongs to, "" for a bare tensor.
        contracted: axes that its first product sums over, None if unknown.
        leaf_shape: of the block of the leaf.
        jax_contracted: axes that the leaf's first product sums over, None if unknown.
        kept: whether the leaf has PyTorch's own name, so that its layout may be PyTorch's too.
    """
    if math.prod(shape) != math.prod(leaf_shape):
        return ()
    found = []
    for option in _options(shape, layer, leaf_shape):
        view = shape if option.view is None else option.view
        moved = tuple(view[axis] for axis in option.axes)
        if not _regroups(moved, leaf_shape):
            continue
        usual = 0.0 if kept and layer in LINEAR else option.cost
        cost = usual + (RESHAPED if option.view is None and moved != leaf_shape else 0.0)
        if contracted is not None and jax_contracted is not None:
            summed = _carry(contracted, shape, view)
            ours = None if summed is None else _places(summed, option.axes)
            there = None if ours is None else _carry(ours, moved, leaf_shape)
            long = {axis for axis, size in enumerate(leaf_shape) if size > 1}
            if there is None or set(there) & long != set(jax_contracted) & long:
                cost += CONTRADICTED
        found.append(option._replace(cost=cost))
    return tuple(sorted(found, key=lambda option: option.cost))


def squeeze(shape: Shape) -> Shape:
    """A shape without its ones."""
    return tuple(size for size in shape if size != 1)


def _options(shape: Shape, layer: str, leaf_shape: Shape) -> list[Layout]:
    rank = len(shape)
    same = tuple(range(rank))
    as_it_is = Layout(None, same, (), "same order of axes", 0.0)
    if rank < 2 or (len(squeeze(shape)) < 2 and not layer.startswith("Conv")):
        return [as_it_is]
    spatial = tuple(range(2, rank))
    if layer in LINEAR and rank == 2:
        return [
            Layout(None, (1, 0), (), "linear: (out, in) to (in, out)", 0.0),
            as_it_is._replace(reason="linear, kept as (out, in)", cost=KEPT),
        ]
    if re.fullmatch(r"Conv[123]d", layer) and rank > 2:
        return [
            Layout(None, (*spatial, 1, 0), (), "convolution: (out, in, ...) to (..., in, out)", 0.0),
            as_it_is._replace(reason="convolution, kept as (out, in, ...)", cost=KEPT),
        ]
    if re.fullmatch(r"ConvTranspose[123]d", layer) and rank > 2:
        return _transposed_convolutions(shape, leaf_shape)
    if rank == 2:
        turned = Layout(None, (1, 0), (), "transposed", PERMUTED if layer in TABLES else 0.0)
        return [as_it_is, turned]
    others = itertools.permutations(range(rank)) if rank <= 5 else ()
    fits = [axes for axes in others if axes != same and _exact(shape, axes, leaf_shape)]
    likely = (*spatial, 1, 0)  # where several fit, what a convolution has
    return [
        as_it_is,
        *(
            Layout(None, axes, (), "axes in another order", PERMUTED - 0.5 * (axes == likely))
            for axes in fits
        ),
    ]


def _transposed_convolutions(shape: Shape, leaf_shape: Shape) -> list[Layout]:
    """PyTorch's (in, out / groups, ...) is the kernel of the convolution that it is the gradient of.

    As a convolution of the spread-out input it runs backwards; lax's `transpose_kernel=True` turns it itself.
    """
    rank = len(shape)
    spatial = tuple(range(2, rank))
    front, back = tuple(range(rank - 2)), spatial
    reason = "transposed convolution: (in, out, ...) to "
    options = [
        Layout(None, (*spatial, 0, 1), front, reason + "(..., in, out), backwards", 0.0),
        Layout(None, (*spatial, 1, 0), (), reason + "(..., out, in)", 0.0),
        Layout(None, (1, 0, *spatial), back, reason + "(out, in, ...), backwards", 0.0),
        Layout(None, (0, 1, *spatial), (), reason + "(in, out, ...)", KEPT),
        Layout(None, (*spatial, 0, 1), (), reason + "(..., in, out)", KEPT),
        Layout(None, (1, 0, *spatial), (), reason + "(out, in, ...)", KEPT),
        Layout(None, (0, 1, *spatial), back, reason + "(in, out, ...), backwards", 2 * KEPT),
        Layout(None, (*spatial, 1, 0), front, reason + "(..., out, in), backwards", 2 * KEPT),
    ]
    deep = tuple(range(3, rank + 1))
    for place, order, flip in ((1, (0, 2, 1, *deep), deep), (-2, (*deep, 1, 0, 2), front)):
        narrow = leaf_shape[place] if len(leaf_shape) == rank else 0  # in / groups
        if 0 < narrow < shape[0] and shape[0] % narrow == 0:
            groups = shape[0] // narrow
            view = (groups, narrow, *shape[1:])
            grouped = f"transposed convolution of {groups} groups, backwards"
            options.append(Layout(view, order, flip, grouped, 0.0))
    return options


def _exact(shape: Shape, axes: tuple[int, ...], leaf_shape: Shape) -> bool:
    moved = tuple(shape[axis] for axis in axes)
    return moved == leaf_shape or squeeze(moved) == squeeze(leaf_shape)


def _regroups(shape: Shape, leaf_shape: Shape) -> bool:
    """Whether each axis, or run of axes, of one shape is a run of axes, or an axis, of the other."""
    return all(len(ours) == 1 or len(theirs) == 1 for ours, theirs in _runs(shape, leaf_shape))


def _runs(shape: Shape, leaf_shape: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of two shapes whose products agree; axes of length one are left out."""
    ours = [axis for axis, size in enumerate(shape) if size != 1]
    theirs = [axis for axis, size in enumerate(leaf_shape) if size != 1]
    runs = []
    while ours and theirs:
        left, right = [ours.pop(0)], [theirs.pop(0)]
        while (a := math.prod(shape[i] for i in left)) != (b := math.prod(leaf_shape[i] for i in right)):
            if a < b:
                left.append(ours.pop(0))
            else:
                right.append(theirs.pop(0))
        runs.append((left, right))
    return runs


def _carry(axes: tuple[int, ...], shape: Shape, other: Shape) -> tuple[int, ...] | None:
    """The axes of the reshaped array that some axes become; None if they become parts of one."""
    carried: list[int] = []
    for ours, theirs in _runs(shape, other):
        inside = {axis in axes for axis in ours}
        if len(inside) > 1:
            return None
        if inside == {True}:
            carried += theirs
    return tuple(carried)


def _places(chosen: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """Where some axes are after a permutation."""
    return tuple(place for place, axis in enumerate(axes) if axis in chosen)
