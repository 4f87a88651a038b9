"""Single operations exchanged for their neighbours: a minus for a plus, less for less or equal, an axis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change, Function
from parity.report.kinds import CauseKind


class Other(NamedTuple):
    """Another operation in place of one.

    Attributes:
        cause: the fault that it would be.
        text: what the reference does, in words.
        function: how to compute it, from the operands.
    """

    cause: CauseKind
    text: str
    function: Callable[..., Any]


COMPARISONS = {
    "lt": ("<", np.less),
    "le": ("<=", np.less_equal),
    "gt": (">", np.greater),
    "ge": (">=", np.greater_equal),
    "eq": ("==", np.equal),
    "ne": ("!=", np.not_equal),
}

BINARY: Mapping[str, tuple[Other, ...]] = {
    "add": (
        Other(CauseKind.OPERANDS, "subtracts the second", np.subtract),
        Other(CauseKind.OPERANDS, "subtracts the first", lambda a, b: b - a),
        Other(CauseKind.OPERANDS, "multiplies", np.multiply),
        Other(CauseKind.OPERANDS, "takes the larger", np.maximum),
    ),
    "sub": (
        Other(CauseKind.OPERANDS, "subtracts the other way round", lambda a, b: b - a),
        Other(CauseKind.OPERANDS, "adds", np.add),
    ),
    "mul": (
        Other(CauseKind.OPERANDS, "divides by the second", np.divide),
        Other(CauseKind.OPERANDS, "divides by the first", lambda a, b: b / a),
        Other(CauseKind.OPERANDS, "adds", np.add),
    ),
    "div": (
        Other(CauseKind.OPERANDS, "divides the other way round", lambda a, b: b / a),
        Other(CauseKind.OPERANDS, "multiplies", np.multiply),
    ),
    "max": (Other(CauseKind.SELECTION, "takes the smaller", np.minimum),),
    "min": (Other(CauseKind.SELECTION, "takes the larger", np.maximum),),
    "pow": (Other(CauseKind.OPERANDS, "takes the power the other way round", lambda a, b: np.power(b, a)),),
    "and": (Other(CauseKind.MASK, "combines by or", np.logical_or),),
    "or": (Other(CauseKind.MASK, "combines by and", np.logical_and),),
    "rem": (Other(CauseKind.SELECTION, "takes the remainder with the sign of the divisor", np.mod),),
    "atan2": (Other(CauseKind.OPERANDS, "has the arguments exchanged", lambda a, b: np.arctan2(b, a)),),
}

UNARY: Mapping[str, tuple[Other, ...]] = {
    "sin": (
        Other(CauseKind.OPERANDS, "takes the cosine", np.cos),
        Other(CauseKind.OPERANDS, "takes minus the sine", lambda x: -np.sin(x)),
    ),
    "cos": (Other(CauseKind.OPERANDS, "takes the sine", np.sin),),
    "floor": (
        Other(CauseKind.SELECTION, "rounds up", np.ceil),
        Other(CauseKind.SELECTION, "rounds", np.round),
        Other(CauseKind.SELECTION, "cuts off", np.trunc),
    ),
    "ceil": (
        Other(CauseKind.SELECTION, "rounds down", np.floor),
        Other(CauseKind.SELECTION, "rounds", np.round),
    ),
    "round": (
        Other(CauseKind.SELECTION, "rounds down", np.floor),
        Other(CauseKind.SELECTION, "cuts off", np.trunc),
        Other(CauseKind.SELECTION, "rounds up", np.ceil),
    ),
    "square": (
        Other(CauseKind.ACTIVATION, "takes the magnitude", np.abs),
        Other(CauseKind.ACTIVATION, "does not square", lambda x: x),
    ),
    "abs": (Other(CauseKind.ACTIVATION, "squares", np.square),),
    "exp": (
        Other(CauseKind.ACTIVATION, "takes powers of 2", np.exp2),
        Other(CauseKind.ACTIVATION, "subtracts one", np.expm1),
    ),
    "log": (
        Other(CauseKind.ACTIVATION, "takes the logarithm to base 2", np.log2),
        Other(CauseKind.ACTIVATION, "takes the logarithm to base 10", np.log10),
        Other(CauseKind.ACTIVATION, "takes log(1 + x)", np.log1p),
    ),
    "log1p": (Other(CauseKind.ACTIVATION, "takes log(x)", np.log),),
    "expm1": (Other(CauseKind.ACTIVATION, "takes exp(x)", np.exp),),
    "sqrt": (Other(CauseKind.ACTIVATION, "takes no root", lambda x: x),),
    "rsqrt": (Other(CauseKind.ACTIVATION, "divides without a root", np.reciprocal),),
    "tanh": (Other(CauseKind.ACTIVATION, "takes the sigmoid", lambda x: 1 / (1 + np.exp(-x))),),
    "logistic": (Other(CauseKind.ACTIVATION, "takes tanh", np.tanh),),
    "not": (Other(CauseKind.MASK, "does not invert", lambda x: x),),
    "neg": (Other(CauseKind.OPERANDS, "keeps the sign", lambda x: x),),
}


def mutations(fault: Fault) -> Iterator[Change]:
    """Each operation at the fault exchanged for its neighbours."""
    for number in fault.active:
        operation = fault.operation(number)
        line = fault.node(fault.candidate.evaluations[number].outputs[0]).spot.line
        for other in _others(fault, number):
            text = f"<reference> {other.text} where <candidate> has {operation}" + (
                f" (line {line})" if line else ""
            )
            yield Change(other.cause, text, functions={number: _called(other.function)})


def _called(function: Callable[..., Any]) -> Function:
    def compute(values: Sequence[Any]) -> Sequence[Array]:
        return [np.asarray(function(*[np.asarray(v) for v in values]))]

    return compute


def _others(fault: Fault, number: int) -> Iterator[Other]:
    evaluation = fault.candidate.evaluations[number]
    operation, params = evaluation.operation, evaluation.params
    yield from BINARY.get(operation, ())
    yield from UNARY.get(operation, ())
    if operation in COMPARISONS:
        for name, (sign, function) in COMPARISONS.items():
            if name != operation:
                yield Other(CauseKind.MASK, f"compares by {sign}", function)
    if operation == "select_n" and len(evaluation.inputs) == 3:
        yield Other(CauseKind.MASK, "takes the other case", lambda which, a, b: np.where(which, a, b))
    if operation == "concatenate":
        axis = int(params["dimension"])
        yield Other(
            CauseKind.ORDER,
            f"joins the parts in the reverse order along axis {axis}",
            lambda *xs: np.concatenate(xs[::-1], axis),
        )
        shape = fault.value(evaluation.outputs[0]).shape
        for other in range(len(shape)):
            if other != axis:
                yield Other(
                    CauseKind.AXIS,
                    f"joins along axis {other}",
                    lambda *xs, o=other: np.concatenate(xs, o).reshape(shape),
                )
    if operation == "integer_pow":
        for power in (1, 2, 3, 4, -1, -2):
            if power != params["y"]:
                yield Other(
                    CauseKind.CONSTANT, f"takes the power {power}", lambda x, p=power: np.power(x, float(p))
                )
        yield Other(CauseKind.ACTIVATION, "takes the magnitude", np.abs)
    if operation == "transpose":
        yield Other(
            CauseKind.ORDER,
            "keeps the order and only reshapes",
            lambda x: x.reshape([x.shape[i] for i in params["permutation"]]),
        )
    if operation == "iota":
        shape, axis = params["shape"], int(params["dimension"])
        for step in (1, -1):
            yield Other(
                CauseKind.SHIFT,
                f"counts from {step}",
                lambda s=step: np.asarray(_iota(shape, axis) + s, params["dtype"]),
            )
        for other in range(len(shape)):
            if other != axis:
                yield Other(
                    CauseKind.AXIS,
                    f"counts along axis {other}",
                    lambda o=other: np.asarray(_iota(shape, o), params["dtype"]),
                )
    if operation in ("scatter-add", "scatter_add"):
        yield from _scatter(fault, number)
    if operation == "sort":
        axis = int(params["dimension"])
        if len(evaluation.inputs) == 1:
            yield Other(CauseKind.SELECTION, "sorts downwards", lambda x: np.flip(np.sort(x, axis), axis))
    if operation == "rev":
        yield Other(CauseKind.ORDER, "does not reverse", lambda x: x)


def _iota(shape: Sequence[int], axis: int) -> Array:
    aligned = [1] * len(shape)
    aligned[axis] = shape[axis]
    return np.broadcast_to(np.arange(shape[axis]).reshape(aligned), shape)


def _scatter(fault: Fault, number: int) -> Iterator[Other]:
    """Rows that are added: kept from the last duplicate alone, or written over."""
    operand, index, updates = (fault.value(i) for i in fault.candidate.evaluations[number].inputs)
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
