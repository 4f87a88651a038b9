"""Aten's constants, counts, triangles and masks in LAX's terms."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import DTypeLike

from parity.frameworks.torch.torch_tape import Operand, Ref, Rule, Tape, UntranslatedError


def _broadcast_in_dim(
    tape: Tape, a: torch.Tensor, shape: Sequence[int], broadcast_dimensions: Sequence[int]
) -> Ref:
    return tape.broadcast(tape.read(a), shape, broadcast_dimensions)


def _filled(tape: Tape, value: Operand) -> Ref:
    return tape.broadcast(tape.read(value, tape.dtype), tape.out[0].shape)


def _full_of(value: complex) -> Rule:
    return lambda tape, *_, **__: _filled(tape, value)


def _full(tape: Tape, size: Sequence[int] | torch.Tensor, fill_value: complex, **_: object) -> Ref:
    return _filled(tape, fill_value)


def _new_full(tape: Tape, self: torch.Tensor, size: Sequence[int], fill_value: complex, **_: object) -> Ref:
    return _filled(tape, fill_value)


def _scalar(tape: Tape, s: complex, **_: object) -> Ref:
    return tape.constant(s, tape.dtype)


def _arange(tape: Tape, *bounds: complex, **_: object) -> Ref:
    """A count from 0, times the step and plus the start where they are not 1 and 0."""
    start = bounds[0] if len(bounds) > 1 else 0
    step = bounds[2] if len(bounds) > 2 else 1
    dtype, (length,) = tape.dtype, tape.out[0].shape
    out = iota(tape, (length,), 0, dtype)
    if step != 1:
        out = tape.run("mul", out, tape.constant(step, dtype))
    return tape.run("add", out, tape.constant(start, dtype)) if start else out


def _linspace(tape: Tape, start: float, end: float, steps: int, **_: object) -> Ref:
    step = (end - start) / max(steps - 1, 1)
    scaled = tape.run("mul", iota(tape, (steps,), 0, tape.dtype), tape.constant(step, tape.dtype))
    return tape.run("add", scaled, tape.constant(start, tape.dtype))


def iota(tape: Tape, shape: tuple[int, ...], axis: int, dtype: DTypeLike = np.int64) -> Ref:
    """0, 1, ... along one axis.

    Args:
        tape: the recording.
        shape: shape of the result.
        axis: the axis along which it counts.
        dtype: NumPy dtype of the result.
    """
    return tape.run("iota", dtype=np.dtype(dtype), shape=shape, dimension=axis, sharding=None)


def _eye(tape: Tape, *_: object, **__: object) -> Ref:
    shape = tuple(tape.out[0].shape)
    return tape.convert(tape.run("eq", iota(tape, shape, 0), iota(tape, shape, 1)), tape.dtype)


def _triangle(comparison: str) -> Rule:
    """A matrix with zeros above or below a diagonal."""

    def rule(tape: Tape, self: torch.Tensor, diagonal: int = 0) -> Ref:
        shape = tuple(self.shape[-2:])
        rows = iota(tape, shape, 0)
        if diagonal:
            rows = tape.run("add", rows, tape.constant(diagonal, np.int64))
        kept = tape.run(comparison, rows, iota(tape, shape, 1))
        return tape.run("select_n", kept, tape.constant(0, tape.dtype), tape.read(self))

    return rule


def _dropout(tape: Tape, input: torch.Tensor, p: float, train: bool | None = True) -> list[Ref]:
    """A mask as it was drawn, and what it leaves."""
    x = tape.read(input)
    if train is False or p in (0.0, 1.0):
        raise UntranslatedError
    drawn = np.array(tape.out[1].numpy(force=True))
    (mask,) = tape.record("native_dropout", {"p": p}, (), [drawn], lambda _: [drawn])
    kept = tape.run("mul", x, tape.convert(mask, tape.dtype))
    return [tape.run("mul", kept, tape.constant(1 / (1 - p), tape.dtype)), mask]


RULES: Mapping[str, Rule] = {
    "broadcast_in_dim": _broadcast_in_dim,
    "zero": _full_of(0),
    **{name: _full_of(0) for name in ("zeros", "zeros_like", "new_zeros", "empty", "empty_like")},
    **{name: _full_of(0) for name in ("new_empty", "empty_strided", "new_empty_strided", "empty_permuted")},
    **{name: _full_of(1) for name in ("ones", "ones_like", "new_ones")},
    "full": _full,
    "full_like": _full,
    "new_full": _new_full,
    "scalar_tensor": _scalar,
    "arange": _arange,
    "linspace": _linspace,
    "eye": _eye,
    "tril": _triangle("ge"),
    "triu": _triangle("le"),
    "native_dropout": _dropout,
}
"""Rules by the name of the aten operation."""
