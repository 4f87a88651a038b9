"""Batch normalisation in evaluation mode on one side and in training mode on the other."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.localise.comparison import Value
from parity.report.kinds import CauseKind
from parity.trace.vocabulary import names

ROOTS = names("rsqrt sqrt")
MOST = 4
"""Layers that are put into the other mode at once."""


class Layer(NamedTuple):
    """A normalisation of the candidate: nodes of what is normalised, of its mean and of its variance."""

    x: int
    mean: int
    var: int


def norm_modes(fault: Fault) -> Iterator[Change]:
    """The statistics of the batch for the kept ones, in all layers at the fault, and the other way."""
    kept, of_batch = _layers(fault, fixed=True)[:MOST], _layers(fault, fixed=False)[:MOST]
    for count in range(1, len(kept) + 1):
        values: dict[int, Value] = {}
        for layer in kept[:count]:
            new = fault.comparison.replay(values, until=layer.x)
            x = np.asarray(new.get(layer.x, fault.value(layer.x)))
            shape = fault.value(layer.mean).shape
            axes = _others(x, shape)
            values[layer.mean] = x.mean(axes).reshape(shape)
            values[layer.var] = x.var(axes).reshape(shape)
        text = "<reference>'s batch normalisation uses the statistics of the batch (training mode), "
        text += "<candidate>'s the running ones (evaluation mode): set the same mode"
        places = place_of(fault, fault.consumers[kept[0].mean][0])
        yield Change(CauseKind.STATISTICS, text, values, candidate_places=places)
    there = _kept_there(fault)
    for count in range(1, min(len(of_batch), len(there)) + 1):
        values = {}
        for layer, (mean, var) in zip(of_batch[:count], there, strict=False):
            if mean.size == fault.value(layer.mean).size and var.size == fault.value(layer.var).size:
                values[layer.mean] = mean.reshape(fault.value(layer.mean).shape)
                values[layer.var] = var.reshape(fault.value(layer.var).shape)
        text = "<reference>'s batch normalisation uses its running statistics (evaluation mode), "
        text += "<candidate>'s those of the batch (training mode): set the same mode"
        places = place_of(fault, fault.consumers[of_batch[0].mean][0])
        yield Change(CauseKind.STATISTICS, text, values, candidate_places=places)


def _layers(fault: Fault, *, fixed: bool) -> list[Layer]:
    """Layers that subtract a vector along an axis and divide by the root of another, kept or computed."""
    means, variances = [], []
    for number in fault.active:
        evaluation = fault.candidate.evaluations[number]
        if evaluation.operation not in ("sub", "add") or len(evaluation.inputs) != 2:
            continue
        a, b = evaluation.inputs
        whole = fault.value(evaluation.outputs[0])
        if evaluation.operation == "sub":
            if whole.ndim > 1 and _is_vector(fault.value(b), whole) and fault.node(b).fixed == fixed:
                means.append((a, b))
        elif fault.reaches(evaluation.outputs[0], ROOTS, 1):
            variances += [i for i in (a, b) if fault.value(i).size > 1 and fault.node(i).fixed == fixed]
    return [
        Layer(x, mean, var)
        for (x, mean), var in zip(means, variances, strict=False)
        if fault.value(mean).size == fault.value(var).size and fault.value(var).min() >= 0
    ]


def _is_vector(part: Array, whole: Array) -> bool:
    """Whether a value has one entry for each place along one axis, broadcast or not."""
    return 1 < part.size < whole.size and part.size == max(part.shape, default=0)


def _others(x: Array, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes but the one that a vector lies along."""
    long = next(i for i, n in enumerate(reversed(shape)) if n > 1)
    return tuple(a for a in range(x.ndim) if a != x.ndim - 1 - long)


def _kept_there(fault: Fault) -> list[tuple[Array, Array]]:
    """Means and variances that the reference keeps as weights, in the order in which it reads them."""
    nodes, means, variances = fault.reference.nodes, [], []
    for index in fault.reference_scope:
        node = nodes[index]
        kept = [nodes[i].array for i in node.inputs if i in fault.reference_static]
        vectors = [array for array in kept if array.size > 1 and array.size == max(array.shape)]
        if node.operation == "sub" and len(node.inputs) == 2 and node.inputs[1] in fault.reference_static:
            means += vectors
        elif node.operation == "add" and any(
            index in nodes[k].inputs and nodes[k].operation in ROOTS | {"reciprocal"}
            for k in range(index, min(index + 3, len(nodes)))
        ):
            variances += vectors
    return list(zip(means, variances, strict=False))
