"""Arrays in other layouts: those that fit another shape, and rearrangements that keep the shape."""

import enum
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

Array = Shaped[np.ndarray, "..."]

MOST_LAYOUTS = 6
"""Layouts in which one value is tried."""


def arranged(value: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """A value in the layouts that have a shape or can be reshaped to it, the likeliest first.

    Args:
        value: the value.
        shape: the shape that is wanted.

    Yields:
        At most `MOST_LAYOUTS` arrays of this shape, besides the value itself; none for another size.
    """
    if value.size != int(np.prod(shape)):
        return
    if value.shape == shape:
        yield value
    squeezed = np.squeeze(value)
    wanted = tuple(n for n in shape if n != 1)
    given = 0
    if squeezed.ndim > 6:
        return
    for axes in itertools.permutations(range(squeezed.ndim)):
        if value.shape == shape and axes == tuple(range(squeezed.ndim)):
            continue
        moved = squeezed.transpose(axes)
        if moved.shape == wanted or squeezed.ndim != len(wanted):
            yield moved.reshape(shape)
            given += 1
            if given >= MOST_LAYOUTS:
                return


class Move(enum.StrEnum):
    """How entries are moved."""

    TRANSPOSED = "transposed"
    FLIPPED = "flipped"
    ROLLED = "rolled"
    BLOCKS = "blocks"
    INTERLEAVED = "interleaved"
    SPREAD = "spread"


class Rearranged(NamedTuple):
    """A value with its entries moved.

    Attributes:
        move: how, as a kind.
        text: how, e.g. "with axes (1, 0)".
        value: the value, of the same shape.
    """

    move: Move
    text: str
    value: Array


def rearrangements(value: Array) -> Iterator[Rearranged]:
    """A value with its entries moved in the ways in which ports get them wrong; the shape stays.

    Args:
        value: an array of at least one axis.

    Yields:
        The value with its entries moved, the likeliest mistakes first.
    """
    yield from transposed(value)
    yield from flipped(value)
    yield from blocks(value)
    for axis, length in enumerate(value.shape):
        for step in (-1, 1) if length > 2 else ():
            yield Rearranged(
                Move.ROLLED, f"shifted by {step:+d} along axis {axis}", np.roll(value, step, axis)
            )


def transposed(value: Array) -> Iterator[Rearranged]:
    """Every permutation of axes that keeps the shape.

    Args:
        value: an array of two to six axes; of others nothing comes.

    Yields:
        The value transposed; axes of length one are not moved alone.
    """
    if not 2 <= value.ndim <= 6:
        return
    for axes in itertools.permutations(range(value.ndim)):
        moved = value.transpose(axes)
        long = [axis for i, axis in enumerate(axes) if axis != i and value.shape[axis] > 1]
        if len(long) > 1 and moved.shape == value.shape:
            yield Rearranged(Move.TRANSPOSED, f"with axes {axes}", moved)


def flipped(value: Array) -> Iterator[Rearranged]:
    """Every combination of up to three axes reversed.

    Args:
        value: an array.

    Yields:
        The value reversed.
    """
    long = [axis for axis, n in enumerate(value.shape) if n > 1]
    for count in range(1, min(3, len(long)) + 1):
        for axes in itertools.combinations(long, count):
            yield Rearranged(Move.FLIPPED, f"reversed along {_axes(axes)}", np.flip(value, axes))


def blocks(value: Array) -> Iterator[Rearranged]:
    """Equal blocks along an axis in another order; contiguous blocks interleaved, and back.

    Args:
        value: an array; axes are cut into 2, 3 or 4 blocks where their length allows it.

    Yields:
        The value with its blocks moved.
    """
    for axis, length in enumerate(value.shape):
        for parts in (2, 3, 4):
            if length % parts or length == parts == 2:
                continue
            pieces = np.split(value, parts, axis)
            for order in itertools.permutations(range(parts)):
                if order != tuple(range(parts)):
                    text = f"with its {parts} blocks along axis {axis} in the order {order}"
                    yield Rearranged(Move.BLOCKS, text, np.concatenate([pieces[i] for i in order], axis))
        for parts in range(2, length // 2 + 1):
            if length % parts == 0:
                indices = np.arange(length).reshape(parts, -1)
                text = f"with {parts} blocks along axis {axis} interleaved"
                yield Rearranged(Move.INTERLEAVED, text, np.take(value, indices.T.reshape(-1), axis))


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def spread(value: Array, ndim: int) -> Iterator[Rearranged]:
    """An array that is broadcast along some axes, with its own axes among the others elsewhere.

    Args:
        value: an array that lacks some axes, or has them with length one; of others nothing comes.
        ndim: number of axes of what it is broadcast to.

    Yields:
        The value along other axes, in the same order, with `ndim` axes.
    """
    long = [axis for axis, n in enumerate(value.shape) if n > 1]
    placed = tuple(axis + ndim - value.ndim for axis in long)
    if not 0 < len(long) < ndim:
        return
    for axes in itertools.combinations(range(ndim), len(long)):
        if axes != placed:
            shape = [1] * ndim
            for axis, own in zip(axes, long, strict=True):
                shape[axis] = value.shape[own]
            new, old = (", ".join(map(str, a)) for a in (axes, placed))
            word = "axis" if len(axes) == 1 else "axes"
            yield Rearranged(Move.SPREAD, f"along {word} {new}, not {old}", value.reshape(shape))
