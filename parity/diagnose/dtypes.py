"""Precision: a value that the candidate rounds, truncates or lets overflow on the way."""

import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.extra import GLUE
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.phrases import operations
from parity.diagnose.targets import Array, Target
from parity.diagnose.trials import Change
from parity.localise.comparison import Value
from parity.numerics.arrays import NARROW
from parity.numerics.complex_parts import widened
from parity.report.kinds import CauseKind
from parity.trace import numpy_ops
from parity.trace.graph import Evaluation, Node
from parity.trace.vocabulary import CASTS, EXACT


def dtypes(fault: Fault) -> Iterator[Change]:
    """The candidate's value is the reference's in a narrower dtype; or integers overflow."""
    yield from _all_that_is_narrow(fault)
    for target in fault.targets:
        narrow = _narrower(target)
        if narrow:
            text = (
                f"<candidate> rounds the value to {narrow}, <reference> does not: keep it in the wider dtype"
            )
            yield Change(CauseKind.DTYPE, text, {target.node: target.wanted})
    yield from _casts(fault)
    yield from _narrow_stretches(fault)
    whole = [i for i in (*fault.inputs, *fault.constants) if fault.value(i).dtype.kind in "iu"]
    if whole:
        values = {i: fault.value(i).astype(np.int64) for i in whole}
        text = (
            "integers overflow in <candidate>'s 32 bits, <reference> has 64: "
            "use 64-bit integers (in JAX: enable x64) or keep the numbers small"
        )
        yield Change(CauseKind.DTYPE, text, values)


def _all_that_is_narrow(fault: Fault) -> Iterator[Change]:
    """All that the candidate computes in narrow dtypes, widened at once: one cast, read in two places."""
    if fault.depth or fault.gradient:
        return
    trace, before = fault.candidate, fault.ancestors(fault.target.node) | {fault.target.node}
    narrow = {
        fault.node(i).step: fault.node(i)
        for i in sorted(fault.relevant)
        if fault.node(i).written in NARROW and fault.node(i).step >= 0
    }
    if not any(i in before for n in narrow for i in trace.evaluations[n].outputs):
        return
    if all(node.operation in CASTS | EXACT | GLUE for node in narrow.values()):
        return  # a cast alone is told as one
    first = narrow[min(narrow)].place  # the cast that all of it comes from
    yield _widened(fault, narrow)._replace(everywhere=True, candidate_places=(first,) * bool(first.file))


def _widened(fault: Fault, narrow: Mapping[int, Node]) -> Change:
    """Evaluations in float64 that the candidate makes in narrow dtypes, each with a result of that dtype.

    The place is the first of them where it is none of the fault's own.
    """
    evaluations = fault.candidate.evaluations
    functions = {n: functools.partial(_widely, evaluations[n]) for n in narrow}
    what = " and ".join(dict.fromkeys(node.written for node in narrow.values()))
    done = operations(node for node in narrow.values() if node.operation not in CASTS | EXACT | GLUE)
    text = f"<candidate> computes {done or 'the value'} in {what}, <reference> does not: keep the wider dtype"
    first = min(narrow)
    elsewhere = first not in fault.active and bool(narrow[first].spot.file)
    places = (narrow[first].place,) if elsewhere else ()
    return Change(CauseKind.DTYPE, text, functions=functions, candidate_places=places)


def _casts(fault: Fault) -> Iterator[Change]:
    """An operand, a weight perhaps, without the cast that rounds it."""
    for index in (*fault.inputs, *fault.constants, *fault.computed()):
        for cast in fault.rearranged_from(index):
            node = fault.node(cast)
            if node.operation not in CASTS or not node.floating:
                continue
            before, after = fault.value(node.inputs[0]), fault.value(cast)
            if before.dtype.kind != "f" or before.shape != after.shape or np.array_equal(before, after):
                continue
            new = fault.comparison.replay({cast: before}, until=index).get(index)
            if new is not None:
                what = described(fault, node.inputs[0])
                text = f"<candidate> rounds {what}, <reference> does not: leave the cast out"
                yield Change(CauseKind.DTYPE, text, {index: new})


def _narrow_stretches(fault: Fault) -> Iterator[Change]:
    """All that the candidate computes in narrow dtypes at the fault, in float64: several roundings as one."""
    narrow: dict[int, Node] = {}
    for number in sorted({*fault.active, *_ways_to_operands(fault), *_ways_to_constants(fault)}):
        held = [fault.node(i) for i in fault.candidate.evaluations[number].outputs]
        if (node := next((node for node in held if node.written in NARROW), None)) is not None:
            narrow[number] = node
    if narrow:
        yield _widened(fault, narrow)


def _ways_to_constants(fault: Fault) -> Iterator[int]:
    """What tables are worked out by that are read at the fault, as those of an angle are."""
    for index in fault.constants:
        if fault.value(index).size > 1:
            yield from (fault.node(i).step for i in fault.ancestors(index) if fault.node(i).step >= 0)


def _ways_to_operands(fault: Fault) -> Iterator[int]:
    """What casts and rearranges the weights and inputs that are read at the fault: a narrow layer does so."""
    for index in fault.inputs:
        way = [fault.node(i) for i in fault.rearranged_from(index)]
        if any(node.operation in CASTS for node in way):
            yield from (node.step for node in way if node.step >= 0)


def _widely(evaluation: Evaluation, given: Sequence[Value]) -> Sequence[Value]:
    """An operation without the rounding of its results."""
    if evaluation.operation in CASTS:
        return given[:1]
    values, params = [np.asarray(value) for value in given], evaluation.params
    if numpy_ops.supports(evaluation.operation, values, params):
        return numpy_ops.run_primitive(evaluation.operation, values, params)
    return evaluation.function(given)


def _narrower(target: Target) -> str | None:
    """The dtype to which the wanted value is rounded, by its name; None if it is not rounded."""
    wanted, actual = target.wanted, target.actual
    if wanted.shape != actual.shape or wanted.size < 2 or not np.isfinite(widened(wanted)).all():
        return None
    import ml_dtypes

    kinds = {
        "bfloat16": ml_dtypes.bfloat16,
        "float16": np.float16,
        "float32": np.float32,
        "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
        "float8_e5m2": ml_dtypes.float8_e5m2,
    }
    changed: Array = wanted != actual
    if not changed.any() or wanted.dtype.kind == "b" or np.all(actual == actual.flat[0]):
        return None
    if wanted.dtype.kind == "f":
        for name, dtype in kinds.items():
            if np.array_equal(wanted.astype(dtype).astype(np.float64), actual):
                return name
        for name, rounded in (
            ("integers, cut off", np.trunc),
            ("integers", np.round),
            ("integers, downwards", np.floor),
        ):
            if np.array_equal(rounded(wanted), actual) and np.any(wanted != np.round(wanted)):
                return name
    if wanted.dtype.kind in "iu":
        for name, kind in (("int32", np.int32), ("int16", np.int16), ("int8", np.int8), ("uint8", np.uint8)):
            if np.array_equal(wanted.astype(kind).astype(np.int64), actual.astype(np.int64)):
                return name
    return None
