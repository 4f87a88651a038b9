"""What happens at an operation that loses digits in a narrow dtype, in words and figures."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from parity.localise.rounding_errors import Error, RoundedRun
from parity.numerics.arrays import EPS, eps_of, numpy_dtype, smallest_normal
from parity.report.rounded import rounded
from parity.trace.graph import Node
from parity.trace.rounded_uses import written_dtype
from parity.trace.vocabulary import CASTS, ENTRYWISE, SUMMING, SUMS, names

SIGNS = {"add": "+", "add_any": "+", "sub": "-", "mul": "*", "div": "/"}
"""Operations that are written with a sign."""

DIFFERENCES = SUMMING | names("sub sub_ rsub")
"""Operations in which two values may cancel."""

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


def _operands(run: RoundedRun, index: int, where: tuple[int, ...]) -> list[Entry]:
    """The entries that an entry of the result is computed from; none unless it is computed entry by entry."""
    node, found = run.trace.nodes[index], []
    for one in node.inputs if node.operation in ENTRYWISE else ():
        value, exact = run.value(one), run.exact(one)
        pair = (value, value if exact is None else np.asarray(exact))
        held, meant = (float(np.broadcast_to(a, node.value.shape)[where].real) for a in pair)
        found.append((held, meant))
    return found


def _place_in(mask: Float[np.ndarray, "..."], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of the largest entry, in an array of that shape."""
    index = np.unravel_index(int(np.argmax(mask)), mask.shape)
    return tuple(int(i) for i in index[: len(shape)])  # the parts of complex numbers lie along one more axis


def _call(node: Node, operands: Sequence[float] | None = None) -> str:
    """An operation as it is written, with its operands where they are known."""
    name = "cast" if node.operation in CASTS else node.operation.removeprefix("reduce_")
    if not operands:
        return name
    if node.operation == "integer_pow":
        base = rounded(operands[0])
        return f"{f'({base})' if operands[0] < 0 else base} ** {node.params['y']}"
    if len(operands) == 2 and (sign := SIGNS.get(name)):
        return f" {sign} ".join(map(rounded, operands))
    return f"{name}({', '.join(map(rounded, operands[:2]))})"


def _broken(run: RoundedRun, index: int, error: Error, exact: Float[np.ndarray, "..."]) -> str:
    """How a number that is none comes about."""
    node = run.trace.nodes[index]
    where = _place_in(error.broken.astype(float), exact.shape)
    value, meant = float(run.value(index)[where].real), float(exact[where].real)
    held = written_dtype(node)
    held = held if held in EPS else run.dtype
    operands = _operands(run, index, where)
    narrow, wide = (_call(node, [entry[k] for entry in operands]) for k in (0, 1))
    if abs(meant) > _largest(held):
        return f"{narrow} overflows: it is {rounded(meant)}, and {held} ends at {rounded(_largest(held))}"
    became_zero = [x for v, x in operands if v == 0.0 and x != 0.0]
    why = f": {rounded(became_zero[-1])} is rounded to 0" if became_zero else ""
    return f"{narrow} is {rounded(value)}{why}; in float64 {wide} is {rounded(meant)}"


def _largest(dtype: str) -> float:
    import ml_dtypes  # comes with JAX and does not need it

    return float(ml_dtypes.finfo(numpy_dtype(dtype)).max)  # type: ignore[no-untyped-call]


def _inaccurate(
    run: RoundedRun, index: int, error: Error, exact: Float[np.ndarray, "..."], allowed: float
) -> str:
    """How digits are lost."""
    node, dtype = run.trace.nodes[index], run.dtype
    where = _place_in(error.gap, exact.shape)
    meant = float(exact[where].real)
    operands = [x for _, x in _operands(run, index, where)]
    call, least = _call(node, operands), smallest_normal(dtype)
    if error.scale < least:
        return f"{call} underflows: it is {rounded(meant)}, and {dtype} ends at {rounded(least)}"
    result = f"{rounded(meant)}, and is off by {rounded(error.largest)}"
    terms, said = 0.0, ""
    if node.operation in DIFFERENCES and len(operands) == 2:
        terms, said = max(map(abs, operands)), "two numbers near"
    elif node.operation in SUMS and len(node.inputs) == 1:
        terms, said = float(np.abs(run.value(node.inputs[0])).max(initial=0.0)), f"in this {call} terms up to"
    if terms > CANCELLED * abs(meant):
        return f"{said} {rounded(terms)} cancel: {_digits(terms, abs(meant), dtype)}"
    if len(operands) == 1:
        step = rounded(0.5 * eps_of(dtype) * abs(operands[0]))
        near = f"{_call(node)} of a number near {rounded(operands[0])}, which {dtype} holds to {step},"
        return f"{near} comes to {result}"
    return f"{call} comes to {result}; rounding explains {rounded(allowed)}"


def _digits(size: float, left: float, dtype: str) -> str:
    """How many digits are lost where numbers of one size leave one of another.

    >>> _digits(4e6, 0.4, "float32")
    'what is left is 0.4, and 7.0 of the 7.2 digits of float32 are lost'
    """
    whole = -math.log10(eps_of(dtype) / 2)
    lost = whole if left == 0 else min(whole, math.log10(size / left))
    return f"what is left is {rounded(left)}, and {lost:.1f} of the {whole:.1f} digits of {dtype} are lost"
