"""Single operations exchanged for their neighbours: a minus for a plus, less for less or equal, an axis."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from parity.diagnose.fault import Fault
from parity.diagnose.neighbours import BINARY, COMPARISONS, UNARY, Other
from parity.diagnose.slices import other_slices
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind
from parity.trace.executions import executions
from parity.trace.graph import Evaluation

MOST_JOINED = 4
"""Parts of a concatenation of which every order is tried."""

MOST_COMPARED = 400
"""Comparisons that are looked at, the first ones, with all their runs."""

POWERS = (1, 2, 3, 4, -1, -2)
"""Powers that are tried in place of another one."""


def mutations(fault: Fault) -> Iterator[Change]:
    """Each operation at the fault exchanged for its neighbours."""
    yield from _exchanged(fault, [n for n in fault.active if _first(fault, n) <= fault.region.j])


def compared_otherwise(fault: Fault) -> Iterator[Change]:
    """A comparison at the fault with another sign, as < for <=, on truth values that are wrong themselves."""
    wrong = {target.node for target in fault.targets if target.wanted.dtype.kind == "b"}
    compared = [n for n in fault.active if fault.operation(n) in COMPARISONS]
    yield from _exchanged(fault, [n for n in compared if wrong and _first(fault, n) <= max(wrong)])


def compared_otherwise_in_all_runs(fault: Fault) -> Iterator[Change]:
    """The same of a comparison of whole numbers in every run of its code, judged by the outputs."""
    trace, seen = fault.candidate, set[int]()
    for number, evaluation in enumerate(trace.evaluations):
        if evaluation.operation not in COMPARISONS or number in seen or len(seen) > MOST_COMPARED:
            continue
        if (
            _first(fault, number) not in fault.relevant
            or fault.value(evaluation.inputs[0]).dtype.kind not in "iu"
        ):
            continue
        runs = executions(trace, number)
        seen.update(runs)
        for other in _others(fault, number) if len(runs) > 1 else ():
            text, line = _in_words(fault, number, other), trace.nodes[_first(fault, number)].place
            functions = dict.fromkeys(runs, _called(other.function))
            yield Change(other.cause, text, functions=functions, everywhere=True, candidate_places=(line,))


def mutations_behind(fault: Fault) -> Iterator[Change]:
    """The same of operations that read the faulty value, which can only undo what is wrong before them."""
    yield from _exchanged(fault, [n for n in fault.active if _first(fault, n) > fault.region.j])


def joined_otherwise(fault: Fault) -> Iterator[Change]:
    """The parts of a concatenation in another order."""
    for number in fault.active:
        evaluation = fault.candidate.evaluations[number]
        if fault.operation(number) != "concatenate" or len(evaluation.inputs) > MOST_JOINED:
            continue
        axis, here = int(evaluation.params["dimension"]), tuple(range(len(evaluation.inputs)))
        for order in itertools.permutations(here):
            if order != here:
                text = f"<reference> joins the parts along axis {axis} in the order {order}, "
                text += f"<candidate> in {here}"
                joined = _called(functools.partial(_joined, order, axis))
                yield Change(CauseKind.ORDER, text, functions={number: joined}, of_code=True)


def _joined(order: Sequence[int], axis: int, *parts: Array) -> Array:
    return np.concatenate([parts[i] for i in order], axis)


def _first(fault: Fault, number: int) -> int:
    return fault.candidate.evaluations[number].outputs[0]


def _exchanged(fault: Fault, numbers: Sequence[int]) -> Iterator[Change]:
    for number in numbers:
        for other in _others(fault, number):
            if _leaves_out(fault, number, other):
                continue
            text = _in_words(fault, number, other)
            yield Change(other.cause, text, functions={number: _called(other.function)}, of_code=True)


def _in_words(fault: Fault, number: int, other: Other) -> str:
    line = fault.node(_first(fault, number)).spot.line
    where = f" (line {line})" if line else ""
    return f"<reference> {other.text} where <candidate> has {fault.operation(number)}{where}"


def _leaves_out(fault: Fault, number: int, other: Other) -> bool:
    """Whether a neighbour gives back an operand, as a product with one does: the operation is too many.

    A bound is made to do so for most values: there the larger for the smaller is the nearer explanation.
    """
    inputs = fault.candidate.evaluations[number].inputs
    if len(inputs) != 2 or fault.operation(number) in ("max", "min"):
        return False
    values = [fault.value(i) for i in inputs]
    try:
        result = np.asarray(other.function(*values))
    except Exception:  # a trial says so, too
        return False
    return any(value.dtype.kind == "f" and np.array_equal(result, value) for value in values)


def _called(function: Callable[..., ArrayLike]) -> Function:
    def compute(values: Sequence[Value]) -> Sequence[Array]:
        return [np.asarray(function(*[np.asarray(v) for v in values]))]

    return compute


def _others(fault: Fault, number: int) -> Iterator[Other]:
    """What may stand in place of an operation."""
    evaluation = fault.candidate.evaluations[number]
    operation = evaluation.operation
    yield from BINARY.get(operation, ())
    yield from UNARY.get(operation, ())
    if operation in COMPARISONS:
        for name, (sign, function) in COMPARISONS.items():
            if name != operation:
                yield Other(CauseKind.MASK, f"compares by {sign}", function)
    if operation in BY_SETTINGS:
        yield from BY_SETTINGS[operation](fault, evaluation)


def _select(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    if len(evaluation.inputs) == 3:
        yield Other(CauseKind.MASK, "takes the other case", lambda which, a, b: np.where(which, a, b))


def _concatenate(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    axis = int(evaluation.params["dimension"])
    shape = fault.value(evaluation.outputs[0]).shape
    for other in range(len(shape)):
        if other != axis:
            text = f"joins along axis {other}"
            yield Other(CauseKind.AXIS, text, lambda *xs, o=other: np.concatenate(xs, o).reshape(shape))


def _power(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    for power in POWERS:
        if power != evaluation.params["y"]:
            text = f"takes the power {power}"
            yield Other(CauseKind.CONSTANT, text, lambda x, p=power: np.power(x, float(p)))
    yield Other(CauseKind.ACTIVATION, "takes the magnitude", np.abs)


def _transpose(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    axes = evaluation.params["permutation"]
    text = "keeps the order and only reshapes"
    yield Other(CauseKind.ORDER, text, lambda x: x.reshape([x.shape[i] for i in axes]))


def _count(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    params = evaluation.params
    shape, axis, dtype = params["shape"], int(params["dimension"]), params["dtype"]
    for step in (1, -1):
        text = f"counts from {step}"
        yield Other(CauseKind.SHIFT, text, lambda s=step: np.asarray(_iota(shape, axis) + s, dtype))
    for other in range(len(shape)):
        if other != axis:
            text = f"counts along axis {other}"
            yield Other(CauseKind.AXIS, text, lambda o=other: np.asarray(_iota(shape, o), dtype))


def _sort(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    axis = int(evaluation.params["dimension"])
    if len(evaluation.inputs) == 1:
        yield Other(CauseKind.SELECTION, "sorts downwards", lambda x: np.flip(np.sort(x, axis), axis))


def _reverse(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    yield Other(CauseKind.ORDER, "does not reverse", lambda x: x)


def _solve(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    """A triangular system: the factor the other way round, its other triangle, another diagonal."""
    params = evaluation.params
    for setting, words in SYSTEMS.items():
        is_so = not params[setting]
        text = f"solves with {words[is_so]}"
        yield Other(CauseKind.OPERANDS, text, functools.partial(_solved, {**params, setting: is_so}))


def _solved(params: Mapping[str, Any], factor: Array, given: Array) -> Array:
    """The solution x of factor x = given, or of x factor = given."""
    factor = np.tril(factor) if params["lower"] else np.triu(factor)
    if params["unit_diagonal"]:
        factor = np.where(np.eye(factor.shape[-1], dtype=bool), 1, factor)
    if params["transpose_a"] == params["left_side"]:
        factor = factor.swapaxes(-1, -2)
    if params["left_side"]:
        return np.asarray(np.linalg.solve(factor, given))
    return np.asarray(np.linalg.solve(factor, given.swapaxes(-1, -2)).swapaxes(-1, -2))


def _iota(shape: Sequence[int], axis: int) -> Array:
    aligned = [1] * len(shape)
    aligned[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis]).reshape(aligned), shape)


def _scatter(fault: Fault, evaluation: Evaluation) -> Iterator[Other]:
    """Rows that are added: kept from the last duplicate alone, or written over."""
    operand, index, updates = (fault.value(i) for i in evaluation.inputs)
    if index.size != updates.shape[0] or operand.shape[1:] != updates.shape[1:]:
        return

    def last(x: Array, at: Array, new: Array) -> Array:
        out, rows = x.copy(), at.reshape(-1)
        out[rows] = x[rows] + new
        return out

    def written(x: Array, at: Array, new: Array) -> Array:
        out = x.copy()
        out[at.reshape(-1)] = new
        return out

    yield Other(CauseKind.REDUCTION, "adds only the last of rows with the same index", last)
    yield Other(CauseKind.REDUCTION, "writes the rows instead of adding them", written)


SYSTEMS = {
    "transpose_a": ("the factor as it is", "the factor transposed"),
    "lower": ("the upper triangle", "the lower triangle"),
    "unit_diagonal": ("the factor's own diagonal", "a diagonal of ones"),
}
"""What a setting of a triangular system says if it is not so, and if it is."""

BY_SETTINGS: Mapping[str, Callable[[Fault, Evaluation], Iterator[Other]]] = {
    "select_n": _select,
    "concatenate": _concatenate,
    "integer_pow": _power,
    "transpose": _transpose,
    "iota": _count,
    "slice": other_slices,
    "scatter-add": _scatter,
    "scatter_add": _scatter,
    "sort": _sort,
    "rev": _reverse,
    "triangular_solve": _solve,
}
"""What may stand in place of operations with settings."""
