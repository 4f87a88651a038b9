"""Single operations exchanged for their neighbours: a minus for a plus, less for less or equal, an axis."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change, Function


class Other(NamedTuple):
    """Another operation in place of one: cause, what PyTorch does in words, and how to compute it."""

    cause: str
    text: str
    function: Callable[..., Any]


def _flip(cause: str, name: str, function: Callable[..., Any]) -> Other:
    return Other(cause, name, function)


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
        _flip("operands", "subtracts the second", np.subtract),
        _flip("operands", "subtracts the first", lambda a, b: b - a),
        _flip("operands", "multiplies", np.multiply),
        _flip("operands", "takes the larger", np.maximum),
    ),
    "sub": (
        _flip("operands", "subtracts the other way round", lambda a, b: b - a),
        _flip("operands", "adds", np.add),
    ),
    "mul": (
        _flip("operands", "divides by the second", np.divide),
        _flip("operands", "divides by the first", lambda a, b: b / a),
        _flip("operands", "adds", np.add),
    ),
    "div": (
        _flip("operands", "divides the other way round", lambda a, b: b / a),
        _flip("operands", "multiplies", np.multiply),
    ),
    "max": (_flip("selection", "takes the smaller", np.minimum),),
    "min": (_flip("selection", "takes the larger", np.maximum),),
    "pow": (_flip("operands", "takes the power the other way round", lambda a, b: np.power(b, a)),),
    "and": (_flip("mask", "combines by or", np.logical_or),),
    "or": (_flip("mask", "combines by and", np.logical_and),),
    "rem": (_flip("selection", "takes the remainder with the sign of the divisor", np.mod),),
    "atan2": (_flip("operands", "has the arguments exchanged", lambda a, b: np.arctan2(b, a)),),
}

UNARY: Mapping[str, tuple[Other, ...]] = {
    "sin": (
        _flip("operands", "takes the cosine", np.cos),
        _flip("operands", "takes minus the sine", lambda x: -np.sin(x)),
    ),
    "cos": (_flip("operands", "takes the sine", np.sin),),
    "floor": (
        _flip("selection", "rounds up", np.ceil),
        _flip("selection", "rounds", np.round),
        _flip("selection", "cuts off", np.trunc),
    ),
    "ceil": (_flip("selection", "rounds down", np.floor), _flip("selection", "rounds", np.round)),
    "round": (
        _flip("selection", "rounds down", np.floor),
        _flip("selection", "cuts off", np.trunc),
        _flip("selection", "rounds up", np.ceil),
    ),
    "square": (
        _flip("activation", "takes the magnitude", np.abs),
        _flip("activation", "does not square", lambda x: x),
    ),
    "abs": (_flip("activation", "squares", np.square),),
    "exp": (
        _flip("activation", "takes powers of 2", np.exp2),
        _flip("activation", "subtracts one", np.expm1),
    ),
    "log": (
        _flip("activation", "takes the logarithm to base 2", np.log2),
        _flip("activation", "takes the logarithm to base 10", np.log10),
        _flip("activation", "takes log(1 + x)", np.log1p),
    ),
    "log1p": (_flip("activation", "takes log(x)", np.log),),
    "expm1": (_flip("activation", "takes exp(x)", np.exp),),
    "sqrt": (_flip("activation", "takes no root", lambda x: x),),
    "rsqrt": (_flip("activation", "divides without a root", np.reciprocal),),
    "tanh": (_flip("activation", "takes the sigmoid", lambda x: 1 / (1 + np.exp(-x))),),
    "logistic": (_flip("activation", "takes tanh", np.tanh),),
    "not": (_flip("mask", "does not invert", lambda x: x),),
    "neg": (_flip("operands", "keeps the sign", lambda x: x),),
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
                yield Other("mask", f"compares by {sign}", function)
    if operation == "select_n" and len(evaluation.inputs) == 3:
        yield Other("mask", "takes the other case", lambda which, a, b: np.where(which, a, b))
    if operation == "concatenate":
        axis = int(params["dimension"])
        yield Other(
            "order",
            f"joins the parts in the reverse order along axis {axis}",
            lambda *xs: np.concatenate(xs[::-1], axis),
        )
        shape = fault.value(evaluation.outputs[0]).shape
        for other in range(len(shape)):
            if other != axis:
                yield Other(
                    "axis",
                    f"joins along axis {other}",
                    lambda *xs, o=other: np.concatenate(xs, o).reshape(shape),
                )
    if operation == "integer_pow":
        for power in (1, 2, 3, 4, -1, -2):
            if power != params["y"]:
                yield Other("constant", f"takes the power {power}", lambda x, p=power: np.power(x, float(p)))
        yield Other("activation", "takes the magnitude", np.abs)
    if operation == "transpose":
        yield Other(
            "order",
            "keeps the order and only reshapes",
            lambda x: x.reshape([x.shape[i] for i in params["permutation"]]),
        )
    if operation == "iota":
        shape, axis = params["shape"], int(params["dimension"])
        for step in (1, -1):
            yield Other(
                "shift",
                f"counts from {step}",
                lambda s=step: np.asarray(_iota(shape, axis) + s, params["dtype"]),
            )
        for other in range(len(shape)):
            if other != axis:
                yield Other(
                    "axis",
                    f"counts along axis {other}",
                    lambda o=other: np.asarray(_iota(shape, o), params["dtype"]),
                )
    if operation in ("scatter-add", "scatter_add"):
        yield from _scatter(fault, number)
    if operation == "sort":
        axis = int(params["dimension"])
        if len(evaluation.inputs) == 1:
            yield Other("selection", "sorts downwards", lambda x: np.flip(np.sort(x, axis), axis))
    if operation == "rev":
        yield Other("order", "does not reverse", lambda x: x)


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

    yield Other("reduction", "adds only the last of rows with the same index", last)
    yield Other("reduction", "writes the rows instead of adding them", written)
