"""Aten's views and rearrangements in LAX's terms."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from parity.frameworks.torch.torch_tape import Ref, Rule, Tape, UntranslatedError


def axis_of(axis: int, rank: int) -> int:
    """An axis counted from the front; a number has one, too.

    Args:
        axis: from -rank to rank - 1.
        rank: number of axes; 0 for a number.
    """
    return axis % max(rank, 1)


def _view(tape: Tape, self: torch.Tensor, *_: object, **__: object) -> Ref:
    if tape.out[0].dtype != self.dtype:
        raise UntranslatedError
    return tape.reshape(tape.read(self), tape.out[0].shape)


def _transpose(tape: Tape, self: torch.Tensor, dim0: int | Sequence[int], dim1: int = 0) -> Ref:
    if not isinstance(dim0, int):  # PyTorch's primitive of this name, which has a permutation
        return tape.transpose(tape.read(self), dim0)
    axes = list(range(self.dim()))
    if axes:
        axes[dim0], axes[dim1] = axes[dim1], axes[dim0]
    return tape.transpose(tape.read(self), axes)


def _t(tape: Tape, self: torch.Tensor) -> Ref:
    return tape.transpose(tape.read(self), range(self.dim())[::-1])


def _permute(tape: Tape, self: torch.Tensor, dims: Sequence[int]) -> Ref:
    return tape.transpose(tape.read(self), [axis_of(d, self.dim()) for d in dims])


def _expand(tape: Tape, self: torch.Tensor, *_: object, **__: object) -> Ref:
    return tape.broadcast(tape.read(self), tape.out[0].shape)


def _unsqueeze(tape: Tape, self: torch.Tensor, dim: int) -> Ref:
    new = dim % (self.dim() + 1)
    axes = [a for a in range(self.dim() + 1) if a != new]
    return tape.broadcast(tape.read(self), tape.out[0].shape, axes)


def _squeeze(tape: Tape, self: torch.Tensor, dim: int | Sequence[int] | None = None) -> Ref:
    rank = self.dim()
    dims = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = sorted({axis_of(d, rank) for d in dims if rank})
    return tape.squeeze(tape.read(self), [a for a in axes if self.shape[a] == 1])


def _slice(
    tape: Tape,
    self: torch.Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Ref:
    axis = axis_of(dim, self.dim())
    first, last, _ = slice(start, end).indices(self.shape[axis])
    return tape.slice(tape.read(self), axis, first, max(first, last), step)


def _row(tape: Tape, x: Ref, axis: int, index: int) -> Ref:
    return tape.squeeze(tape.slice(x, axis, index, index + 1), [axis])


def _select(tape: Tape, self: torch.Tensor, dim: int, index: int) -> Ref:
    axis = axis_of(dim, self.dim())
    return _row(tape, tape.read(self), axis, int(index) % self.shape[axis])


def _unbind(tape: Tape, self: torch.Tensor, dim: int = 0) -> list[Ref]:
    x, axis = tape.read(self), axis_of(dim, self.dim())
    return [_row(tape, x, axis, i) for i in range(self.shape[axis])]


def _split(tape: Tape, self: torch.Tensor, split_size: int | Sequence[int], dim: int = 0) -> list[Ref]:
    x, axis = tape.read(self), axis_of(dim, self.dim())
    ends = list(itertools.accumulate(int(part.shape[axis]) for part in tape.out))
    return [tape.slice(x, axis, a, b) for a, b in zip([0, *ends], ends, strict=False)]


def _cat(tape: Tape, tensors: Sequence[torch.Tensor], dim: int = 0) -> Ref:
    rank = tape.out[0].dim()
    parts = [
        tape.read(x, tape.dtype) for x in tensors if x.dim() == rank
    ]  # an empty list may stand among them
    axis = axis_of(dim, rank)
    return parts[0] if len(parts) == 1 else tape.run("concatenate", *parts, dimension=axis)


def _stack(tape: Tape, tensors: Sequence[torch.Tensor], dim: int = 0) -> Ref:
    rank = tape.out[0].dim()
    axis = dim % rank
    shape = [1 if a == axis else n for a, n in enumerate(tape.out[0].shape)]
    axes = [a for a in range(rank) if a != axis]
    parts = [tape.broadcast(tape.read(x, tape.dtype), shape, axes) for x in tensors]
    return parts[0] if len(parts) == 1 else tape.run("concatenate", *parts, dimension=axis)


def _flip(tape: Tape, self: torch.Tensor, dims: Sequence[int]) -> Ref:
    axes = tuple(axis_of(d, self.dim()) for d in dims)
    return tape.run("rev", tape.read(self), dimensions=axes) if axes and self.dim() else tape.read(self)


def _roll(tape: Tape, self: torch.Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] = ()) -> Ref:
    """The two parts of each axis changed about."""
    shifts = [shifts] if isinstance(shifts, int) else shifts
    dims = [dims] if isinstance(dims, int) else dims
    x = tape.read(self)
    if not dims:
        x, dims = tape.reshape(x, (-1,) if not self.numel() else (self.numel(),)), [0]
    for shift, dim in zip(shifts, dims, strict=True):
        axis = axis_of(dim, len(tape.shape(x)))
        length = tape.shape(x)[axis]
        cut = -shift % length if length else 0
        if cut:
            parts = tape.slice(x, axis, cut, length), tape.slice(x, axis, 0, cut)
            x = tape.run("concatenate", *parts, dimension=axis)
    return tape.reshape(x, self.shape)


def _repeat(tape: Tape, self: torch.Tensor, repeats: Sequence[int]) -> Ref:
    x = tape.broadcast(tape.read(self), (1,) * (len(repeats) - self.dim()) + tuple(self.shape))
    return tape.run("tile", x, reps=tuple(int(n) for n in repeats)) if any(n != 1 for n in repeats) else x


def _pad(tape: Tape, self: torch.Tensor, pad: Sequence[int], value: complex = 0) -> Ref:
    config = [(0, 0, 0)] * self.dim()
    for i in range(len(pad) // 2):
        config[-1 - i] = (int(pad[2 * i]), int(pad[2 * i + 1]), 0)
    return tape.run("pad", tape.read(self), tape.constant(value, tape.dtype), padding_config=tuple(config))


def _as_strided(tape: Tape, self: torch.Tensor, *_: object, **__: object) -> Ref:
    """Any view: where each of its entries stands in the operand."""
    places = torch.full((self.untyped_storage().nbytes() // self.element_size(),), -1)
    at = (self.shape, self.stride(), self.storage_offset())
    places.as_strided(*at).copy_(torch.arange(self.numel()).reshape(self.shape))
    out = tape.out[0]
    chosen = places.as_strided(out.shape, out.stride(), out.storage_offset()).numpy().copy()
    if out.dtype != self.dtype or (chosen < 0).any():
        raise UntranslatedError
    index = tape.constant(chosen, np.int64)
    flat = tape.reshape(tape.read(self), (self.numel(),))
    return tape.run("gather", flat, index, dimension=0)


RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "view_copy"), _view),
    "flatten": _view,
    "transpose": _transpose,
    "t": _t,
    "permute": _permute,
    "expand": _expand,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "slice": _slice,
    "select": _select,
    "unbind": _unbind,
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_split_with_sizes"), _split),
    "cat": _cat,
    "stack": _stack,
    "flip": _flip,
    "roll": _roll,
    "repeat": _repeat,
    "constant_pad_nd": _pad,
    **dict.fromkeys(("as_strided", "unfold", "diagonal"), _as_strided),
}
"""Rules by the name of the aten operation."""
