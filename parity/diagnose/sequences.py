"""Sequences that a loop reads an entry at a time: another one, or the same one shifted or in another order.

One side may scan over a sequence where the other indexes it in an unrolled loop. What is read is compared
stacked over the steps, and a change is tried at every step and every reader in it: one wrong sequence is one
fault.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.arrangements import arranged
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.order import same_entries
from parity.diagnose.targets import Array
from parity.diagnose.tolerances import SAME_NUMBER
from parity.diagnose.trials import Change
from parity.localise.comparison import Function, Value
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind, Trace
from parity.trace.vocabulary import FITTING, MOVING

MOST = 24
"""Ways that are tried: each computes everything up to the fault again."""

FEWEST = 3
"""Entries from which on an order can be told."""


class Read(NamedTuple):
    """A line of code that reads one entry of a value in each step of a loop.

    Attributes:
        source: node of the value.
        axis: the axis along which it is read.
        nodes: of the entries, in order of computation.
        at: index of each of them along that axis.
    """

    source: int
    axis: int
    nodes: list[int]
    at: list[int]


def sequences(fault: Fault) -> Iterator[Change]:
    """The entries that the reference reads step by step, in place of those that the candidate reads."""
    yield from _other_way_round(fault)
    yield from itertools.islice(_exchanged(fault), MOST)
    yield from itertools.islice(_replaced(fault), MOST)


def _exchanged(fault: Fault) -> Iterator[Change]:
    """Two sequences of one length, each read where the other belongs, at every reader."""
    before = fault.ancestors(fault.targets[-1].node)
    found: dict[tuple[int, int], list[Read]] = {}
    for read in reversed(_reads(fault.candidate)):
        if not before.isdisjoint(read.nodes) and _looped(fault.candidate, read):
            found.setdefault((read.source, read.axis), []).append(read)
    for one, other in itertools.combinations(found, 2):
        (here, axis), (there, other_axis) = one, other
        a, b = np.moveaxis(fault.value(here), axis, 0), np.moveaxis(fault.value(there), other_axis, 0)
        if a.shape != b.shape or a.dtype != b.dtype or np.array_equal(a, b):
            continue
        values: dict[int, Value] = {}
        for reads, entries in ((found[one], b), (found[other], a)):
            for index, at in [pair for read in reads for pair in zip(read.nodes, read.at, strict=True)]:
                values[index] = entries[at].reshape(fault.value(index).shape)
        ways = [fault.node(_taken_from(fault, source)) for source in (here, there)]
        places = tuple(node.place for node in ways if node.spot.file)
        text = f"in each step <candidate> reads {described(fault, here)} and {described(fault, there)}"
        text += ", each where the other belongs: exchange them"
        yield Change(CauseKind.OPERANDS, text, values, everywhere=True, candidate_places=places)


def _taken_from(fault: Fault, source: int) -> int:
    """Where a value that is only moved on was taken from another, such as a part of a packed one."""
    moving = [i for i in fault.rearranged_from(source) if fault.node(i).operation in MOVING]
    return moving[-1] if moving else source


def _other_way_round(fault: Fault) -> Iterator[Change]:
    """Each scan of the candidate from the other end: all that it reads, and all that it stacks."""
    scans: dict[tuple[str, int], list[Read]] = {}
    before = fault.ancestors(fault.targets[-1].node)
    for read in _reads(fault.candidate):
        node = fault.node(read.nodes[0])
        if node.operation == "scan_slice" and not before.isdisjoint(read.nodes):
            scans.setdefault((node.spot.file, node.spot.line), []).append(read)
    for (file, line), reads in scans.items():
        values: dict[int, Value] = {}
        functions: dict[int, Function] = {}
        for read in reads:
            values |= dict(zip(read.nodes, map(fault.value, reversed(read.nodes)), strict=True))
        for number, evaluation in enumerate(fault.candidate.evaluations):
            spot = fault.node(evaluation.outputs[0]).spot
            if evaluation.operation == "scan_stack" and (spot.file, spot.line) == (file, line):
                functions[number] = _backwards(evaluation.function)
        text = f"the scan of line {line} runs from the other end in <reference>: reverse it"
        yield Change(CauseKind.RECURRENCE, text, values, functions, everywhere=True)


def _backwards(stack: Function) -> Function:
    """Values stacked from the last one on."""
    return lambda given: stack(given[::-1])


def _replaced(fault: Fault) -> Iterator[Change]:
    """All ways to replace what one line reads, the lines nearest to the fault first."""
    before = fault.ancestors(fault.targets[-1].node)
    there = fault.reference.ancestors([fault.region.t, *fault.reference_scope])
    reads = [read for read in reversed(_reads(fault.candidate)) if not before.isdisjoint(read.nodes)]
    others = [read for read in reversed(_reads(fault.reference)) if not there.isdisjoint(read.nodes)]
    for own, other in itertools.product(reads, others):
        if not (_looped(fault.candidate, own) or _looped(fault.reference, other)):
            continue  # parts of a packed value are read like that as well
        alike = [read for read in reads if (read.source, read.axis) == (own.source, own.axis)]
        for at in _paired(own, other):
            wanted = dict(zip(own.at, at, strict=True))
            if [wanted[i] for i in own.at] == at and all(wanted.keys() >= set(r.at) for r in alike):
                yield from _in_place(fault, own, other, [(r, [wanted[i] for i in r.at]) for r in alike])
            if len(alike) > 1:
                yield from _in_place(fault, own, other, [(own, at)])


def _reads(trace: Trace) -> list[Read]:
    """What reads single entries of one value in a loop: all that the same code reads, for the same use."""
    found: dict[tuple[object, ...], Read] = {}
    consumers = trace.consumers()
    for index, node in enumerate(trace.nodes):
        taken = None if node.backward else _taken(trace, index)
        if taken is None:
            continue
        source, axis, entry = taken
        end = index
        while len(consumers[end]) == 1 and trace.nodes[consumers[end][0]].operation in FITTING:
            (end,) = consumers[end]
        use = [trace.nodes[i] for i in consumers[end][:1]]
        code = [(n.operation, n.spot.file, n.spot.line) for n in (node, *use)]
        read = found.setdefault((source, axis, *code), Read(source, axis, [], []))
        read.nodes.append(index)
        read.at.append(entry)
    return [read for read in found.values() if len(read.nodes) >= FEWEST]


def _taken(trace: Trace, index: int) -> tuple[int, int, int] | None:
    """Of which value a node is one entry, along which axis, and which; None of anything else."""
    node = trace.nodes[index]
    if not node.inputs:
        return None
    source, params = node.inputs[0], node.params
    shape = trace.nodes[source].value.shape
    if node.operation == "scan_slice":
        return source, 0, int(params["index"])
    if node.operation == "select":
        axis = int(params["dim"]) % len(shape)
        return source, axis, int(params["index"]) % shape[axis]
    if node.operation == "unbind":
        axis = int(params.get("dim", 0)) % len(shape)
        first = next(i for i in range(index, -1, -1) if not _of_one_call(trace, i - 1, index))
        return source, axis, index - first
    if node.operation == "slice" and "start_indices" in params:
        pairs = zip(params["start_indices"], params["limit_indices"], shape, strict=True)
        cut = [(axis, start) for axis, (start, end, n) in enumerate(pairs) if end - start == 1 < n]
        if len(cut) == 1 and np.prod(shape) == trace.nodes[index].value.size * shape[cut[0][0]]:
            return source, *cut[0]
    return None


def _of_one_call(trace: Trace, index: int, later: int) -> bool:
    """Whether two nodes are results of the same operation on the same value, one call after the other."""
    one, other = trace.nodes[index], trace.nodes[later]
    return index >= 0 and (one.operation, one.inputs) == (other.operation, other.inputs)


def _looped(trace: Trace, read: Read) -> bool:
    """Whether entries are read in a loop: in steps of a scan, or many by one line."""
    return all(trace.nodes[i].spot.step for i in read.nodes) or len(read.nodes) > FEWEST


def _paired(own: Read, other: Read) -> Iterator[list[int]]:
    """Which entries of the other side belong to those that are read: step by step, and from the last step on.

    One side may read an entry several times in each step.
    """
    here, there = len(own.at), len(other.at)
    if there % here == 0:
        times = there // here
        orders = [other.at[start::times] for start in range(times)]
    elif here % there == 0:
        orders = [[entry for entry in other.at for _ in range(here // there)]]
    else:
        return
    for order in orders:
        yield order
        yield order[::-1]


def _in_place(fault: Fault, own: Read, other: Read, reads: list[tuple[Read, list[int]]]) -> Iterator[Change]:
    """The reference's entries in place of the candidate's, for one use or all; nothing if they are the same.

    Args:
        fault: the fault.
        own: what the candidate reads.
        other: what the reference reads.
        reads: of the candidate, each with the indices of the reference's entries.
    """
    whole = fault.reference.nodes[other.source].array
    values: dict[int, Array] = {}
    for read, at in reads:
        for index, entry in zip(read.nodes, at, strict=True):
            old = fault.value(index)
            new = next(arranged(np.take(whole, entry, other.axis), old.shape), None)
            if new is None or (new.dtype.kind == "f") != (old.dtype.kind == "f"):
                return
            values[index] = new.astype(old.dtype)
    entry_of = {entry: index for read, at in reads[:1] for index, entry in zip(read.nodes, at, strict=True)}
    ordered = [entry_of[entry] for entry in sorted(entry_of)]
    wanted, actual = (np.stack([get(i) for i in ordered]) for get in (values.__getitem__, fault.value))
    if len(ordered) < FEWEST or all(_same(value, fault.value(i)) for i, value in values.items()):
        return
    cause, how = _compared(wanted, actual, own.axis)
    both = fault.twins.get(other.source) and fault.comparison.partners[own.source]
    if cause is CauseKind.OPERANDS and not both:
        return  # the entries are computed otherwise, and not another sequence's
    here, there = _told(fault, own, other)
    text = f"in each step <candidate> reads an entry of {here}"
    text += f", <reference> of {there}" if there != here else ""
    one = own.source in fault.twins.get(other.source, [])
    node = fault.node(own.source if not one else own.nodes[0])
    places = (node.place,) if node.kind is NodeKind.OPERATION and node.spot.file else ()
    yield Change(cause, f"{text}: {how}", values, everywhere=True, candidate_places=places)


def _told(fault: Fault, own: Read, other: Read) -> tuple[str, str]:
    """What the values are called that the two sides read from."""
    twins = fault.twins.get(other.source, [])
    here = described(fault, own.source)
    if own.source in twins:
        return here, here
    if not twins:
        return here, f"the {fault.reference.nodes[other.source].operation.strip('_')}"
    there = described(fault, twins[0])
    return here, there if there == here else f"what is {there} in <candidate>"


def _compared(wanted: Array, actual: Array, axis: int) -> tuple[CauseKind, str]:
    """How the entries that are read differ, stacked over the steps, from those that should be."""
    for step in range(1, len(wanted) // 2 + 1):
        late, early = slice(step, None), slice(-step)
        for here, there, sign in ((late, early, 1), (early, late, -1)):
            if _same(wanted[here], actual[there]) and not _same(wanted[here], wanted[there]):
                ahead = f"{step} {'entry' if step == 1 else 'entries'} {'ahead' if sign > 0 else 'behind'}"
                return CauseKind.SHIFT, f"it is {ahead} along axis {axis}, shifted by {sign * step:+d}"
    if _same(wanted, actual[::-1]):
        return CauseKind.ORDER, f"the entries are reversed along axis {axis}"
    if same_entries(wanted, actual):
        return CauseKind.ORDER, f"the entries are in another order along axis {axis}"
    return CauseKind.OPERANDS, "other values"


def _same(a: Array, b: Array) -> bool:
    near = SAME_NUMBER * float(np.abs(b).max(initial=0.0)) if b.dtype.kind == "f" else 0.0
    return bool(np.all(np.abs(a.astype(float) - b.astype(float)) <= near))
