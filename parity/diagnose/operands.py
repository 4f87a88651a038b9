"""Operands: a value read where the other side reads another one; two values exchanged."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.naming import described, told_apart
from parity.diagnose.operand_roles import exchange_in_words, kind_of_exchange, parents, source_of
from parity.diagnose.order import moved, same_entries
from parity.diagnose.substitutes import (
    MOST,
    are_alike,
    both_compute,
    explained,
    goes_through,
    is_mended,
    is_undone,
    operands_at,
    substitutes,
    way_between,
)
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change, recompute
from parity.localise.comparison import Value
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind

MOST_MISREAD = 3
"""Operands of one place that are all others."""


MOST_NAMED = 2
"""Weights of a layer that a sentence names."""

MOST_PAIRED = 6
"""Operands of which two are tried at once."""


def plain_inputs(fault: Fault) -> Iterator[Change]:
    """An input, where the candidate has something else."""
    for target in fault.targets:
        for name, index in fault.candidate.inputs.items():
            array = fault.value(index)
            if array.size < 2 or array.dtype.kind == "b" or array.shape != target.wanted.shape:
                continue
            if index in fault.ancestors(target.node):  # it is read, in another way
                continue
            if np.array_equal(array, target.wanted) and not np.array_equal(array, target.actual):
                unread = "" if index in fault.relevant else ", which never reads it,"
                text = f"<reference> reads the input {name} there, <candidate>{unread} has "
                text += f"{described(fault, target.node)} in its place"
                yield Change(CauseKind.OPERANDS, text, {target.node: target.wanted})


def skipped_steps(fault: Fault) -> Iterator[Change]:
    """What the reference computes of an operand before it reads it, and the candidate does not."""
    for index in operands_at(fault):
        partners = set(fault.comparison.partners[index])
        if index not in fault.read_here or index in fault.pure or not partners or fault.node(index).fixed:
            continue
        for substitute in substitutes(fault, index):
            path = way_between(fault, partners, substitute.t) if substitute.twin is None else None
            if path and moved(fault, index, substitute.value) is None:
                why = goes_through(fault, index, path)
                if why is not None and why.cause is CauseKind.MISSING_TERM and not why.wholly:
                    yield Change(why.cause, why.text, *fault.reading(index, substitute.value))


def one_operand_off(fault: Fault) -> Iterator[Change]:
    """An operation of two values on both sides: one of them is the same, the other is another value.

    A value may stand twice there, as in a square, and only one of the two be wrong.
    """
    region, nodes = fault.region, fault.reference.nodes
    here, there = fault.node(region.j), nodes[region.t]
    if set(region.candidate_nodes) - {region.j}:
        return  # what it reads differs already
    if here.step < 0 or len(there.inputs) != 2 or there.operation.strip("_") != here.operation:
        return
    evaluation = fault.candidate.evaluations[here.step]
    if len(evaluation.inputs) != 2 or len(evaluation.outputs) != 1:
        return
    partners = fault.comparison.partners
    for places, places_there in itertools.product(itertools.permutations(range(2)), repeat=2):
        (same, other), (same_there, other_there) = places, places_there
        right = fault.twins.get(there.inputs[other_there], [])
        if not right:
            continue
        wrong, instead = evaluation.inputs[other], right[-1]
        if any(i in fault.pure or fault.node(i).fixed for i in (wrong, instead)):
            continue
        if is_mended(fault, instead, wrong):
            continue
        if there.inputs[same_there] in partners[evaluation.inputs[same]] and wrong != instead:
            names = told_apart(fault, wrong, instead)
            text = "one of its operands is {} in <candidate> where <reference> reads what is {} there"
            read = [fault.value(i) for i in evaluation.inputs]
            read[other] = fault.value(instead)
            results = evaluation.function(read)
            yield Change(CauseKind.OPERANDS, text.format(*names), {region.j: np.asarray(results[0])})


def exchanged_parts(fault: Fault) -> Iterator[Change]:
    """Two parts of one packed value exchanged: gates, queries and keys, halves of a gated unit."""
    for exchange in _exchanges(fault):
        a, b = exchange
        apart = a not in fault.ancestors(b) and b not in fault.ancestors(a)
        if apart and parents(fault, a) & parents(fault, b):
            yield _exchanged(fault, exchange)


def operands(fault: Fault) -> Iterator[Change]:
    """Every value that the faulty operations read, exchanged for every value that the reference's read."""
    for exchange in _exchanges(fault):
        change = _exchanged(fault, exchange)
        if fault.residual(change) is not None:  # one of them alone says less, if that is enough
            yield from _one_for_another(fault, exchange)
            yield change
    readable = operands_at(fault)
    for index in readable:
        for substitute in substitutes(fault, index):
            why = explained(fault, index, substitute)
            if why is not None:
                values, functions = fault.reading(index, substitute.value)
                yield Change(why.cause, why.text, values, functions, everywhere=why.wholly)
    yield from _weights(fault, readable)


def other_values(fault: Fault) -> Iterator[Change]:
    """A value read where another one belongs that both sides compute: before, behind or beside it."""
    for index in operands_at(fault):
        inside = fault.region.candidate_nodes
        joined = () if index in inside else inside
        for substitute in substitutes(fault, index):
            twin = substitute.twin
            if twin is not None and both_compute(fault, index, twin):
                why = explained(fault, index, substitute)
                if why is not None:
                    values, functions = fault.reading(index, substitute.value)
                    yield Change(why.cause, why.text, values, functions, joined=joined)
        for twin in _earlier(fault, index):
            here, there = told_apart(fault, index, twin)
            text = f"<candidate> reads {here} where <reference> reads what is {there} in <candidate>"
            values, functions = fault.reading(index, fault.value(twin))
            yield Change(CauseKind.OPERANDS, text, values, functions, joined=joined)


def _earlier(fault: Fault, index: int) -> list[int]:
    """Values that both sides compute and an operand was computed from, the nearest first."""
    if fault.node(index).kind is not NodeKind.OPERATION or not fault.comparison.partners[index]:
        return []
    near = list(dict.fromkeys(fault.node(index).inputs))
    for k in near:  # breadth first; what is found is looked at in turn
        near += [i for i in fault.node(k).inputs if i not in near] if len(near) < MOST else []
    return [
        k
        for k in near
        if fault.node(k).kind is NodeKind.OPERATION
        and fault.comparison.partners[k]
        and are_alike(fault.value(k), fault.value(index))
        and not same_entries(fault.value(k), fault.value(index))
        and not is_undone(fault, index, k)
    ]


def _exchanges(fault: Fault) -> Iterator[dict[int, Array]]:
    """Two operands, each with what it would be if it were made of what the other is made of."""
    for a, b in itertools.combinations(operands_at(fault), 2):
        if are_alike(fault.value(a), fault.value(b)):
            yield {a: fault.value(b), b: fault.value(a)}
            continue
        if fault.node(a).fixed or fault.node(b).fixed:
            continue
        first_way, second_way = fault.rearranged_from(a), fault.rearranged_from(b)
        both = {*first_way} & {*second_way}  # of two parts of one value only what they are by themselves
        for x, y in itertools.product(
            *([i for i in way if i not in both] for way in (first_way, second_way))
        ):
            if are_alike(fault.value(x), fault.value(y)):
                first, second = _made_of(fault, a, x, fault.value(y)), _made_of(fault, b, y, fault.value(x))
                if first is not None and second is not None:
                    yield {a: first, b: second}
                break


def _exchanged(fault: Fault, values: Mapping[int, Array]) -> Change:
    return Change(
        kind_of_exchange(fault, *values), exchange_in_words(fault, *values), *fault.reading_all(values)
    )


def _one_for_another(fault: Fault, values: Mapping[int, Array]) -> Iterator[Change]:
    """Of two operands one read where the other belongs, and that one right."""
    a, b = values
    for wrong, right in ((a, b), (b, a)):
        here, there = told_apart(fault, wrong, right)
        if not (
            fault.node(wrong).fixed or fault.node(right).fixed or source_of(fault, a) == source_of(fault, b)
        ):
            text = f"<candidate> reads {here} where {there} belongs"
            yield Change(CauseKind.OPERANDS, text, *fault.reading(wrong, values[wrong]))


def misread_operands(fault: Fault) -> Iterator[Change]:
    """Two or three operands that the reference does not read there, for as many that only it reads.

    So it is where a state is read after its update, or before: every value that is made of it is another.
    """
    given = set(fault.reference_inputs)
    readable = [index for index in operands_at(fault) if index in fault.read_here]
    wrong = [i for i in readable if given.isdisjoint(fault.comparison.partners[i])]
    right = [t for t in given if fault.read_here.isdisjoint(fault.twins.get(t, ()))]
    if not 1 < len(wrong) == len(right) <= MOST_MISREAD:
        return
    options = {i: {s.t: s for s in reversed(substitutes(fault, i)) if s.t in right} for i in wrong}
    for order in itertools.permutations(right):
        pairs = [(i, options[i].get(t)) for i, t in zip(wrong, order, strict=True)]
        found = {i: (s, why) for i, s in pairs if s is not None and (why := explained(fault, i, s))}
        if len(found) == len(wrong):
            kinds = list({why.cause for _, why in found.values()})
            text = "; ".join(dict.fromkeys(why.text for _, why in found.values()))
            values = {i: substitute.value for i, (substitute, _) in found.items()}
            cause = kinds[0] if len(kinds) == 1 else CauseKind.OPERANDS
            yield Change(cause, text, *fault.reading_all(values))


def pairs_of_operands(fault: Fault) -> Iterator[Change]:
    """Two operands exchanged at once: mean and variance of a normalisation, keys and values."""
    readable = operands_at(fault)
    here = [index for index in readable if index in fault.read_here] or readable
    options = [
        (index, substitute, why)
        for index in here[-MOST_PAIRED:]
        for substitute in substitutes(fault, index)[:24]
        if (why := explained(fault, index, substitute)) is not None
    ]
    telling = (CauseKind.STALE_WEIGHTS, CauseKind.STATISTICS)
    for (a, first, why), (b, second, other) in itertools.combinations(options, 2):
        if a != b and first.twin != b and second.twin != a:  # in a sum that would be one operand, not two
            shared = why.cause if why.cause is other.cause else CauseKind.OPERANDS
            cause = next((c for c in telling if c in (why.cause, other.cause)), shared)
            text = "; ".join(dict.fromkeys((why.text, other.text)))
            yield Change(cause, text, *fault.reading_all({a: first.value, b: second.value}))


def other_layers(fault: Fault) -> Iterator[Change]:
    """The weights of another layer or network: all that are read, for those of the same names in it."""
    weights = fault.candidate.weights
    others = list(dict.fromkeys(layer for name in weights for layer in _layers(name)))
    tried: list[dict[str, list[int]]] = []
    faulty = {i for n in (*fault.region.candidate_nodes, fault.region.j) for i in fault.node(n).inputs}
    for operands in (operands_at(fault), faulty):  # what is read later may be another run of the same code
        read = _weights_read(fault, operands)
        for layer in dict.fromkeys(layer for name in read for layer in _layers(name)):
            own = {name: indices for name, indices in read.items() if name.startswith(layer)}
            if len(own) < 2 or own in tried:
                continue
            tried.append(own)
            for other in others:
                arranged = _arranged(fault, own, layer, other)
                if other != layer and arranged is not None:
                    text = (
                        f"<candidate> reads {_in_words(list(own))} where those of {other.rstrip('./')} belong"
                    )
                    yield Change(CauseKind.SWAPPED_WEIGHTS, text, *fault.reading_all(arranged))


def _weights_read(fault: Fault, operands: Iterable[int]) -> dict[str, list[int]]:
    """The weights among some operands, by name, and where each is read: as it is, or rearranged."""
    names = {node: name for name, node in fault.candidate.weights.items()}
    read: dict[str, list[int]] = {}
    for index in sorted(operands):
        if (root := source_of(fault, index)) in names:
            read.setdefault(names[root], []).append(index)
    return read


def _arranged(fault: Fault, read: Mapping[str, list[int]], layer: str, other: str) -> dict[int, Array] | None:
    """Another layer's weights where those of a layer are read; None where one has no partner that fits."""
    found: dict[int, Array] = {}
    for name, indices in read.items():
        weight = fault.candidate.weights.get(other + name.removeprefix(layer))
        for index in indices:
            if weight is None:
                return None
            value = _made_of(fault, index, source_of(fault, index), fault.value(weight))
            if value is None:
                return None
            found[index] = value
    return found


def _in_words(names: Sequence[str]) -> str:
    return " and ".join([*names[:MOST_NAMED], *(["others"] if len(names) > MOST_NAMED else [])])


def _layers(name: str) -> list[str]:
    """The layer of a weight and all that it lies in, with their separators: of "a/b/w" "a/b/" and "a/"."""
    ends = [at + 1 for at, letter in enumerate(name) if letter in "/."]
    return [name[:end] for end in reversed(ends)]


def _made_of(fault: Fault, index: int, source: int, value: Array) -> Array | None:
    """What an operand would be, were what it is made of another value; None where that does not fit."""
    if fault.value(source).shape != value.shape:
        return None
    way = fault.rearranged_from(index)
    new: dict[int, Value] = {source: value}
    for node in reversed(way[: way.index(source)]):
        results = recompute(fault.comparison, fault.node(node).step, new, {})
        if results is None:
            return None
        new.update(results)
    return np.asarray(new[index])


def _weights(fault: Fault, readable: list[int]) -> Iterator[Change]:
    """Another weight of the same shape."""
    for index in readable:
        if not fault.node(index).fixed:
            continue
        for name, weight in fault.candidate.weights.items():
            value = fault.value(weight)
            for turned in (value, value.T) if value.ndim == 2 else (value,):
                old = fault.value(index)
                if turned.size == old.size and turned.ndim <= old.ndim and not same_entries(turned, old):
                    new = turned.reshape(old.shape)
                    text = f"<candidate> reads {described(fault, index)} where {name} belongs"
                    cause = CauseKind.STALE_WEIGHTS if index in fault.pure else CauseKind.SWAPPED_WEIGHTS
                    yield Change(cause, text, *fault.reading(index, new))
