"""Operands: a value read where the other side reads another one; two values exchanged."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.extra import GLUE
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described, of_reference, told_apart
from parity.diagnose.numbers import single_numbers
from parity.diagnose.order import moved, same_entries
from parity.diagnose.phrases import with_numbers
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change, recompute
from parity.localise.comparison import Value, unmatched
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind
from parity.trace.vocabulary import FITTING, MASKING, PARTS, TILING

MOST = 40
"""Values of the reference that are tried in place of an operand."""

MOST_READ = 16
"""Operands that are tried."""

MOST_MISREAD = 3
"""Operands of one place that are all others."""

MOST_PAIRED = 6
"""Operands of which two are tried at once."""

MOST_HIDDEN = 4
"""Operations that one which the candidate lacks may stand for: more of them are no missing step."""


class Substitute(NamedTuple):
    """A value of the reference in the shape of an operand.

    Attributes:
        t: its node in the reference's trace.
        twin: the candidate's node with the same value, if there is one.
        value: the value.
    """

    t: int
    twin: int | None
    value: Array


class Explained(NamedTuple):
    """What it means that the reference reads another value: the kind of cause, and the text.

    `wholly` is of what stands for many operations: it explains the fault only if every failed output agrees.
    """

    cause: CauseKind
    text: str
    wholly: bool = False


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
    for index in _readable(fault):
        partners = set(fault.comparison.partners[index])
        if index not in fault.read_here or index in fault.pure or not partners or fault.node(index).fixed:
            continue
        for substitute in _substitutes(fault, index):
            path = _way(fault, partners, substitute.t) if substitute.twin is None else None
            if path and moved(fault, index, substitute.value) is None:
                why = _goes_through(fault, index, path)
                if why.cause is CauseKind.MISSING_TERM and not why.wholly:
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
        if _is_mended(fault, instead, wrong):
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
        if apart and _parents(fault, a) & _parents(fault, b):
            yield _exchanged(fault, exchange)


def operands(fault: Fault) -> Iterator[Change]:
    """Every value that the faulty operations read, exchanged for every value that the reference's read."""
    for exchange in _exchanges(fault):
        change = _exchanged(fault, exchange)
        if fault.residual(change) is not None:  # one of them alone says less, if that is enough
            yield from _one_for_another(fault, exchange)
            yield change
    readable = _readable(fault)
    for index in readable:
        for substitute in _substitutes(fault, index):
            why = _explained(fault, index, substitute)
            if why is not None:
                values, functions = fault.reading(index, substitute.value)
                yield Change(why.cause, why.text, values, functions, everywhere=why.wholly)
    yield from _weights(fault, readable)


def other_values(fault: Fault) -> Iterator[Change]:
    """A value read where another one belongs that both sides compute: before, behind or beside it."""
    for index in _readable(fault):
        inside = fault.region.candidate_nodes
        joined = () if index in inside else inside
        for substitute in _substitutes(fault, index):
            twin = substitute.twin
            if twin is not None and _both_compute(fault, index, twin):
                why = _explained(fault, index, substitute)
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
        and _alike(fault.value(k), fault.value(index))
        and not same_entries(fault.value(k), fault.value(index))
        and not _undone(fault, index, k)
    ]


def _exchanges(fault: Fault) -> Iterator[dict[int, Array]]:
    """Two operands, each with what it would be if it were made of what the other is made of."""
    for a, b in itertools.combinations(_readable(fault), 2):
        if _alike(fault.value(a), fault.value(b)):
            yield {a: fault.value(b), b: fault.value(a)}
            continue
        if fault.node(a).fixed or fault.node(b).fixed:
            continue
        first_way, second_way = fault.rearranged_from(a), fault.rearranged_from(b)
        both = {*first_way} & {*second_way}  # of two parts of one value only what they are by themselves
        for x, y in itertools.product(
            *([i for i in way if i not in both] for way in (first_way, second_way))
        ):
            if _alike(fault.value(x), fault.value(y)):
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
        if not (fault.node(wrong).fixed or fault.node(right).fixed or _root(fault, a) == _root(fault, b)):
            text = f"<candidate> reads {here} where {there} belongs"
            yield Change(CauseKind.OPERANDS, text, *fault.reading(wrong, values[wrong]))


def misread_operands(fault: Fault) -> Iterator[Change]:
    """Two or three operands that the reference does not read there, for as many that only it reads.

    So it is where a state is read after its update, or before: every value that is made of it is another.
    """
    given = set(fault.reference_inputs)
    readable = [index for index in _readable(fault) if index in fault.read_here]
    wrong = [i for i in readable if given.isdisjoint(fault.comparison.partners[i])]
    right = [t for t in given if fault.read_here.isdisjoint(fault.twins.get(t, ()))]
    if not 1 < len(wrong) == len(right) <= MOST_MISREAD:
        return
    options = {i: {s.t: s for s in reversed(_substitutes(fault, i)) if s.t in right} for i in wrong}
    for order in itertools.permutations(right):
        pairs = [(i, options[i].get(t)) for i, t in zip(wrong, order, strict=True)]
        found = {i: (s, why) for i, s in pairs if s is not None and (why := _explained(fault, i, s))}
        if len(found) == len(wrong):
            kinds = list({why.cause for _, why in found.values()})
            text = "; ".join(dict.fromkeys(why.text for _, why in found.values()))
            values = {i: substitute.value for i, (substitute, _) in found.items()}
            cause = kinds[0] if len(kinds) == 1 else CauseKind.OPERANDS
            yield Change(cause, text, *fault.reading_all(values))


def pairs_of_operands(fault: Fault) -> Iterator[Change]:
    """Two operands exchanged at once: mean and variance of a normalisation, keys and values."""
    readable = _readable(fault)
    here = [index for index in readable if index in fault.read_here] or readable
    options = [
        (index, substitute, why)
        for index in here[-MOST_PAIRED:]
        for substitute in _substitutes(fault, index)[:24]
        if (why := _explained(fault, index, substitute)) is not None
    ]
    telling = (CauseKind.STALE_WEIGHTS, CauseKind.STATISTICS)
    for (a, first, why), (b, second, other) in itertools.combinations(options, 2):
        if a != b and first.twin != b and second.twin != a:  # in a sum that would be one operand, not two
            shared = why.cause if why.cause is other.cause else CauseKind.OPERANDS
            cause = next((c for c in telling if c in (why.cause, other.cause)), shared)
            text = "; ".join(dict.fromkeys((why.text, other.text)))
            yield Change(cause, text, *fault.reading_all({a: first.value, b: second.value}))


def other_layers(fault: Fault) -> Iterator[Change]:
    """The weights of another layer: all that are read here at once, for those of the same names in it."""
    weights = fault.candidate.weights
    names = {node: name for name, node in weights.items()}
    layers: dict[str, dict[str, int]] = {}
    for index in sorted(_readable(fault)):  # what is read later may be another run of the same code
        if (root := _root(fault, index)) in names:
            layer, name = _split(names[root])
            layers.setdefault(layer, {}).setdefault(name, index)
    for layer, read in layers.items():
        for other in dict.fromkeys(_split(name)[0] for name in weights):
            instead = {index: weights.get(other + name) for name, index in read.items()}
            arranged = {
                index: value
                for index, weight in instead.items()
                if weight is not None
                and (value := _made_of(fault, index, _root(fault, index), fault.value(weight))) is not None
            }
            if other == layer or not 1 < len(read) == len(arranged):
                continue
            values, functions = fault.reading_all(arranged)
            own = " and ".join(layer + name for name in read)
            text = f"<candidate> reads {own} where those of {other.rstrip('./')} belong"
            yield Change(CauseKind.SWAPPED_WEIGHTS, text, values, functions)


def _root(fault: Fault, index: int) -> int:
    return fault.rearranged_from(index)[-1]


def _split(name: str) -> tuple[str, str]:
    """The layer and the name in it of a weight: "a/b/w" is "a/b/" and "w"."""
    at = max(name.rfind("/"), name.rfind(".")) + 1
    return name[:at], name[at:]


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


def _readable(fault: Fault) -> list[int]:
    """Operands: what the faulty operations read, arrays of constants included.

    Where much is read behind the fault before all of it comes together, as in a network with a sum over its
    layers, what the faulty operations read themselves comes last.
    """
    arrays = [i for i in fault.constants if fault.value(i).size > 1]
    found = [i for i in (*fault.inputs, *arrays) if fault.value(i).size > 1]
    if len(found) > MOST_READ:
        found.sort(key=fault.read_here.__contains__)
    return [*_repeated(fault), *found[-MOST_READ:]]


def _repeated(fault: Fault) -> list[int]:
    """Weights that are repeated at the fault for every example, as a learned start is."""
    inside = [i for i in fault.region.candidate_nodes if fault.node(i).operation in TILING]
    return [i for i in inside if i != fault.region.j and fault.node(_root(fault, i)).kind is NodeKind.WEIGHT]


def _alike(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype.kind == b.dtype.kind and not np.array_equal(a, b)


def _substitutes(fault: Fault, index: int) -> list[Substitute]:
    """Values of the reference that fit in place of an operand, nearest to the fault first."""
    old = fault.value(index)
    found: list[Substitute] = []
    near = [*reversed(fault.reference_inputs), *[t for t in fault.reference_scope if t != fault.region.t]]
    for t in near[:MOST]:
        node = fault.reference.nodes[t]
        if node.array.size != old.size or (node.array.dtype.kind == "f") != (old.dtype.kind == "f"):
            continue
        twin = _twin(fault, index, t)
        if twin is not None and _is_mended(fault, twin, index):
            continue
        for value in fault.from_reference(t, old.shape):
            if not np.array_equal(value, old):
                found.append(Substitute(t, twin, value.astype(old.dtype)))
    return found


def _twin(fault: Fault, index: int, t: int) -> int | None:
    """The candidate's node with a value of the reference: first one that the code of an operand computes."""
    own, twins = fault.node(index), fault.twins.get(t, [])
    alike = (k for k in twins if k != index and fault.node(k).spot.at == own.spot.at)
    same = (k for k in alike if fault.node(k).operation == own.operation)
    return next(same, twins[0] if twins else None)


def _is_mended(fault: Fault, twin: int, index: int) -> bool:
    """Whether a value is right since it was put in place, where the same code as an operand's was wrong."""
    return any(
        fault.node(i).operation == fault.node(k).operation and fault.node(i).spot.at == fault.node(k).spot.at
        for i in fault.rearranged_from(twin)
        if i in fault.comparison.replaced
        for k in fault.rearranged_from(index)
    )


def _explained(fault: Fault, index: int, substitute: Substitute) -> Explained | None:
    """What it means that the reference reads another value than an operand; None if that explains nothing."""
    node, other = fault.node(index), fault.reference.nodes[substitute.t]
    operation = other.operation.strip("_")
    there = of_reference(fault, substitute.t)
    here = described(fault, index)
    text = f"<candidate> reads {here} where <reference> reads {there}"
    if index in fault.pure:
        stale = substitute.t in fault.reference_static
        if fault.value(index).dtype.kind in "iu":
            other_ones = f"<candidate> reads other indices: {here} in place of <reference>'s {operation}"
            return Explained(CauseKind.SELECTION, other_ones)
        if same_entries(substitute.value, fault.value(index)):
            mixed = f"{here} holds the numbers of <reference>'s {operation} in another order"
            return Explained(CauseKind.ORDER, mixed)
        return Explained(CauseKind.STALE_WEIGHTS, text) if stale else None
    normalises = _normalises(fault, index)
    is_input = fault.node(_root(fault, index)).kind is NodeKind.INPUT
    if normalises and not is_input and not (node.fixed and (other.fixed or _has_another_use(fault, index))):
        return Explained(CauseKind.STATISTICS, text)
    if node.fixed and other.fixed:
        new = not same_entries(substitute.value, fault.value(index))
        return Explained(CauseKind.SWAPPED_WEIGHTS, text) if new else None
    if node.fixed:
        computed = substitute.twin is not None and _is_computed(fault, substitute.twin)
        return Explained(CauseKind.OPERANDS, text) if normalises or computed else None
    twin = substitute.twin
    if twin is not None and _parents(fault, index) & _parents(fault, twin):
        return Explained(_packed(fault, index), f"{text}: another part of the same packed value")
    if twin is not None and _both_compute(fault, index, twin):
        here, instead = told_apart(fault, index, twin)
        unread = "" if any(k in fault.relevant for k in fault.consumers[twin]) else ", which nothing reads"
        text = f"<candidate> reads {here} where <reference> reads what is {instead} in <candidate>{unread}"
        return Explained(CauseKind.OPERANDS, text)
    order = moved(fault, index, substitute.value)
    if order is not None:
        return Explained(CauseKind.ORDER, f"{here}: {order}")
    goes_on = f"<candidate> goes on computing before this, <reference> reads {there} as it is"
    if twin is not None and twin in fault.ancestors(index) and _undone(fault, index, twin):
        return Explained(CauseKind.EXTRA_TERM, goes_on)
    path = _way(fault, set(fault.comparison.partners[index]), substitute.t)
    if path:
        return _goes_through(fault, index, path)
    if twin is None:
        return None
    if twin in fault.ancestors(index):
        return Explained(CauseKind.EXTRA_TERM, goes_on)
    return Explained(CauseKind.OPERANDS, text)


def _goes_through(fault: Fault, index: int, path: Sequence[int]) -> Explained:
    """The reference computes on, along a path, before it reads what the candidate reads as it is."""
    here = described(fault, index)
    nodes = [fault.reference.nodes[t] for t in path]
    nodes = [node for node in nodes if node.operation not in GLUE] or nodes
    operations = {node.operation for node in nodes}
    done = ", ".join(dict.fromkeys(with_numbers(node, single_numbers(fault, node)) for node in nodes))
    text = f"<reference> goes through {done} before this, <candidate> reads {here} as it is"
    if operations & MASKING:
        return Explained(CauseKind.RECURRENCE if fault.node(index).spot.step else CauseKind.MASK, text)
    return Explained(CauseKind.MISSING_TERM, text, _hides(fault, path))


def _is_computed(fault: Fault, index: int) -> bool:
    node = fault.node(index)
    return node.kind is NodeKind.OPERATION and not node.fixed


def _both_compute(fault: Fault, index: int, twin: int) -> bool:
    """Whether both sides compute an operand and what belongs in its place: another value was read."""
    if any(fault.node(i).kind is not NodeKind.OPERATION for i in (index, twin)):
        return False
    if same_entries(fault.value(twin), fault.value(index)):
        return False  # the same in another order
    if twin not in fault.ancestors(index):
        return True
    return bool(fault.comparison.partners[index]) and not _undone(fault, index, twin)


def _undone(fault: Fault, index: int, earlier: int) -> bool:
    """Whether the candidate computes back to what the reference has before an earlier value."""
    partners = fault.comparison.partners
    before = fault.reference.ancestors(partners[earlier]) if partners[index] else set()
    return not before.isdisjoint(partners[index])


def _way(fault: Fault, starts: set[int], end: int) -> list[int] | None:
    """The reference's operations from one of some values to another, if it is near."""
    edge, path = {end}, [end]
    for _ in range(4):
        before = {i for t in edge for i in fault.reference.nodes[t].inputs}
        if before & starts:
            return path
        edge = {i for i in before if fault.reference.nodes[i].kind is NodeKind.OPERATION}
        path += sorted(edge)
    return None


def _hides(fault: Fault, path: Sequence[int]) -> bool:
    """Whether operations of the reference read what many others compute that the candidate has not."""
    inside, nodes = set(path), fault.reference.nodes
    waiting = [i for t in path for i in nodes[t].inputs if i not in inside]
    behind, _ = unmatched(fault.reference, waiting, fault.comparison.reference_agrees)
    return sum(nodes[i].operation not in GLUE for i in behind if i not in inside) > MOST_HIDDEN


def _parents(fault: Fault, index: int) -> set[int]:
    """Values that a value is a part of, directly or after a step or two of its own."""
    found, edge = set(), {index}
    for _ in range(4):
        following: set[int] = set()
        for i in edge:
            node = fault.node(i)
            if (
                node.operation in PARTS - {"scan_slice"}
                and fault.value(node.inputs[0]).size > fault.value(i).size
            ):
                found.add(node.inputs[0])
            elif node.kind is NodeKind.OPERATION:
                shape = None if node.operation in FITTING else fault.value(i).shape
                following.update(k for k in node.inputs if shape in (None, fault.value(k).shape))
        edge = following
    return found


def exchange_in_words(fault: Fault, a: int, b: int) -> str:
    """That two values are exchanged.

    Args:
        fault: the fault.
        a: node of the candidate.
        b: another one.
    """
    return "{} and {} are exchanged in <candidate>".format(*told_apart(fault, a, b))


def kind_of_exchange(fault: Fault, a: int, b: int) -> CauseKind:
    """What it is called that two values are exchanged.

    Args:
        fault: the fault.
        a: node of the candidate.
        b: another one.
    """
    first, second = fault.node(a), fault.node(b)
    if first.fixed and second.fixed:
        return CauseKind.SWAPPED_WEIGHTS
    if _parents(fault, a) & _parents(fault, b):
        return _packed(fault, a)
    if _normalises(fault, a) and _normalises(fault, b):
        return CauseKind.STATISTICS
    return CauseKind.OPERANDS


def _packed(fault: Fault, index: int) -> CauseKind:
    """Gates where both a sigmoid and a tanh follow, else another packing."""
    starts = [index, *_parents(fault, index)]
    gates = all(any(fault.reaches(i, {name}, 8) for i in starts) for name in ("logistic", "tanh"))
    return CauseKind.GATE_ORDER if gates else CauseKind.PACKED_ORDER


def _normalises(fault: Fault, index: int) -> bool:
    """Whether a value is subtracted as a mean, or its root divided by, in a normalisation."""
    value = fault.value(index)
    if value.dtype.kind != "f" or value.size >= fault.target.wanted.size:
        return False
    return fault.reaches(index, {"rsqrt", "sqrt"}, 4) or (
        fault.reaches(index, {"sub"}, 2)
        and any(fault.operation(n) in ("rsqrt", "sqrt") for n in fault.active)
    )


def _has_another_use(fault: Fault, index: int) -> bool:
    """Whether a weight is read for something else as well: no statistic of a normalisation is."""
    weights = fault.ancestors(index) & set(fault.candidate.weights.values())
    return any(len([k for k in fault.consumers[w] if k in fault.relevant]) > 1 for w in weights)


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
