"""A gate before or behind the product with a kernel: the two conventions of a GRU's reset gate.

`(r * h) @ U + c` and `r * (h @ U + c)` are both called a GRU (Cho et al., 2014, equation 8, against the form
that cuDNN, PyTorch's `nn.GRU` and Flax's `GRUCell` compute).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.trials import Change
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind

SUMS = ("add", "add_any")


def gates(fault: Fault) -> Iterator[Change]:
    """Every factor of a value that is multiplied by a kernel, applied behind it; and the other way round."""
    for number in fault.active:
        if fault.operation(number) == "dot_general":
            yield from _later(fault, number)
        elif fault.operation(number) == "mul":
            yield from _sooner(fault, number)


def _later(fault: Fault, product: int) -> Iterator[Change]:
    """The factor of one operand of a product, applied to the result, with a bias and without."""
    evaluation = fault.candidate.evaluations[product]
    (out,) = evaluation.outputs
    for place, operand in enumerate(evaluation.inputs):
        factors = fault.node(operand)
        if (
            factors.operation != "mul"
            or factors.fixed
            or fault.node(evaluation.inputs[1 - place]).fixed is False
        ):
            continue
        for gate, kept in (factors.inputs, factors.inputs[::-1]):
            if fault.value(gate).shape != fault.value(out).shape or fault.value(kept).ndim < 1:
                continue
            gated = _gated(fault, product, place, kept, gate)
            text = f"<candidate> multiplies by {described(fault, gate)} before the product with the kernel, "
            for biased in (*_biases(fault, out), None):
                functions = {product: gated}
                if biased is not None:
                    functions[biased[0]] = _with_gated_bias(fault, *biased, gate)
                said = f"{text}<reference> {_behind(biased is not None)}"
                yield Change(CauseKind.RECURRENCE, said, functions=functions)


def _behind(biased: bool) -> str:
    return "behind the product with the kernel" + (", and its bias" if biased else "")


def _gated(fault: Fault, product: int, place: int, kept: int, gate: int) -> Function:
    """A product with another value for one of its operands, times a gate."""
    function = fault.candidate.evaluations[product].function

    def compute(values: Sequence[Value]) -> Sequence[Value]:
        given = [fault.value(kept) if i == place else value for i, value in enumerate(values)]
        return [np.asarray(fault.value(gate)) * np.asarray(function(given)[0])]

    return compute


def _biases(fault: Fault, index: int) -> Iterator[tuple[int, int]]:
    """(evaluation, operand) of the sums behind a value that add a constant or a weight to it."""
    for _ in range(4):
        following = [n for n in fault.readers(index) if fault.operation(n) in SUMS]
        if len(following) != 1:
            return
        evaluation = fault.candidate.evaluations[following[0]]
        other = [i for i in evaluation.inputs if i != index]
        if len(other) == 1 and (other[0] in fault.constants or fault.node(other[0]).fixed):
            yield following[0], other[0]
        index = evaluation.outputs[0]


def _with_gated_bias(fault: Fault, number: int, bias: int, gate: int) -> Function:
    evaluation = fault.candidate.evaluations[number]
    place = evaluation.inputs.index(bias)

    def compute(values: Sequence[Value]) -> Sequence[Value]:
        factor = np.asarray(fault.value(gate))
        return evaluation.function([factor * v if i == place else v for i, v in enumerate(values)])

    return compute


def _sooner(fault: Fault, number: int) -> Iterator[Change]:
    """A factor of a product with a kernel, and perhaps a bias, applied to what the kernel multiplies."""
    factors = fault.candidate.evaluations[number].inputs
    if len(factors) != 2:
        return
    for gate, sum_ in (factors, factors[::-1]):
        product, bias = _product_below(fault, sum_)
        if product is None:
            continue
        evaluation = fault.candidate.evaluations[product]
        for place, operand in enumerate(evaluation.inputs):
            if fault.node(operand).fixed or fault.value(operand).shape != fault.value(gate).shape:
                continue
            gated = np.asarray(fault.value(gate)) * np.asarray(fault.value(operand))
            given = [fault.value(i) for i in evaluation.inputs]
            given[place] = gated
            value = np.asarray(evaluation.function(given)[0])
            value = value if bias is None else value + np.asarray(fault.value(bias))
            (out,) = fault.candidate.evaluations[number].outputs
            text = f"<candidate> multiplies by {described(fault, gate)} {_behind(bias is not None)}, "
            text += "<reference> before it"
            yield Change(CauseKind.RECURRENCE, text, {out: value})


def _product_below(fault: Fault, index: int) -> tuple[int | None, int | None]:
    """The evaluation of a product that a value is, or is with a bias added; and that bias."""
    node, bias = fault.node(index), None
    if node.operation in SUMS and len(node.inputs) == 2:
        products = [i for i in node.inputs if fault.node(i).operation == "dot_general"]
        if len(products) != 1:
            return None, None
        bias = next(i for i in node.inputs if i != products[0])
        node = fault.node(products[0])
    return (node.step, bias) if node.operation == "dot_general" and node.step >= 0 else (None, None)
