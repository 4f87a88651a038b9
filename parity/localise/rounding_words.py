"""What happens at an operation that loses digits in a narrow dtype, in words and figures."""

import math

import numpy as np
from jaxtyping import Float

from parity.localise.rounding_errors import Error, RoundedRun
from parity.numerics.arrays import eps_of, numpy_dtype, smallest_normal
from parity.report.rounded import rounded
from parity.trace.graph import Node
from parity.trace.vocabulary import SUMMING, SUMS, names

DIVISIONS = names("div true_divide divide")
"""Quotients of two values."""

DIFFERENCES = SUMMING | names("sub sub_ rsub subtract")
"""Operations in which two values may cancel."""

MANY_TERMS = SUMS | names("mean cumsum reduce_window_sum dot dot_general mm bmm addmm mv einsum")
"""Operations that add up many terms."""

CANCELLED = 30.0
"""From how many times as large as the result the terms of a sum are said to cancel."""


def what_happens(run: RoundedRun, index: int, *, allowed: float) -> str:
    """What an operation does to its operands in a narrow dtype, as half a sentence.

    Args:
        run: in that dtype.
        index: of the node whose value is lost.
        allowed: how far the value may be off.
    """
    error, exact = run.error(index), run.exact(index)
    if error is None or exact is None:
        return ""
    if error.broken.any():
        return _broken(run, index, error, np.asarray(exact))
    return _inaccurate(run, index, error, np.asarray(exact), allowed)


Entry = tuple[float, float]
"""An entry in the narrow dtype and the exact one."""


def _operands(run: RoundedRun, index: int, where: tuple[int, ...]) -> list[Entry] | None:
    """The entries that an entry of the result is computed from; None unless it is computed entry by entry."""
    node, found = run.trace.nodes[index], []
    shape = tuple(node.value.shape)
    for one in node.inputs:
        value, exact = run.value(one), run.exact(one)
        exact = value if exact is None else np.asarray(exact)
        if value.size == 1:
            found.append((float(value.reshape(-1)[0].real), float(exact.reshape(-1)[0].real)))
            continue
        try:
            there = np.broadcast_to(value, shape)[where], np.broadcast_to(exact, shape)[where]
        except ValueError:
            return None
        if value.shape != shape and value.size >= math.prod(shape):
            return None
        found.append((float(there[0].real), float(there[1].real)))
    return found


def _place_in(mask: Float[np.ndarray, "..."], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of the largest entry, in an array of that shape."""
    index = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return tuple(int(i) for i in index[: len(shape)])  # the parts of complex numbers lie along one more axis


def _name(node: Node) -> str:
    return node.operation.removeprefix("reduce_")


def _broken(run: RoundedRun, index: int, error: Error, exact: Float[np.ndarray, "..."]) -> str:
    """How a number that is none comes about."""
    node = run.trace.nodes[index]
    name, dtype = _name(node), run.dtype
    where = _place_in(error.broken.astype(float), exact.shape)
    value, meant = float(run.value(index)[where].real), float(exact[where].real)
    held = str(node.value.dtype).removeprefix("torch.")
    end = float(_largest(held if held in ("float16", "bfloat16", "float32") else dtype))
    operands = _operands(run, index, where)
    became_zero = [x for v, x in operands or () if v == 0.0 and x != 0.0]
    zero = f"which {dtype} rounds to 0"
    if operands and len(operands) == 2 and node.operation in DIVISIONS and operands[1][0] == 0.0:
        (above, above_exact), (_, below) = operands
        if not became_zero:
            return f"{rounded(above)} / 0 is {rounded(value)} here"
        return f"{rounded(above)} / 0: it is {rounded(above_exact)} / {rounded(below)} in float64, {zero}"
    if abs(meant) > end:
        told = ""
        if operands and len(operands) == 2 and node.operation in DIVISIONS:
            told = f" of {rounded(operands[0][0])} / {rounded(operands[1][0])}"
        elif operands:
            told = f" of {' and '.join(rounded(v) for v, _ in operands[:2])}"
        return f"{name}{told} overflows: it is {rounded(meant)} in float64, and {held} ends at {rounded(end)}"
    if became_zero and operands:
        return f"{name} of 0 is {rounded(value)}: the operand is {rounded(became_zero[0])} in float64, {zero}"
    if operands:
        was, should = (" and ".join(rounded(entry[k]) for entry in operands[:2]) for k in (0, 1))
        return f"{name} of {was} is {rounded(value)}; in float64 it is {name} of {should}: {rounded(meant)}"
    return f"{name} comes to {rounded(value)}, and to {rounded(meant)} in float64"


def _largest(dtype: str) -> float:
    import ml_dtypes  # comes with JAX and does not need it

    return float(ml_dtypes.finfo(numpy_dtype(dtype)).max)  # type: ignore[no-untyped-call]


def _inaccurate(
    run: RoundedRun, index: int, error: Error, exact: Float[np.ndarray, "..."], allowed: float
) -> str:
    """How digits are lost."""
    node = run.trace.nodes[index]
    name, dtype = _name(node), run.dtype
    where = _place_in(error.gap, exact.shape)
    meant, off = abs(float(exact[where].real)), error.largest
    operands = _operands(run, index, where)
    least = smallest_normal(dtype)
    if error.scale < least:
        of = f" of {' and '.join(rounded(x) for _, x in operands[:2])}" if operands else ""
        held = f"and {dtype} ends at {rounded(least)}"
        return f"{name}{of} underflows: it is {rounded(meant)} in float64, {held}"
    result = f"{rounded(meant)}, and is off by {rounded(off)}"
    if node.operation in MANY_TERMS:
        terms = max((float(np.abs(run.value(i)).max(initial=0.0)) for i in node.inputs), default=0.0)
        if len(node.inputs) == 1 and terms > CANCELLED * meant:
            return f"terms of up to {rounded(terms)} cancel in this {name}: {_digits(terms, meant, dtype)}"
        return f"this {name} comes to {result}"
    if operands and len(operands) == 2 and node.operation in DIFFERENCES:
        size = max(abs(x) for _, x in operands)
        if size > CANCELLED * meant:
            return f"two numbers near {rounded(size)} cancel: {_digits(size, meant, dtype)}"
    if operands and len(operands) == 1:
        size = abs(operands[0][1])
        step = rounded(0.5 * eps_of(dtype) * size)
        return f"{name} of a number near {rounded(size)}, which {dtype} holds to {step}, comes to {result}"
    return f"the result comes to {result}; rounding explains {rounded(allowed)}"


def _digits(size: float, left: float, dtype: str) -> str:
    """How many digits are lost where numbers of one size leave one of another.

    >>> _digits(4e6, 0.4, "float32")
    'what is left is 0.4, and 7.0 of the 7.2 digits of float32 are lost'
    """
    whole = -math.log10(eps_of(dtype) / 2)
    lost = whole if left == 0 else min(whole, math.log10(size / left))
    return f"what is left is {rounded(left)}, and {lost:.1f} of the {whole:.1f} digits of {dtype} are lost"
