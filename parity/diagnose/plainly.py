"""Formulas that are written plainly: the same function on paper, which overflows or cancels in numbers."""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind


def written_plainly(fault: Fault) -> Iterator[Change]:
    """Logarithms and differences at the fault by a formula that neither overflows nor cancels."""
    for index in fault.computed():
        node = fault.node(index)
        if node.operation == "log":
            yield from _logarithm(fault, index)
        elif node.operation == "sub" and _is_one(fault, node.inputs[1]):
            inner = _before(fault, node.inputs[0], "exp")
            if inner is not None:
                yield _better(fault, index, "exp(x) - 1", "expm1(x)", np.expm1(inner))


def _logarithm(fault: Fault, index: int) -> Iterator[Change]:
    source = fault.rearranged_from(fault.node(index).inputs[0])[-1]
    node = fault.node(source)
    if node.operation == "add":
        for one, other in (node.inputs, node.inputs[::-1]):
            if _is_one(fault, one):
                x = fault.value(other)
                yield _better(fault, index, "log(1 + x)", "log1p(x)", np.log1p(x))
                inner = _before(fault, other, "exp")
                if inner is not None:
                    yield _better(fault, index, "log(1 + exp(x))", "softplus(x)", np.logaddexp(inner, 0.0))
    elif node.operation == "reduce_sum":
        inner = _before(fault, node.inputs[0], "exp")
        if inner is not None:
            axes = tuple(int(axis) for axis in node.params["axes"])
            value = np.logaddexp.reduce(inner, axis=axes)
            yield _better(fault, index, "log(sum(exp(x)))", "logsumexp(x)", value)
    elif node.operation == "logistic":
        x = fault.value(node.inputs[0])
        yield _better(fault, index, "log(sigmoid(x))", "log_sigmoid(x)", -np.logaddexp(0.0, -x))
    elif node.operation == "div":
        inner = _before(fault, node.inputs[0], "exp")
        total = fault.node(fault.rearranged_from(node.inputs[1])[-1])
        if inner is not None and total.operation == "reduce_sum":
            axes = tuple(int(axis) for axis in total.params["axes"])
            value = inner - np.logaddexp.reduce(inner, axis=axes, keepdims=True)
            yield _better(fault, index, "log(softmax(x))", "log_softmax(x)", value)


def _better(fault: Fault, index: int, plain: str, stable: str, value: Array) -> Change:
    text = f"<candidate> computes {plain} as it stands, which overflows or cancels here: use {stable}"
    return Change(CauseKind.STABILITY, text, {index: value.reshape(fault.value(index).shape)})


def _before(fault: Fault, index: int, operation: str) -> Array | None:
    """The argument of an operation that computed a value; None if it was another one."""
    node = fault.node(fault.rearranged_from(index)[-1])
    return fault.value(node.inputs[0]) if node.operation == operation else None


def _is_one(fault: Fault, index: int) -> bool:
    return index in fault.pure and bool(np.all(fault.value(index) == 1))
