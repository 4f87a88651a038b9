"""Aten's sums, means, extremes and products of matrices in LAX's terms."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Shaped

from parity.frameworks.torch.aten_shapes import axis_of
from parity.frameworks.torch.torch_memory import dtype_of
from parity.frameworks.torch.torch_tape import Ref, Rule, Tape, UntranslatedError

Array = Shaped[np.ndarray, "..."]

Dims = int | Sequence[int] | None
"""What is reduced: an axis, several, or with None or the empty list all of them."""

AxisPairs = tuple[tuple[int, ...], tuple[int, ...]]
"""Axes of the first operand of a product, and for each of them that of the second."""


def _axes(self: torch.Tensor, dim: Dims) -> tuple[int, ...]:
    """The reduced axes; None and the empty list are all of them."""
    rank = self.dim()
    if dim is None or (not isinstance(dim, int) and not len(dim)):
        return tuple(range(rank))
    dims = [dim] if isinstance(dim, int) else dim
    return tuple(sorted(axis_of(d, rank) for d in dims)) if rank else ()


def _reduced(tape: Tape, operation: str, x: Ref, axes: Sequence[int], keepdim: bool) -> Ref:
    """A reduction; where axes are kept, they are put back with length one."""
    shape = tape.shape(x)
    out = tape.run(operation, x, axes=tuple(axes), out_sharding=None)
    if not keepdim:
        return out
    kept = tuple(1 if a in axes else n for a, n in enumerate(shape))
    return tape.broadcast(out, kept, [a for a in range(len(shape)) if a not in axes])


def _sum(
    tape: Tape,
    self: torch.Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Ref:
    return _reduced(tape, "reduce_sum", tape.read(self, tape.dtype), _axes(self, dim), keepdim)


def _mean_of(tape: Tape, x: Ref, axes: Sequence[int], keepdim: bool, correction: float = 0) -> Ref:
    count = math.prod(tape.shape(x)[a] for a in axes) - correction
    total = _reduced(tape, "reduce_sum", x, axes, keepdim)
    return tape.run("div", total, tape.constant(max(count, 0), tape.value(x).dtype))


def _mean(
    tape: Tape,
    self: torch.Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Ref:
    return _mean_of(tape, tape.read(self, tape.dtype), _axes(self, dim), keepdim)


def _variance(
    tape: Tape, self: torch.Tensor, dim: Dims, correction: float | None, unbiased: bool, keepdim: bool
) -> tuple[Ref, Ref]:
    """The variance, and the mean."""
    x, axes = tape.read(self), _axes(self, dim)
    correction = int(unbiased) if correction is None else correction
    mean = _mean_of(tape, x, axes, True)
    squares = tape.run("square", tape.run("sub", x, mean))
    rest = [a for a in axes if not keepdim]
    return _mean_of(tape, squares, axes, keepdim, correction), tape.squeeze(mean, rest)


def _spread(root: bool, with_mean: bool) -> Rule:
    def rule(
        tape: Tape,
        self: torch.Tensor,
        dim: Dims = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> Ref | list[Ref]:
        if isinstance(dim, bool):  # the oldest overload has nothing but `unbiased`
            unbiased, dim = dim, None
        variance, mean = _variance(tape, self, dim, correction, unbiased, keepdim)
        out = tape.run("sqrt", variance) if root else variance
        return [out, mean] if with_mean else out

    return rule


def _extreme(which: str) -> Rule:
    """amax; max of all, along an axis with the index, or of two values."""

    def rule(
        tape: Tape, self: torch.Tensor, dim: Dims | torch.Tensor = None, keepdim: bool = False
    ) -> Ref | list[Ref]:
        if isinstance(dim, torch.Tensor):
            dtype = tape.common(self, dim)
            return tape.run(which, tape.read(self, dtype), tape.read(dim, dtype))
        axes = _axes(self, dim)
        found = _reduced(tape, f"reduce_{which}", tape.read(self), axes, keepdim)
        return found if len(tape.out) == 1 else [found, _position(tape, which, self, axes, keepdim)]

    return rule


def _position(tape: Tape, which: str, self: torch.Tensor, axes: Sequence[int], keepdim: bool) -> Ref:
    if len(axes) != 1:
        raise UntranslatedError
    out = tape.run(f"arg{which}", tape.read(self), axes=tuple(axes), index_dtype=np.dtype(np.int64))
    rank = self.dim()
    kept = [1 if a in axes else n for a, n in enumerate(self.shape)]
    return tape.broadcast(out, kept, [a for a in range(rank) if a not in axes]) if keepdim else out


def _argument(which: str) -> Rule:
    def rule(tape: Tape, self: torch.Tensor, dim: int | None = None, keepdim: bool = False) -> Ref:
        if dim is not None:
            return _position(tape, which, self, _axes(self, dim), keepdim)
        flat = tape.reshape(tape.read(self), (self.numel(),))
        return tape.run(f"arg{which}", flat, axes=(0,), index_dtype=np.dtype(np.int64))

    return rule


def _whether(operation: str) -> Rule:
    def rule(tape: Tape, self: torch.Tensor, dim: Dims = None, keepdim: bool = False) -> Ref:
        x = tape.read(self)
        dtype = tape.value(x).dtype
        truth = x if dtype.kind == "b" else tape.run("ne", x, tape.constant(0, dtype))
        return _reduced(tape, operation, truth, _axes(self, dim), keepdim)

    return rule


def _prod(
    tape: Tape,
    self: torch.Tensor,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Ref:
    return _reduced(tape, "reduce_prod", tape.read(self, tape.dtype), _axes(self, dim), keepdim)


def _norm(
    tape: Tape,
    self: torch.Tensor,
    ord: float | None = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Ref:
    x, axes = tape.read(self, tape.dtype), _axes(self, dim)
    power = 2 if ord is None else ord
    if power == 2:
        return tape.run("sqrt", _reduced(tape, "reduce_sum", tape.run("square", x), axes, keepdim))
    magnitude = tape.run("abs", x)
    if power == 1:
        return _reduced(tape, "reduce_sum", magnitude, axes, keepdim)
    if abs(power) == math.inf:
        return _reduced(tape, "reduce_max" if power > 0 else "reduce_min", magnitude, axes, keepdim)
    if power == 0:
        raise UntranslatedError
    powers = tape.run("pow", magnitude, tape.constant(power, tape.dtype))
    total = _reduced(tape, "reduce_sum", powers, axes, keepdim)
    return tape.run("pow", total, tape.constant(1 / power, tape.dtype))


def _dot_general(
    tape: Tape, a: torch.Tensor, b: torch.Tensor, summed: AxisPairs, batch: AxisPairs = ((), ())
) -> Ref:
    numbers = (summed, batch)
    return tape.run(
        "dot_general",
        tape.read(a),
        tape.read(b),
        dimension_numbers=numbers,
        precision=None,
        preferred_element_type=dtype_of(a.dtype),
        out_sharding=None,
    )


def _mm(tape: Tape, self: torch.Tensor, mat2: torch.Tensor) -> Ref:
    return _dot_general(tape, self, mat2, ((self.dim() - 1,), (0,)))


def _bmm(tape: Tape, self: torch.Tensor, mat2: torch.Tensor) -> Ref:
    return _dot_general(tape, self, mat2, ((2,), (1,)), ((0,), (0,)))


RULES: Mapping[str, Rule] = {
    "sum": _sum,
    "mean": _mean,
    "var": _spread(False, False),
    "std": _spread(True, False),
    "var_mean": _spread(False, True),
    "std_mean": _spread(True, True),
    "max": _extreme("max"),
    "min": _extreme("min"),
    "amax": _extreme("max"),
    "amin": _extreme("min"),
    "argmax": _argument("max"),
    "argmin": _argument("min"),
    "any": _whether("reduce_or"),
    "all": _whether("reduce_and"),
    "prod": _prod,
    "linalg_vector_norm": _norm,
    "norm": _norm,
    "mm": _mm,
    "bmm": _bmm,
    "dot": _mm,
    "mv": _mm,
}
"""Rules by the name of the aten operation."""
