"""Aten's operations for which the order of the entries counts, in LAX's terms: running sums, sorting."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.aten_shapes import axis_of
from parity.frameworks.torch.torch_tape import Ref, Rule, Tape

Array = Shaped[np.ndarray, "..."]


def _running(operation: str) -> Rule:
    def rule(tape: Tape, self: torch.Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Ref:
        x = tape.read(self, tape.dtype)
        return tape.run(operation, x, axis=axis_of(dim, self.dim()), reverse=False)

    return rule


def _sort(
    tape: Tape, self: torch.Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None
) -> list[Ref]:
    """Values and indices, equal ones in their order; downwards, what is upwards from the other end."""
    axis = axis_of(dim, self.dim())

    def function(values: Sequence[Array]) -> list[Array]:
        order = _order(values[0], axis, descending)
        return [np.take_along_axis(values[0], order, axis), order]

    params = {"dimension": axis, "num_keys": 1, "is_stable": True, "descending": descending}
    return tape.emit("sort", params, [tape.read(self)], function)


def _order(x: Array, axis: int, descending: bool) -> Array:
    """The indices that sort x stably along an axis."""
    if not descending:
        return np.argsort(x, axis, kind="stable")
    last = x.shape[axis] - 1
    return np.flip(last - np.argsort(np.flip(x, axis), axis, kind="stable"), axis)


def _topk(
    tape: Tape, self: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> list[Ref]:
    axis = axis_of(dim, self.dim())

    def function(values: Sequence[Array]) -> list[Array]:
        order = np.take(_order(values[0], axis, largest), np.arange(k), axis)
        return [np.take_along_axis(values[0], order, axis), order]

    return tape.emit("top_k", {"k": k, "axis": axis, "largest": largest}, [tape.read(self)], function)


RULES: Mapping[str, Rule] = {
    "cumsum": _running("cumsum"),
    "cumprod": _running("cumprod"),
    "sort": _sort,
    "topk": _topk,
}
"""Rules by the name of the aten operation."""
