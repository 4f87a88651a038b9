"""What the candidate computes twice from the same, where the reference computes it once from something else.

The second of two calls that gets what the first got: a loss of logits that are not turned round, the negative
that is encoded for the positive, a critic with the weights of its twin. Every value of it agrees with the
first's, so that the fault shows only where both come together.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.arrangements import arranged
from parity.diagnose.fault import DEPTHS, Fault
from parity.diagnose.naming import described, of_reference
from parity.diagnose.order import moved
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.report.divergences import Place
from parity.report.kinds import CauseKind
from parity.trace.graph import Frame, NodeKind
from parity.trace.vocabulary import CHOOSING, FITTING, REARRANGING

MOST_RUNS = 8
"""Runs that are tried, the latest first."""

MOST_READ = 6
"""Values that a run reads, besides weights."""

MOST_COMPARED = 64
"""Entries of a constant that is taken for another one where both are equal."""

SECONDS = 2.0
"""CPU time for all of them, in seconds."""


class Run(NamedTuple):
    """Evaluations that belong together, of which the candidate has the same once more.

    Attributes:
        numbers: the evaluations, in order.
        frame: the line that they are called from, or are of.
        other: that of the same once more.
        reads: what they read and do not compute, constants left out.
    """

    numbers: tuple[int, ...]
    frame: Frame
    other: Frame
    reads: tuple[int, ...]


def repeated_runs(fault: Fault) -> Iterator[Change]:
    """A run of what is computed twice, with other values for those that it reads, or other weights."""
    if not fault.depth:
        yield from _tried(
            fault, lambda run: (*_with_other_values(fault, run), *_with_other_weights(fault, run))
        )


def other_results(fault: Fault) -> Iterator[Change]:
    """What comes of such a run, for what the reference computes near the fault and the candidate nowhere."""

    def changes(run: Run) -> Iterable[Change]:
        # Of more than a look-up it may tell more which entry is read, or what of it.
        depth = DEPTHS[0] if _looks_up(fault, run) else DEPTHS[-1]
        return _with_another_result(fault, run) if fault.depth == depth else ()

    yield from _tried(fault, changes)


def _tried(fault: Fault, changes: Callable[[Run], Iterable[Change]]) -> Iterator[Change]:
    if fault.gradient:
        return
    deadline = time.process_time() + SECONDS
    for change in itertools.chain.from_iterable(map(changes, _runs(fault))):
        if time.process_time() > deadline:
            return
        yield change


def _runs(fault: Fault) -> list[Run]:
    """What is computed twice on the way to what failed: the later run first, then the earlier one."""
    first: dict[object, int] = {}
    same: dict[int, int] = {}  # node -> the first node that is the same
    found: dict[tuple[Frame, Frame] | int, dict[int, int]] = {}
    copies: dict[int, int] = {}
    for number, evaluation in enumerate(fault.candidate.evaluations):
        if not evaluation.outputs or fault.node(evaluation.outputs[0]).backward:
            continue
        read = tuple(same.get(i, _constant(fault, i)) for i in evaluation.inputs)
        original = first.setdefault((evaluation.operation, read), number)
        if original == number or not _is_same(fault, original, number):
            continue
        outputs = fault.candidate.evaluations[original].outputs
        same.update(zip(evaluation.outputs, outputs, strict=True))
        if fault.relevant.isdisjoint(evaluation.outputs) or fault.pure.issuperset(evaluation.outputs):
            continue
        copies[original] = copies.get(original, 0) + 1
        frames = _apart(_stack(fault, number), _stack(fault, original))
        found.setdefault(frames or copies[original], {})[number] = original
    runs = []
    for key, pairs in [*found.items()][::-1][:MOST_RUNS]:
        frame, other = key if isinstance(key, tuple) else (_calling(fault, pairs),) * 2
        runs.append(_run(fault, sorted(pairs), frame, other))
        runs.append(_run(fault, sorted(pairs.values()), other, frame))
    return [run for run in (*runs[::2], *runs[1::2]) if run.reads]


def _run(fault: Fault, numbers: Sequence[int], frame: Frame, other: Frame) -> Run:
    evaluations = [fault.candidate.evaluations[n] for n in numbers]
    made = {i for e in evaluations for i in e.outputs}
    read = dict.fromkeys(i for e in evaluations for i in e.inputs if i not in made and i not in fault.pure)
    return Run(tuple(numbers), frame, other, tuple(read))


def _constant(fault: Fault, index: int) -> object:
    """What a value is told by: a small constant by its entries, as every use of it has its own node."""
    if index not in fault.pure:
        return index
    array = fault.value(index)
    return (array.shape, array.tobytes()) if array.size <= MOST_COMPARED else index


def _is_same(fault: Fault, one: int, other: int) -> bool:
    """Whether two evaluations of one operation give the same: with the same settings, that is."""
    pair = [fault.candidate.evaluations[n].outputs for n in (one, other)]
    return len(pair[0]) == len(pair[1]) and all(
        fault.value(a).shape == fault.value(b).shape
        and np.array_equal(fault.value(a), fault.value(b), equal_nan=fault.value(a).dtype.kind in "fc")
        for a, b in zip(*pair, strict=True)
    )


def _stack(fault: Fault, number: int) -> list[Frame]:
    """The lines that an evaluation was called from, the outermost first, and its own."""
    return fault.node(fault.candidate.evaluations[number].outputs[0]).spot.stack


def _apart(stack: Sequence[Frame], original: Sequence[Frame]) -> tuple[Frame, Frame] | None:
    """The outermost lines in which two evaluations differ; None if both are reached by the same."""
    return next((pair for pair in zip(stack, original, strict=False) if pair[0] != pair[1]), None)


def _calling(fault: Fault, numbers: Iterable[int]) -> Frame:
    """The innermost line that all of some evaluations are called from; their own if they have no other."""
    first, *others = (_stack(fault, number) for number in numbers)
    shared = first[:-1]
    for stack in others:
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(shared, stack, strict=False))
        shared = [frame for frame, _ in alike]
    return shared[-1] if shared else first[-1]


def _with_other_values(fault: Fault, run: Run) -> Iterator[Change]:
    """Two of the values that a run reads exchanged; one of them another one, or in another order."""
    reads = [i for i in run.reads if not fault.node(i).fixed and fault.value(i).size > 1][:MOST_READ]
    for a, b in itertools.combinations(reads, 2):
        if fault.value(a).shape == fault.value(b).shape:
            what = f"{described(fault, a)} and {described(fault, b)} are exchanged in <candidate>"
            yield _change(fault, run, CauseKind.OPERANDS, what, {a: fault.value(b), b: fault.value(a)})
    for index in reads:
        here = described(fault, index)
        for t in reversed(fault.reference_inputs):
            for value in _instead(fault, t, fault.value(index)):
                order = moved(fault, index, value)
                if order is not None:
                    yield _change(fault, run, CauseKind.ORDER, f"{here}: {order}", {index: value})
                else:
                    what = f"<candidate> reads {here} where <reference> reads {of_reference(fault, t)}"
                    yield _change(fault, run, CauseKind.OPERANDS, what, {index: value})


def _instead(fault: Fault, t: int, old: Array) -> Iterator[Array]:
    """A value of the reference in the shape of another, in every layout that differs from it."""
    node = fault.reference.nodes[t]
    if node.kind is NodeKind.WEIGHT or node.array.size != old.size:
        return
    tried: list[Array] = [old]
    for value in (*fault.from_reference(t, old.shape), *arranged(node.array, old.shape)):
        if not any(np.array_equal(value, one) for one in tried):
            tried.append(value)
            yield value.astype(old.dtype)


def _with_other_weights(fault: Fault, run: Run) -> Iterator[Change]:
    """All weights that a run reads, for those of one other part of the model."""
    weights = fault.candidate.weights
    names = {node: name for name, node in weights.items()}
    read = {i: names[i] for i in run.reads if i in names}
    for renamed in _renamed(list(read.values()), list(weights)):
        values = {i: fault.value(weights[renamed[name]]) for i, name in read.items() if name in renamed}
        if all(fault.value(i).shape == value.shape for i, value in values.items()):
            own, others = _in_common(renamed), _in_common(renamed.values())
            others = others.replace("the weights", "those")
            what = f"<candidate> reads {own} where {others} {'belong' if len(renamed) > 1 else 'belongs'}"
            yield _change(fault, run, CauseKind.SWAPPED_WEIGHTS, what, values)


def _looks_up(fault: Fault, run: Run) -> bool:
    """Whether a run only looks entries up, and computes nothing but where they stand."""
    made = {i for n in run.numbers for i in fault.candidate.evaluations[n].outputs}
    floating = {fault.node(i).operation for i in made if fault.node(i).floating}
    return bool(floating & CHOOSING) and floating <= CHOOSING | REARRANGING | FITTING | {"select_n"}


def _with_another_result(fault: Fault, run: Run) -> Iterator[Change]:
    inside = set(run.numbers)
    made = [i for n in run.numbers for i in fault.candidate.evaluations[n].outputs]
    leaving = [i for i in made if any(fault.node(k).step not in inside for k in fault.consumers[i])]
    lost = [t for t in (fault.region.t, *fault.reference_scope) if t not in fault.twins]
    for index, t in itertools.product(leaving[:MOST_READ], dict.fromkeys(lost)):
        for value in _instead(fault, t, fault.value(index)):
            what = f"<candidate> has {described(fault, index)} where <reference> has {of_reference(fault, t)}"
            text = f"{_told(run)}: {what}"
            yield Change(
                CauseKind.OPERANDS,
                text,
                {index: value},
                everywhere=True,
                candidate_places=_place(fault, run),
            )


def _in_common(names: Iterable[str]) -> str:
    """A weight by its name, several by what they are the weights of.

    >>> _in_common(["q1/0/kernel", "q1/0/bias"]), _in_common(["kernel_1"]), _in_common(["a/q", "b/q"])
    ('the weights of q1/0', 'kernel_1', 'a/q and 1 more')
    """
    first, *others = names
    if not others:
        return first
    shared = os.path.commonpath([name.replace(".", "/") for name in (first, *others)])
    return f"the weights of {shared}" if shared else f"{first} and {len(others)} more"


def _renamed(read: Sequence[str], known: Sequence[str]) -> Iterator[dict[str, str]]:
    """Weights -> those that are called alike but for one part of their names, the same for all of them.

    >>> list(_renamed(["q1/w", "q1/b"], ["q1/w", "q1/b", "q2/w", "q2/b", "v/0/w"]))[1]
    {'q1/w': 'q2/w', 'q1/b': 'q2/b'}

    Args:
        read: names of weights.
        known: names of all weights.
    """
    split = {name: name.replace(".", "/").split("/") for name in (*known, *read)}
    found: dict[tuple[int, str, str], dict[str, str]] = {}
    for name, other in itertools.product(read, known):
        own, parts = split[name], split[other]
        apart = [n for n, pair in enumerate(zip(own, parts, strict=False)) if pair[0] != pair[1]]
        if len(own) == len(parts) and len(apart) == 1:
            at = apart[0]
            found.setdefault((at, own[at], parts[at]), {})[name] = other
    for (at, old, _), renamed in found.items():
        if all(name in renamed for name in read if split[name][at : at + 1] == [old]):
            yield renamed


def _change(fault: Fault, run: Run, cause: CauseKind, what: str, values: Mapping[int, Array]) -> Change:
    functions = {
        n: fault.with_operands(n, values)
        for n in run.numbers
        if not values.keys().isdisjoint(fault.candidate.evaluations[n].inputs)
    }
    text = f"{_told(run)}: {what}"
    return Change(cause, text, functions=functions, everywhere=True, candidate_places=_place(fault, run))


def _told(run: Run) -> str:
    line, other = run.frame.line, run.other.line
    if line == other:
        return f"line {line} computes the same twice, and one of the two is wrong"
    return f"line {line} repeats what line {other} computes, and one of the two is wrong"


def _place(fault: Fault, run: Run) -> tuple[Place, ...]:
    """The line that a run is called from, or is of."""
    nodes = [fault.node(fault.candidate.evaluations[n].outputs[0]) for n in run.numbers]
    first = next((node for node in nodes if node.floating), nodes[0])
    if not run.frame.file:
        return ()
    return (first.place if first.spot.at == run.frame[:2] else first.called_from(run.frame),)
