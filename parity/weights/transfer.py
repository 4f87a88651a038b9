"""One way of one block of a tensor to one block of a leaf: read, permuted, flipped, put."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.report.sides import Sides

Shape = tuple[int, ...]

Index = tuple[slice | int, ...]
"""A block of an array, as in `array[index]`; axes that are not named are taken whole."""


class WeightError(ValueError):
    """Weights that cannot be transferred; the message names every tensor at fault."""


class Transfer(NamedTuple):
    """One block's way: `leaf[put] += flip(tensor.reshape(view)[take].transpose(axes)).reshape(...)`.

    Attributes:
        tensor_name: name of the tensor, such as its key in a state dict.
        leaf_path: path of the leaf, such as that in a params tree.
        tensor_shape: shape of the whole tensor.
        leaf_shape: shape of the whole leaf.
        view: shape that the tensor is read in; None is its own.
        take: the block of the tensor; () is all of it.
        axes: `numpy.transpose` axes of the block; () keeps them. (1, 0) for a linear layer, (2, 3, 1, 0)
            for a 2-d convolution (OIHW to HWIO).
        flip: axes, after `axes`, that run backwards: a transposed convolution's.
        put: the block of the leaf; () is all of it. The numbers are reshaped to its shape.
        reason: why this pair and this way, in words.
        gates: the gates that the tensor packs in this block, in order, a letter each; "" if it packs none.
    """

    tensor_name: str
    leaf_path: str
    tensor_shape: Shape
    leaf_shape: Shape
    view: Shape | None = None
    take: Index = ()
    axes: tuple[int, ...] = ()
    flip: tuple[int, ...] = ()
    put: Index = ()
    reason: str = "given"
    gates: str = ""

    def source(self, tensor: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The block of a tensor with its axes in the leaf's order.

        Args:
            tensor: the whole tensor, of shape `tensor_shape`.

        Returns:
            A view that can be read and written.
        """
        block = tensor.reshape(self.tensor_shape if self.view is None else self.view)[(*self.take, ...)]
        moved = block.transpose(self.axes) if self.axes else block
        return np.flip(moved, self.flip) if self.flip else moved

    def target(self, leaf: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The block of a leaf.

        Args:
            leaf: the whole leaf, of shape `leaf_shape`.

        Returns:
            A view that can be read and written.
        """
        return leaf[(*self.put, ...)]

    @property
    def is_whole(self) -> bool:
        """Whether all of a tensor becomes all of a leaf."""
        return not self.take and not self.put

    def back(self, leaf: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The leaf in the tensor's layout, for a whole transfer.

        Args:
            leaf: the whole leaf.

        Returns:
            An array of shape `tensor_shape`: a view where the layout allows.
        """
        moved = leaf.reshape(self.shapes()[0])
        moved = np.flip(moved, self.flip) if self.flip else moved
        moved = moved.transpose(np.argsort(self.axes)) if self.axes else moved
        return moved.reshape(self.tensor_shape)

    def box(self) -> tuple[range, ...]:
        """The block of the leaf.

        Returns:
            One range an axis, equal for equal blocks.
        """
        index = [*self.put, *[slice(None)] * (len(self.leaf_shape) - len(self.put))]
        return tuple(
            range(size)[at] if isinstance(at, slice) else range(size)[at:][:1]
            for at, size in zip(index, self.leaf_shape, strict=True)
        )

    def to_leaf(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The tensor in the leaf's layout, for a whole transfer.

        Args:
            array: the whole tensor.

        Returns:
            An array of shape `leaf_shape`.

        Raises:
            WeightError: if `array` has another shape than planned.
        """
        _require_shape(self.tensor_name, array, self.tensor_shape)
        return self.source(array).reshape(self.leaf_shape)

    def to_tensor(self, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        """The leaf in the tensor's layout, for a whole transfer.

        Args:
            array: the whole leaf.

        Returns:
            An array of shape `tensor_shape`.

        Raises:
            WeightError: if `array` has another shape than planned.
        """
        _require_shape(self.leaf_path, array, self.leaf_shape)
        return self.back(array)

    def shapes(self) -> tuple[Shape, Shape]:
        """The shapes of the block on both sides.

        Returns:
            Its shape as it comes from the tensor, and that of the leaf's block that it fills.
        """
        tensor, leaf = (
            np.broadcast_to(np.zeros(()), shape) for shape in (self.tensor_shape, self.leaf_shape)
        )
        return self.source(tensor).shape, self.target(leaf).shape

    @property
    def how(self) -> str:
        """The layout change in words, e.g. 'permute (1, 0)' or 'as it is'."""
        steps = []
        moved, target = self.shapes()
        if self.view not in (None, self.tensor_shape):
            steps.append(f"view {self.view}")
        if self.take:
            steps.append(f"take {in_brackets(self.take)}")
        if self.axes != tuple(range(len(self.axes))):
            steps.append(f"permute {self.axes}")
        if self.flip:
            steps.append(f"flip {self.flip}")
        if moved != target:
            steps.append(f"reshape {target}")
        if self.put:
            steps.append(f"into {in_brackets(self.put)}")
        return ", ".join(steps) or "as it is"


def array_names(sides: Sides, is_reversed: bool) -> tuple[str, str]:
    """What a tensor and a leaf are called in messages.

    >>> array_names(Sides("JAX", "PyTorch"), is_reversed=True)
    ('PyTorch tensor', 'JAX leaf')

    Args:
        sides: the names of the two sides.
        is_reversed: whether the tensors are the candidate's.

    Returns:
        The two names.
    """
    tensors, leaves = reversed(sides.titles) if is_reversed else sides.titles
    return f"{tensors} tensor", f"{leaves} leaf"


def grouped(transfers: Iterable[Transfer], key: Callable[[Transfer], str]) -> dict[str, list[Transfer]]:
    """Transfers by a key, in order.

    Args:
        transfers: the transfers.
        key: the key of one.

    Returns:
        Those of each key.
    """
    groups: dict[str, list[Transfer]] = {}
    for transfer in transfers:
        groups.setdefault(key(transfer), []).append(transfer)
    return groups


def repeats(transfers: Iterable[Transfer]) -> set[int]:
    """The transfers that add to a block which an earlier one fills.

    Args:
        transfers: the transfers, in order.

    Returns:
        The `id` of each such transfer.
    """
    seen, later = set(), set()
    for transfer in transfers:
        block = (transfer.leaf_path, transfer.box())
        if block in seen:
            later.add(id(transfer))
        seen.add(block)
    return later


def within(outer: Index, inner: Index) -> Index:
    """A block of a block, in terms of the whole array.

    >>> in_brackets(within((slice(None), 1), (slice(None), slice(4, 8))))
    '[:, 1, 4:8]'
    >>> in_brackets(within((slice(4, 8), 1), (slice(0, 2),)))
    '[4:6, 1]'

    Args:
        outer: a block of an array; its slices have no steps.
        inner: a block of that.
    """
    found: list[slice | int] = []
    left = list(inner)
    for at in outer:
        if isinstance(at, int) or not left:
            found.append(at)
            continue
        own, start = left.pop(0), at.start or 0
        if isinstance(own, int):
            found.append(start + own)
        elif own == slice(None):
            found.append(at)
        else:
            found.append(slice(start + own.start, start + own.stop))
    return (*found, *left)


def in_brackets(index: Index) -> str:
    """A block as code has it, "" for all of an array.

    >>> in_brackets((slice(0, 4), 2)), in_brackets((slice(1, None, 2),))
    ('[0:4, 2]', '[1::2]')

    Args:
        index: the block.
    """
    parts = []
    for at in index:
        if isinstance(at, slice):
            bounds = (at.start, at.stop) if at.step is None else (at.start, at.stop, at.step)
            parts.append(":".join("" if bound is None else str(bound) for bound in bounds))
        else:
            parts.append(str(at))
    return f"[{', '.join(parts)}]" if parts else ""


def _require_shape(name: str, array: Shaped[np.ndarray, "..."], shape: Shape) -> None:
    if tuple(array.shape) != shape:
        raise WeightError(f"{name!r} has shape {array.shape}; the transfer says {shape}")
