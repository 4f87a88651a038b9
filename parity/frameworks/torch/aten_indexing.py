"""Aten's gathering and scattering in LAX's terms."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.aten_shapes import axis_of
from parity.frameworks.torch.torch_tape import Operand, Ref, Rule, Tape, UntranslatedError

Array = Shaped[np.ndarray, "..."]

MASKS = (torch.bool, torch.uint8)
"""Dtypes of an index that says of each entry whether it is chosen."""


def _embedding(tape: Tape, weight: torch.Tensor, indices: torch.Tensor, *_: object, **__: object) -> Ref:
    return tape.run("gather", tape.read(weight), tape.read(indices), dimension=0)


def _index_select(tape: Tape, self: torch.Tensor, dim: int, index: torch.Tensor) -> Ref:
    if not self.dim():
        raise UntranslatedError
    return tape.run("gather", tape.read(self), tape.read(index), dimension=axis_of(dim, self.dim()))


def _along(tape: Tape, self: torch.Tensor, dim: int, index: torch.Tensor, *_: object, **__: object) -> Ref:
    if not self.dim() or not index.dim():
        raise UntranslatedError
    axis = axis_of(dim, self.dim())
    return tape.run("gather", tape.read(self), tape.read(index), dimension=axis, along=True)


def _index(tape: Tape, self: torch.Tensor, indices: Sequence[torch.Tensor | None]) -> Ref:
    """Entries that index arrays or masks choose; None stands for a whole axis."""
    given = [(axis, i) for axis, i in enumerate(indices) if i is not None]
    if len(given) == 1 and given[0][1].dtype not in MASKS:
        axis, index = given[0]
        return tape.run("gather", tape.read(self), tape.read(index), dimension=axis)
    pattern = tuple(i is not None for i in indices)
    at = _packed(tape, [i for _, i in given])

    def function(values: Sequence[Array]) -> list[Array]:
        return [np.asarray(values[0][_places(pattern, values[1])])]

    return tape.emit("gather", {"indexed": pattern}, [tape.read(self), at], function)[0]


def _masked_select(tape: Tape, self: torch.Tensor, mask: torch.Tensor) -> Ref:
    if self.shape != mask.shape:
        raise UntranslatedError
    return _index(tape, self, [mask])


def _index_put(
    tape: Tape,
    self: torch.Tensor,
    indices: Sequence[torch.Tensor | None],
    values: Operand,
    accumulate: bool = False,
    unsafe: bool = False,
) -> Ref:
    pattern = tuple(i is not None for i in indices)
    at = _packed(tape, [i for i in indices if i is not None])

    def function(operands: Sequence[Array]) -> list[Array]:
        x, index, updates = operands
        out = x.copy()
        if accumulate:
            np.add.at(out, _places(pattern, index), updates)
        else:
            out[_places(pattern, index)] = updates
        return [out]

    inputs = [tape.read(self), at, tape.read(values, tape.dtype)]
    return tape.emit("scatter-add" if accumulate else "scatter", {"indexed": pattern}, inputs, function)[0]


def _packed(tape: Tape, indices: Sequence[torch.Tensor]) -> Ref:
    """Several index arrays as one, with the arrays along its last axis, as JAX has them; a mask as it is."""
    if len(indices) == 1:
        return tape.read(indices[0])
    if any(i.dtype in MASKS for i in indices):
        raise UntranslatedError
    read = [tape.read(i, np.int64) for i in indices]
    shape = np.broadcast_shapes(*[tape.shape(i) for i in read])
    axes = range(len(shape))
    parts = [tape.broadcast(tape.broadcast(i, shape), (*shape, 1), axes) for i in read]
    return tape.run("concatenate", *parts, dimension=len(shape))


def _places(pattern: Sequence[bool], packed: Array) -> tuple[Any, ...]:
    """NumPy's index for packed index arrays."""
    if sum(pattern) == 1:
        return tuple(packed if indexed else slice(None) for indexed in pattern)
    parts = iter(np.moveaxis(packed, -1, 0))
    return tuple(next(parts) if indexed else slice(None) for indexed in pattern)


def _scattered(operation: str) -> Rule:
    def rule(
        tape: Tape,
        self: torch.Tensor,
        dim: int,
        index: torch.Tensor,
        src: Operand | None = None,
        *,
        value: Operand | None = None,
        reduce: str | None = None,
    ) -> Ref:
        written = value if src is None else src
        if written is None or reduce is not None or not self.dim() or not index.dim():
            raise UntranslatedError
        updates = tape.read(written, tape.dtype)
        axis = axis_of(dim, self.dim())
        return tape.run(operation, tape.read(self), tape.read(index), updates, dimension=axis)

    return rule


def _part_written(tape: Tape, self: torch.Tensor, src: Operand, axis: int, chosen: int | slice) -> Ref:
    """`self` with a part along one axis exchanged; where it stands is a constant, not an operand."""
    places = (slice(None),) * axis + (chosen,)

    def function(values: Sequence[Array]) -> list[Array]:
        out = values[0].copy()
        out[places] = values[1]
        return [out]

    params = {"dimension": axis, "index": chosen}
    inputs = [tape.read(self), tape.read(src, tape.dtype)]
    return tape.emit("dynamic_update_slice", params, inputs, function)[0]


def _select_scatter(tape: Tape, self: torch.Tensor, src: Operand, dim: int, index: int) -> Ref:
    return _part_written(tape, self, src, axis_of(dim, self.dim()), int(index))


def _slice_scatter(
    tape: Tape,
    self: torch.Tensor,
    src: Operand,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Ref:
    return _part_written(tape, self, src, axis_of(dim, self.dim()), slice(start, end, step))


def _slice_backward(
    tape: Tape,
    grad_output: torch.Tensor,
    input_sizes: Sequence[int],
    dim: int,
    start: int,
    end: int,
    step: int,
) -> Ref:
    """A border of zeros, as JAX has it."""
    axis = axis_of(dim, len(input_sizes))
    length = int(input_sizes[axis])
    first, last, _ = slice(start, end, step).indices(length)
    count = len(range(first, last, step))
    config = [(0, 0, 0)] * len(input_sizes)
    config[axis] = (first, length - first - ((count - 1) * step + 1), 0)
    if step != 1 or not count:
        raise UntranslatedError
    return tape.run("pad", tape.read(grad_output), tape.constant(0, tape.dtype), padding_config=tuple(config))


def _select_backward(
    tape: Tape, grad_output: torch.Tensor, input_sizes: Sequence[int], dim: int, index: int
) -> Ref:
    axis = axis_of(dim, len(input_sizes))
    length = int(input_sizes[axis])
    at = int(index) % length
    shape = [1 if a == axis else int(n) for a, n in enumerate(input_sizes)]
    row = tape.broadcast(tape.read(grad_output), shape, [a for a in range(len(shape)) if a != axis])
    config = [(0, 0, 0)] * len(shape)
    config[axis] = (at, length - 1 - at, 0)
    return tape.run("pad", row, tape.constant(0, tape.dtype), padding_config=tuple(config))


RULES: Mapping[str, Rule] = {
    "embedding": _embedding,
    "index_select": _index_select,
    "gather": _along,
    "index": _index,
    "_unsafe_index": _index,
    "masked_select": _masked_select,
    "index_put": _index_put,
    "_index_put_impl": _index_put,
    "_unsafe_index_put": _index_put,
    "scatter": _scattered("scatter"),
    "scatter_add": _scattered("scatter-add"),
    "select_scatter": _select_scatter,
    "slice_scatter": _slice_scatter,
    "slice_backward": _slice_backward,
    "select_backward": _select_backward,
}
"""Rules by the name of the aten operation."""
