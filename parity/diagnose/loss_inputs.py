"""What goes into a loss: an activation too many or too few, arguments exchanged, the larger of two."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import behind, forms, holding, is_value, of_a_loss, place_of, starts
from parity.localise.comparison import Function, Value
from parity.report.divergences import Place
from parity.report.kinds import CauseKind

OTHER_BOUND: Mapping[str, tuple[str, Callable[..., Array]]] = {
    "max": ("smaller", np.minimum),
    "min": ("larger", np.maximum),
}
"""What stands in the place of an operation that takes the larger or the smaller of two values."""


def activated_inputs(fault: Fault) -> Iterator[Change]:
    """A sigmoid, softmax, logarithm or exponential before a loss, left out, added or exchanged."""
    if not of_a_loss(fault):
        return
    for index in starts(fault):
        x = fault.value(index)
        if x.dtype.kind != "f":
            continue
        following, known, what = behind(fault, (index,)), list(forms(x)), _called(fault, index)
        for name, value in known:
            nodes = holding(fault, value, following)
            for which in dict.fromkeys([tuple(nodes), *((node,) for node in nodes)]) if nodes else ():
                places = place_of(fault, which[0])
                text = f"<candidate> applies {name} to {what} before the loss, <reference> does not: "
                text += "leave it out"
                yield _everywhere(CauseKind.ACTIVATION, text, _all(fault, which, x), places)
                for other, instead in known:
                    if other != name:
                        text = f"<reference> applies {other} to {what} before the loss, <candidate> {name}: "
                        text += f"use {other}"
                        yield _everywhere(CauseKind.ACTIVATION, text, _all(fault, which, instead), places)
        for name, value in known:
            text = f"<reference> applies {name} to {what} before the loss, <candidate> does not: use it"
            yield _everywhere(CauseKind.ACTIVATION, text, {index: value})
        if x.min() > 0 and x.max() < 1:
            text = f"<candidate> takes {what} for logits, <reference> for probabilities: use the loss of "
            text += "probabilities"
            yield _everywhere(CauseKind.ACTIVATION, text, {index: np.log(x) - np.log1p(-x)})


def _all(fault: Fault, nodes: Sequence[int], value: Array) -> dict[int, Value]:
    return {node: value.reshape(fault.value(node).shape) for node in nodes}


def exchanged_arguments(fault: Fault) -> Iterator[Change]:
    """The two arguments of a divergence or a relative error exchanged: KL(p, q) for KL(q, p)."""
    if not of_a_loss(fault):
        return
    begins = [i for i in starts(fault) if fault.value(i).dtype.kind == "f"]
    for one, other in itertools.combinations(begins, 2):
        a, b = fault.value(one), fault.value(other)
        apart = one not in fault.ancestors(other) and other not in fault.ancestors(one)
        if a.shape != b.shape or np.array_equal(a, b) or not apart:
            continue
        for first, second in itertools.product(_distributions(a), _distributions(b)):
            values: dict[int, Value] = {}
            for node in (one, other, *behind(fault, (one, other))):
                for x, y in ((first, second), (second, first)):
                    for mine, instead in zip(x, y, strict=True):
                        if instead is not None and mine is not None and is_value(fault.value(node), mine):
                            values[node] = instead.reshape(fault.value(node).shape)
            if len(values) > 1:
                text = f"{_called(fault, one)} and {_called(fault, other)} are exchanged as arguments of the "
                text += "loss in <candidate>: each belongs where the other stands"
                yield _everywhere(CauseKind.OPERANDS, text, values)


def _distributions(x: Array) -> Iterator[tuple[Array, Array | None]]:
    """What a value may be a distribution by, each with its logarithm."""
    yield x, np.log(x) if x.min() > 0 else None
    known = dict(forms(x))
    for name, value in known.items():
        if name.startswith("softmax"):
            yield value, known.get(f"log {name}")
    if x.max() <= 0 and "exponential" in known:
        yield known["exponential"], x


def other_bounds(fault: Fault) -> Iterator[Change]:
    """The larger of two computed values where the smaller belongs, or the other way."""
    numbers = list(fault.active)
    if of_a_loss(fault):
        numbers += [s for i in behind(fault, starts(fault)) if (s := fault.node(i).step) not in numbers]
    for number in numbers:
        evaluation = fault.candidate.evaluations[number]
        if evaluation.operation not in OTHER_BOUND or not fault.pure.isdisjoint(evaluation.inputs):
            continue
        which, function = OTHER_BOUND[evaluation.operation]
        output = evaluation.outputs[0]
        line = fault.node(output).spot.line
        text = f"<reference> takes the {which} of the two values where <candidate> takes the "
        text += "larger" if which == "smaller" else "smaller"
        text += f" (line {line})" if line else ""
        functions = {number: _of(function)}
        whole = number not in fault.active
        places = place_of(fault, output)
        yield Change(
            CauseKind.SELECTION, text, functions=functions, everywhere=whole, candidate_places=places
        )


def _of(function: Callable[..., Array]) -> Function:
    def compute(values: Sequence[Value]) -> Sequence[Value]:
        return [np.asarray(function(*[np.asarray(v) for v in values]))]

    return compute


def _everywhere(
    cause: CauseKind, text: str, values: Mapping[int, Value], places: tuple[Place, ...] = ()
) -> Change:
    return Change(cause, text, values, everywhere=True, candidate_places=places)


def _called(fault: Fault, index: int) -> str:
    """What a value is called: an output of the model, an input, or the line it is of."""
    outputs = fault.candidate.outputs.get("outputs", {}) if fault.group == "loss" else {}
    name = next((name for name, node in outputs.items() if node == index), "")
    if name:
        return "the model's output" if len(outputs) == 1 else f"the model's output {name}"
    return described(fault, index).replace("the input targets", "the targets")
