"""Sums and means over other axes, with a mask, with another divisor."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.masks import fitting, is_mask
from parity.diagnose.numbers_in_code import divisors
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind

KINDS: Mapping[str, Callable[..., Array]] = {
    "reduce_sum": np.sum,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
}
CUMULATIVE: Mapping[str, Callable[..., Array]] = {
    "cumsum": np.cumsum,
    "cumprod": np.cumprod,
    "cummax": np.maximum.accumulate,
}

RUNNING: Mapping[str, Callable[..., Array]] = {
    "reduce_sum": np.cumsum,
    "reduce_prod": np.cumprod,
    "reduce_max": np.maximum.accumulate,
}
"""What a reduction is where it takes the entries so far."""

LONGEST_RUN = 64
"""Length of an axis up to which a reduction of the entries so far is tried."""


def reductions(fault: Fault) -> Iterator[Change]:
    """Every reduction at the fault, done in another way."""
    numbers = [n for n in fault.active if fault.operation(n) in KINDS]
    for number in numbers:
        yield from _other_axes(fault, (number,))
    alike: dict[tuple[int, ...], list[int]] = {}
    for number in numbers:
        alike.setdefault(_axes(fault, number), []).append(number)
    for same in alike.values():
        if len(same) > 1:
            yield from _other_axes(fault, tuple(same))
    yield from _masked(fault, numbers)
    for number in numbers:
        yield from _other_kinds(fault, number)
        yield from _running(fault, number)
    for number in fault.active:
        if fault.operation(number) in CUMULATIVE:
            yield from _cumulative(fault, number)


def _operand(fault: Fault, number: int) -> Array:
    return fault.value(fault.candidate.evaluations[number].inputs[0])


def _axes(fault: Fault, number: int) -> tuple[int, ...]:
    return tuple(int(a) for a in fault.candidate.evaluations[number].params["axes"])


def _other_axes(fault: Fault, numbers: tuple[int, ...]) -> Iterator[Change]:
    """Sums over every other set of axes, kept as axes of length one where the shapes allow it."""
    ranks = {_operand(fault, n).ndim for n in numbers}
    if len(ranks) != 1 or max(ranks) > 5:
        return
    ndim = ranks.pop()
    now = _axes(fault, numbers[0])
    if any(_axes(fault, n) != now for n in numbers):
        return
    for count in range(ndim + 1):
        for axes in itertools.combinations(range(ndim), count):
            if axes == now:
                continue
            shape = _operand(fault, numbers[-1]).shape
            old, new = (int(np.prod([shape[a] for a in over])) for over in (now, axes))
            functions: dict[int, Function] = {}
            passed: dict[int, Function] = {}
            for number in numbers:
                result = fault.candidate.evaluations[number].outputs[0]
                place, kept = _kept(fault, result, ndim)
                functions[number] = _reduce(fault.operation(number), axes, fault.value(result).shape, kept)
                if kept:
                    passed[fault.node(place).step] = _passed
            text = f"reduced over axes {now} in <candidate> and over {axes} in <reference>"
            yield Change(CauseKind.AXIS, text, divisors(fault, old, new), {**functions, **passed})


def _reduce(operation: str, axes: tuple[int, ...], shape: tuple[int, ...], kept: bool) -> Function:
    """A reduction over other axes, which stay with length one where the code puts its own back."""

    def compute(values: Sequence[Value]) -> Sequence[Value]:
        whole = KINDS[operation](values[0], axis=axes, keepdims=True)
        if whole.size == int(np.prod(shape)) and shape:
            return [whole.reshape(shape)]
        return [whole if kept or not shape else whole.squeeze(axes)]

    return compute


def _passed(values: Sequence[Value]) -> Sequence[Value]:
    return [values[0]]


def _kept(fault: Fault, result: int, ndim: int) -> tuple[int, bool]:
    """The node in which the reduced axes are put back with length one, and whether there is one."""
    for n in fault.readers(result):
        evaluation = fault.candidate.evaluations[n]
        if evaluation.operation in ("broadcast_in_dim", "reshape", "expand_dims"):
            out = evaluation.outputs[0]
            if fault.value(out).ndim == ndim:
                return out, True
    return result, False


OTHER_END = {"reduce_max": "smallest", "reduce_min": "largest"}
"""What is at the other end of what an operation takes."""

OTHERS: Mapping[str, Callable[[Array, tuple[int, ...]], Array]] = {
    "sum": np.sum,
    "largest": np.max,
    "smallest": np.min,
    "mean": np.mean,
    "product": np.prod,
    "mean of squares": lambda x, a: np.mean(x**2, a),
    "mean of magnitudes": lambda x, a: np.mean(np.abs(x), a),
    "root of the sum of squares": lambda x, a: np.sqrt(np.sum(x**2, a)),
    "sum of roots, squared (magnitudes instead of squares)": lambda x, a: np.sqrt(np.abs(x)).sum(a) ** 2,
    "median": np.median,
    "logarithm of the sum of exponentials": lambda x, a: np.log(np.exp(x).sum(a)),
}
"""What can be done with the entries along some axes."""


def _other_kinds(fault: Fault, number: int) -> Iterator[Change]:
    """The largest for the mean, and so on; a division by the count that follows falls away."""
    axes = _axes(fault, number)
    operand = _operand(fault, number)
    count = int(np.prod([operand.shape[a] for a in axes]))
    ones = divisors(fault, count, 1) if fault.operation(number) == "reduce_sum" else {}
    for name, reduce in OTHERS.items():
        for divided in (ones, {}) if ones else ({},):
            text = f"<reference> takes the {name} over axes {axes}, <candidate> another summary"
            functions = {number: lambda v, f=reduce: [np.asarray(f(v[0], axes))]}
            yield Change(CauseKind.REDUCTION, text, divided, functions)
    name = OTHER_END.get(fault.operation(number), "")
    if name and np.isinf(operand).any():  # the entries that are left out are filled otherwise, too
        text = f"<reference> takes the {name} over axes {axes} (with what is left out at the other end)"
        text += ", <candidate> another summary"
        turned = np.where(np.isinf(operand), -operand, operand)
        result = fault.candidate.evaluations[number].outputs[0]
        yield Change(CauseKind.REDUCTION, text, {result: np.asarray(OTHERS[name](turned, axes))})


def _running(fault: Fault, number: int) -> Iterator[Change]:
    """The sum of the entries so far where the candidate has that of all: what is read with each entry."""
    axes, operand = _axes(fault, number), _operand(fault, number)
    if fault.operation(number) not in RUNNING or len(axes) != 1:
        return
    accumulate, length = RUNNING[fault.operation(number)], operand.shape[axes[0]]
    if not 1 < length <= LONGEST_RUN:
        return
    result = fault.candidate.evaluations[number].outputs[0]
    parts = np.moveaxis(accumulate(operand, axis=axes[0]), axes[0], 0)
    runs = [fault.compute({result: part}) for part in parts]
    for target in fault.targets:
        values = [np.asarray(run[target.node]) for run in runs if target.node in run]
        if len(values) != length or any(v.shape != target.wanted.shape for v in values):
            continue
        for axis in range(target.wanted.ndim):
            if target.wanted.shape[axis] == length:
                value = np.stack([np.take(v, i, axis) for i, v in enumerate(values)], axis)
                line = fault.node(result).spot.line
                text = (
                    f"<reference> reduces the entries so far along axis {axes[0]} (a running sum or maximum)"
                )
                text += f", <candidate> all of them{f' (line {line})' if line else ''}"
                yield Change(CauseKind.REDUCTION, text, {target.node: value})


def _masked(fault: Fault, numbers: list[int]) -> Iterator[Change]:
    """All sums over the places where a mask is set, divided by how many there are."""
    sums = [n for n in numbers if fault.operation(n) == "reduce_sum"]
    if not sums:
        return
    arrays = [fault.reference.nodes[i].array for i in (*fault.reference_scope, *fault.reference_inputs)]
    arrays += [fault.value(i) for i in fault.candidate.inputs.values()]
    shape = _operand(fault, sums[0]).shape
    axes = _axes(fault, sums[0])
    seen: list[Array] = []
    for array in arrays:
        if not is_mask(array):
            continue
        for kept in fitting(array != 0, shape):
            for mask in (kept, ~kept):
                if mask.all() or not mask.any() or any(np.array_equal(mask, s) for s in seen):
                    continue
                seen.append(mask)
                yield from _with_mask(fault, sums, mask, axes)


def _with_mask(fault: Fault, sums: list[int], mask: Array, axes: tuple[int, ...]) -> Iterator[Change]:
    shape = mask.shape

    def compute(values: Sequence[Value], axes: tuple[int, ...]) -> Sequence[Value]:
        x = values[0]
        return [np.sum(np.where(mask, x, 0) if x.shape == shape else x, axis=axes)]

    functions = {n: functools.partial(compute, axes=_axes(fault, n)) for n in sums}
    whole = float(np.prod([shape[a] for a in axes]))
    for counts in (divisors(fault, whole, mask.sum(axes)), {}):
        text = "the mean or sum counts padded places in <candidate>"
        text += ", <reference> leaves out what the mask excludes"
        yield Change(CauseKind.MASK, text, counts, functions)


def _cumulative(fault: Fault, number: int) -> Iterator[Change]:
    """A running sum from the other end, or that leaves its own entry out."""
    evaluation = fault.candidate.evaluations[number]
    now = int(evaluation.params["axis"])
    accumulate = CUMULATIVE[evaluation.operation]
    x = _operand(fault, number)
    for axis in range(x.ndim):
        forward = accumulate(x, axis=axis)
        backward = np.flip(accumulate(np.flip(x, axis), axis=axis), axis)
        whole = np.broadcast_to(np.take(forward, [-1], axis), x.shape)
        for value, how, cause in (
            (forward, f"along axis {axis}", CauseKind.AXIS),
            (backward, f"from the end along axis {axis}", CauseKind.ORDER),
            (whole, f"over all entries along axis {axis}", CauseKind.REDUCTION),
            (forward - x, f"without the entry itself along axis {axis}", CauseKind.SHIFT),
            (backward - x, f"from the end along axis {axis}, without the entry itself", CauseKind.SHIFT),
        ):
            text = f"{evaluation.operation} runs {how} in <reference>, along axis {now} in <candidate>"
            yield Change(cause, text, {evaluation.outputs[0]: value})
