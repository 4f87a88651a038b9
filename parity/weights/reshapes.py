"""What a reshape does to axes: which are kept, merged or split."""

import math

from parity.weights.transfer import Shape


def squeeze(shape: Shape) -> Shape:
    """A shape without its ones.

    Args:
        shape: the shape.

    Returns:
        The lengths other than one.
    """
    return tuple(size for size in shape if size != 1)


def regroups(shape: Shape, leaf_shape: Shape) -> bool:
    """Whether a reshape merges or splits axes only.

    >>> regroups((6, 4), (2, 3, 4)), regroups((6, 4), (4, 6))
    (True, False)

    Args:
        shape: one shape.
        leaf_shape: another shape of as many numbers.

    Returns:
        Whether each axis, or run of axes, of one shape is a run of axes, or an axis, of the other.
    """
    return all(len(run) == 1 or len(leaf_run) == 1 for run, leaf_run in _runs(shape, leaf_shape))


def merges(shape: Shape, other: Shape) -> bool:
    """Whether a reshape splits no axis.

    >>> merges((2, 3, 4), (6, 4)), merges((6, 4), (2, 3, 4))
    (True, False)

    Args:
        shape: one shape.
        other: another shape of as many numbers.

    Returns:
        Whether each axis of the other shape is a run of axes of the first.
    """
    return all(len(run) == 1 for _, run in _runs(shape, other))


def carry(axes: tuple[int, ...], shape: Shape, other: Shape) -> tuple[int, ...] | None:
    """The axes of a reshaped array that some axes become.

    >>> carry((0,), (6, 4), (2, 3, 4)), carry((0,), (2, 3, 4), (6, 4))
    ((0, 1), None)

    Args:
        axes: axes of the array as it was.
        shape: its shape.
        other: its shape after the reshape.

    Returns:
        The axes in the other shape; None if they become parts of one.
    """
    carried: list[int] = []
    for run, other_run in _runs(shape, other):
        inside = {axis in axes for axis in run}
        if len(inside) > 1:
            return None
        if inside == {True}:
            carried += other_run
    return tuple(carried)


def _runs(shape: Shape, leaf_shape: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of two shapes whose products agree; axes of length one are left out."""
    axes = [axis for axis, size in enumerate(shape) if size != 1]
    leaf_axes = [axis for axis, size in enumerate(leaf_shape) if size != 1]
    runs = []
    while axes and leaf_axes:
        left, right = [axes.pop(0)], [leaf_axes.pop(0)]
        while (a := math.prod(shape[i] for i in left)) != (b := math.prod(leaf_shape[i] for i in right)):
            if a < b:
                left.append(axes.pop(0))
            else:
                right.append(leaf_axes.pop(0))
        runs.append((left, right))
    return runs
