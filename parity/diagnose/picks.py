"""Entries that are picked from one value where the other side picks them, at the same places, from another.

A router chooses by corrected scores and shares by those without; a search ranks by penalised scores and adds
up those before. What is picked is right, and what it is read from is a step too early or too late.
"""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.naming import told_apart
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import Evaluation, NodeKind

STEPS = 4
"""Operations that may lie between the value that is read and the one that belongs there."""


def picked_entries(fault: Fault) -> Iterator[Change]:
    """The entries at the same places of a value that is computed shortly before or behind."""
    for index in (*fault.inputs, *fault.computed()):
        step = fault.node(index).step
        if step < 0 or fault.value(index).dtype.kind != "f":
            continue
        evaluation = fault.candidate.evaluations[step]
        picked = _places(fault, evaluation, index)
        if picked is None:
            continue
        places, axis = picked
        source = evaluation.inputs[0]
        for other in _beside(fault, source):
            value = np.take_along_axis(fault.value(other), places, axis).reshape(fault.value(index).shape)
            here, there = told_apart(fault, source, other)
            text = f"<candidate> takes the chosen entries of {here}, <reference> those of {there}"
            yield Change(CauseKind.OPERANDS, text, {index: value})


def _places(fault: Fault, evaluation: Evaluation, index: int) -> tuple[Array, int] | None:
    """At which places of its operand an operation picks a result, and along which axis; else None."""
    if not evaluation.inputs or evaluation.outputs[0] != index:
        return None
    operand, params = fault.value(evaluation.inputs[0]), evaluation.params
    if evaluation.operation == "top_k":
        return fault.value(evaluation.outputs[1]), int(params["axis"])
    if evaluation.operation == "sort":
        axis = int(params["dimension"])
        order = np.argsort(operand, axis, kind="stable")
        ordered = np.take_along_axis(operand, order, axis)
        falls = not np.array_equal(ordered, fault.value(index))
        return (np.argsort(-operand, axis, kind="stable") if falls else order), axis
    if evaluation.operation in ("reduce_max", "reduce_min") and len(params["axes"]) == 1:
        axis = int(params["axes"][0])
        found = (np.argmax if evaluation.operation == "reduce_max" else np.argmin)(operand, axis)
        return np.expand_dims(found, axis), axis
    return None


def _beside(fault: Fault, index: int) -> list[int]:
    """Values of the same shape that a value was computed from or goes into, the nearest first."""
    shape, found = fault.value(index).shape, []
    for following in (lambda i: fault.node(i).inputs, lambda i: fault.consumers[i]):
        edge = {index}
        for _ in range(STEPS):
            edge = {k for i in edge for k in following(i)}
            found += [k for k in sorted(edge) if fault.value(k).shape == shape]
    return [
        k
        for k in dict.fromkeys(found)
        if fault.node(k).kind is NodeKind.OPERATION and fault.value(k).dtype.kind == "f"
    ]
