"""Aten's elementwise operations, casts and fillings in LAX's terms."""

import math
from collections.abc import Mapping

import torch

from parity.frameworks.torch.torch_memory import dtype_of
from parity.frameworks.torch.torch_tape import Operand, Ref, Rule, Tape, UntranslatedError

HIGHEST_POWER = 16
"""Whole exponents up to this magnitude are `integer_pow`, as JAX has it."""


def _binary(operation: str, *, swapped: bool = False) -> Rule:
    """a + alpha * b and the like, both in the dtype that PyTorch computes in."""

    def rule(tape: Tape, self: Operand, other: Operand, alpha: complex = 1) -> Ref:
        dtype = tape.common(self, other)
        a, b = (other, self) if swapped else (self, other)
        first, second = tape.read(a, dtype), tape.read(b, dtype)
        if alpha != 1:
            second = tape.run("mul", second, tape.constant(alpha, dtype))
        return tape.run(operation, first, second)

    return rule


def _division(tape: Tape, self: Operand, other: Operand, rounding_mode: str | None = None) -> Ref:
    dtype = tape.common(self, other)
    if rounding_mode is None or dtype.kind == "f":
        dtype = dtype if dtype.kind in "fc" else tape.dtype
        out = tape.run("div", tape.read(self, dtype), tape.read(other, dtype))
        return out if rounding_mode is None else tape.run(rounding_mode, out)
    if rounding_mode != "floor":
        raise UntranslatedError
    return tape.run("floor_divide", tape.read(self, dtype), tape.read(other, dtype))


def _floor_divide(tape: Tape, self: Operand, other: Operand) -> Ref:
    return _division(tape, self, other, "floor")


def _unary(operation: str) -> Rule:
    """A function of one value; integers become floating where the result is."""

    def rule(tape: Tape, self: torch.Tensor) -> Ref:
        return tape.run(operation, tape.read(self, tape.dtype if tape.dtype.kind in "fc" else None))

    return rule


def _logarithm(base: float) -> Rule:
    def rule(tape: Tape, self: torch.Tensor) -> Ref:
        x = tape.run("log", tape.read(self, tape.dtype))
        return tape.run("div", x, tape.constant(math.log(base), tape.dtype))

    return rule


def _comparison(operation: str) -> Rule:
    def rule(tape: Tape, self: Operand, other: Operand) -> Ref:
        dtype = tape.common(self, other)
        return tape.run(operation, tape.read(self, dtype), tape.read(other, dtype))

    return rule


def _truth(tape: Tape, x: Operand) -> Ref:
    """Whether entries are not zero."""
    index = tape.read(x)
    dtype = tape.value(index).dtype
    return index if dtype.kind == "b" else tape.run("ne", index, tape.constant(0, dtype))


def _logical(operation: str) -> Rule:
    def rule(tape: Tape, *operands: Operand) -> Ref:
        return tape.run(operation, *[_truth(tape, x) for x in operands])

    return rule


def _bitwise_not(tape: Tape, self: torch.Tensor) -> Ref:
    return tape.run("not", tape.read(self))


def _pow(tape: Tape, self: Operand, exponent: Operand) -> Ref:
    dtype = tape.dtype
    x = tape.read(self, dtype)
    if isinstance(exponent, int | float) and dtype.kind == "f":
        if exponent == 1:
            return x
        if float(exponent).is_integer() and 0 < abs(exponent) <= HIGHEST_POWER:
            return tape.run("integer_pow", x, y=int(exponent))
        if exponent == 0.5:
            return tape.run("sqrt", x)
        if exponent == -0.5:
            return tape.run("rsqrt", x)
    return tape.run("pow", x, tape.read(exponent, dtype))


def _reciprocal(tape: Tape, self: torch.Tensor) -> Ref:
    return tape.run("integer_pow", tape.read(self, tape.dtype), y=-1)


def _relu(tape: Tape, self: torch.Tensor) -> Ref:
    x = tape.read(self)
    return tape.run("max", x, tape.constant(0, tape.value(x).dtype))


def _clamp(tape: Tape, self: torch.Tensor, min: Operand | None = None, max: Operand | None = None) -> Ref:
    dtype = tape.dtype
    x = tape.read(self, dtype)
    if isinstance(min, int | float) and isinstance(max, int | float) and min <= max:
        return tape.run("clamp", tape.constant(min, dtype), x, tape.constant(max, dtype))
    if min is not None:
        x = tape.run("max", x, tape.read(min, dtype))
    return x if max is None else tape.run("min", x, tape.read(max, dtype))


def _clamp_min(tape: Tape, self: torch.Tensor, min: Operand) -> Ref:
    return _clamp(tape, self, min=min)


def _clamp_max(tape: Tape, self: torch.Tensor, max: Operand) -> Ref:
    return _clamp(tape, self, max=max)


def _hardtanh(tape: Tape, self: torch.Tensor, min_val: float = -1, max_val: float = 1) -> Ref:
    return _clamp(tape, self, min_val, max_val)


def _where(tape: Tape, condition: Operand, self: Operand | None = None, other: Operand | None = None) -> Ref:
    if self is None or other is None:
        raise UntranslatedError
    which, no, yes = _truth(tape, condition), tape.read(other, tape.dtype), tape.read(self, tape.dtype)
    return tape.run("select_n", which, no, yes)


def _masked_fill(tape: Tape, self: torch.Tensor, mask: torch.Tensor, value: Operand) -> Ref:
    return _where(tape, mask, value, self)


def _threshold_backward(tape: Tape, grad_output: torch.Tensor, self: torch.Tensor, threshold: float) -> Ref:
    x = tape.read(self)
    passed = tape.run("gt", x, tape.constant(threshold, tape.value(x).dtype))
    return tape.run("select_n", passed, tape.constant(0, tape.dtype), tape.read(grad_output))


def _shrink_backward(tape: Tape, grad: torch.Tensor, self: torch.Tensor, lambd: float) -> Ref:
    x = tape.read(self)
    inside = tape.run("le", tape.run("abs", x), tape.constant(lambd, tape.value(x).dtype))
    return tape.run("select_n", inside, tape.read(grad), tape.constant(0, tape.dtype))


def _isnan(tape: Tape, self: torch.Tensor) -> Ref:
    x = tape.read(self)
    return tape.run("ne", x, x)


def _infinite(sign: int) -> Rule:
    """Whether entries are infinite, of one sign or (0) of either."""

    def rule(tape: Tape, self: torch.Tensor) -> Ref:
        x = tape.read(self)
        bound = tape.constant(math.copysign(math.inf, sign), tape.value(x).dtype)
        return tape.run("eq", x if sign else tape.run("abs", x), bound)

    return rule


def _round(tape: Tape, self: torch.Tensor, decimals: int = 0) -> Ref:
    if decimals:
        raise UntranslatedError
    return tape.run("round", tape.read(self))


def _same(tape: Tape, self: torch.Tensor, *_: object, **__: object) -> Ref:
    """A cast, or a copy, which is no operation of its own."""
    return tape.read(self, tape.dtype)


def _copy(tape: Tape, self: torch.Tensor, src: Operand, non_blocking: bool = False) -> Ref:
    return tape.broadcast(tape.read(src, dtype_of(self.dtype)), self.shape)


NAMES = (
    "neg abs floor ceil exp exp2 log log1p expm1 sqrt rsqrt tanh sin cos erf erfc sign tan asin acos atan "
    "sinh cosh asinh acosh atanh lgamma digamma trunc"
)

RULES: Mapping[str, Rule] = {
    **{name: _unary(name) for name in NAMES.split()},
    **{name: _comparison(name) for name in ("eq", "ne", "lt", "le", "gt", "ge", "atan2")},
    "erfinv": _unary("erf_inv"),
    "sigmoid": _unary("logistic"),
    "sgn": _unary("sign"),
    "square": _unary("square"),
    "log2": _logarithm(2.0),
    "log10": _logarithm(10.0),
    "reciprocal": _reciprocal,
    "add": _binary("add"),
    "sub": _binary("sub"),
    "mul": _binary("mul"),
    "rsub": _binary("sub", swapped=True),
    "maximum": _binary("max"),
    "minimum": _binary("min"),
    "fmod": _binary("rem"),
    "remainder": _binary("remainder"),
    "div": _division,
    "true_divide": _division,
    "floor_divide": _floor_divide,
    "pow": _pow,
    "relu": _relu,
    "clamp": _clamp,
    "clamp_min": _clamp_min,
    "clamp_max": _clamp_max,
    "hardtanh": _hardtanh,
    "where": _where,
    "masked_fill": _masked_fill,
    "threshold_backward": _threshold_backward,
    "hardshrink_backward": _shrink_backward,
    "softshrink_backward": _shrink_backward,
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "logical_xor": _logical("xor"),
    "logical_not": _logical("not"),
    "bitwise_and": _binary("and"),
    "bitwise_or": _binary("or"),
    "bitwise_xor": _binary("xor"),
    "bitwise_not": _bitwise_not,
    "isnan": _isnan,
    "isinf": _infinite(0),
    "isposinf": _infinite(1),
    "isneginf": _infinite(-1),
    "isfinite": _unary("is_finite"),
    "round": _round,
    **dict.fromkeys(("_to_copy", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy"), _same),
    "contiguous": _same,
    "convert_element_type": _same,
    "copy": _copy,
    "copy_to": _copy,
    "fill": _copy,
}
"""Rules by the name of the aten operation."""
