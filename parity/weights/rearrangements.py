"""Axes seen as several, whose order differs from one side to the other: heads, channels and places.

The inputs of a layer may be a map of channels and places that one side flattens channels first and the other
channels last; its outputs may be heads and their size, with the layer's inputs between them. A layout is then
a view that splits axes, a permutation, and a reshape. All are bijections that a porter could mean: at most
one axis of either side is split into factors that its shape does not show.
"""

import itertools
import math
from collections.abc import Collection, Iterator
from typing import NamedTuple

from parity.weights.reshapes import carry, regroups
from parity.weights.transfer import Shape

MOST_AXES = 6
"""Axes that an array may be seen with."""

FACTORS = (2, 3)
"""Into how many factors an axis is split."""


class Block(NamedTuple):
    """A block of an array: its shape, and the axes that its first product sums over, None if not known."""

    shape: Shape
    summed: tuple[int, ...] | None = None


class Rearrangement(NamedTuple):
    """One bijection from a block to another: read in a view, permuted, reshaped."""

    view: Shape
    axes: tuple[int, ...]


def split_orders(
    tensor: Block, leaf: Block, sizes: Collection[int] = (), *, split: bool = True
) -> Iterator[Rearrangement]:
    """The rearrangements that take a block of a tensor to one of a leaf, axes split where that is needed.

    >>> next(split_orders(Block((6, 4), (1,)), Block((2, 4, 3), (1,)), split=False))
    Rearrangement(view=(2, 3, 4), axes=(0, 2, 1))

    Args:
        tensor: the block of the tensor.
        leaf: the block of the leaf.
        sizes: lengths that the models are known to have (channels of an image, heads): an axis that is split
            into these comes first.
        split: whether an axis of the leaf may be split into factors that neither shape shows.

    Yields:
        Each once, those without hidden factors first, then those with factors of known sizes.
    """
    if math.prod(tensor.shape) != math.prod(leaf.shape) or not leaf.shape:
        return
    seen: set[tuple[Shape, tuple[int, ...]]] = set()
    views = [leaf.shape, *(_split_views(leaf.shape, sizes) if split else ())]
    for fine in views:
        if len(fine) > MOST_AXES:
            continue
        for axes in itertools.permutations(range(len(fine))):
            view = tuple(fine[axes.index(axis)] for axis in range(len(fine)))
            if not regroups(tensor.shape, view) or not _sums_alike(tensor, leaf, view, fine, axes):
                continue
            key = canonical(view, axes)
            if key not in seen:
                seen.add(key)
                yield Rearrangement(*key)


def _split_views(shape: Shape, sizes: Collection[int]) -> list[Shape]:
    """The shape with one of its axes split, factors of known sizes first."""
    found: list[tuple[tuple[int, int], Shape]] = []
    for axis, size in enumerate(shape):
        for count in FACTORS:
            for factors in _factorings(size, count):
                unknown = sum(factor not in sizes for factor in factors)
                found.append(((count, unknown), (*shape[:axis], *factors, *shape[axis + 1 :])))
    return [view for _, view in sorted(found, key=lambda one: (one[0][1] - one[0][0], one[0][0]))]


def _factorings(size: int, count: int) -> Iterator[Shape]:
    """The ordered products of `count` factors above one."""
    if count == 1:
        if size > 1:
            yield (size,)
        return
    for first in range(2, size // 2 + 1):
        if size % first == 0:
            for rest in _factorings(size // first, count - 1):
                yield (first, *rest)


def _sums_alike(tensor: Block, leaf: Block, view: Shape, fine: Shape, axes: tuple[int, ...]) -> bool:
    """Whether the axes that are summed over go to axes that are summed over, as far as is known."""
    if tensor.summed is None or leaf.summed is None:
        return True
    there, here = carry(tensor.summed, tensor.shape, view), carry(leaf.summed, leaf.shape, fine)
    if there is None or here is None:
        return False
    return {place for place, axis in enumerate(axes) if axis in there and fine[place] > 1} == {
        place for place in here if fine[place] > 1
    }


def canonical(view: Shape, axes: tuple[int, ...]) -> tuple[Shape, tuple[int, ...]]:
    """A view and a permutation with axes that stay together as one, and without axes of length one.

    >>> canonical((10, 3, 4, 4), (0, 2, 3, 1))
    ((10, 3, 16), (0, 2, 1))

    Args:
        view: the shape that a block is read in.
        axes: the order of its axes.

    Returns:
        The shortest view and permutation that move every number alike.
    """
    runs: list[list[int]] = []
    for axis in axes:
        if view[axis] == 1:
            continue
        after = runs and all(view[between] == 1 for between in range(runs[-1][-1] + 1, axis))
        if after and axis > runs[-1][-1]:
            runs[-1].append(axis)
        else:
            runs.append([axis])
    order = sorted(range(len(runs)), key=lambda run: runs[run][0])
    lengths = tuple(math.prod(view[axis] for axis in runs[run]) for run in order)
    return lengths, tuple(order.index(run) for run in range(len(runs)))
