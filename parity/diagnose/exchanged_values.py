"""Two values that both sides compute, each read where the other belongs: gates, parts of a packed value.

Where such values are read at several places, or in every step of a loop, no single operation is wrong: each
of their readers computes something else. So all readers are given the other value, in every run of the code,
and the failed outputs must agree.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.code_runs import keeping, runs_of
from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.operand_roles import exchange_in_words, kind_of_exchange
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import place_of
from parity.localise.comparison import Function, Value, failing, unmatched
from parity.trace.graph import NodeKind
from parity.trace.vocabulary import PARTS

MOST = 12
"""Values that are tried against each other, those nearest to what differs."""

BEFORE = 2
"""How many operations before what differs they may be read: of a gate, what it multiplies can agree, too."""

MOST_PARTS = 4
"""Parts of one value of which every order is tried."""

Runs = Callable[[int], list[int]]
"""A value -> the same in every run of its code."""


def exchanged_values(fault: Fault) -> Iterator[Change]:
    """Values on the border of what differs, each read in the place of another, wherever their code runs."""
    if fault.depth:
        return  # the border is the same at every depth
    runs = functools.cache(functools.partial(runs_of, fault))
    for order in _orders(fault, _border(fault, runs)):
        reading = _reading(fault, order, runs)
        if reading:
            first, second, *_ = order
            partners = [fault.reference.nodes[t].place for t in fault.comparison.partners[first][:1]]
            yield Change(
                kind_of_exchange(fault, first, second),
                _text(fault, order),
                functions=reading,
                everywhere=True,
                reference_places=tuple(place for place in partners if place.file),
                candidate_places=place_of(fault, first),
            )


def _border(fault: Fault, runs: Runs) -> list[int]:
    """Computed values that both sides have and that go into what differs: of each code the first run."""
    failed = [j for _, j in failing(fault.comparison, fault.group)]
    inside, _ = unmatched(fault.candidate, failed, fault.comparison.candidate_agrees)
    found: dict[int, None] = {}
    edge = set(inside)
    for _ in range(1 + BEFORE):
        edge = {i for n in edge for i in fault.node(n).inputs if _tells(fault, i)}.difference(inside)
        for index in sorted(edge):
            found.setdefault(runs(index)[0])
    return list(found)[:MOST]


def _tells(fault: Fault, index: int) -> bool:
    node = fault.node(index)
    computed = node.kind is NodeKind.OPERATION and node.step >= 0 and not node.fixed
    return computed and fault.comparison.candidate_tells(index)


def _orders(fault: Fault, border: Sequence[int]) -> Iterator[dict[int, int]]:
    """Value -> the one that is read in its place: two exchanged, then the parts of one value in any order."""
    for a, b in itertools.combinations(border, 2):
        one, other = fault.value(a), fault.value(b)
        alike = one.shape == other.shape and one.dtype == other.dtype and not np.array_equal(one, other)
        if alike and a not in fault.ancestors(b) and b not in fault.ancestors(a):
            yield {a: b, b: a}
    wholes = [fault.node(index).inputs[0] for index in border if fault.node(index).operation in PARTS]
    for whole in dict.fromkeys(wholes):
        parts = [i for i in fault.consumers[whole] if fault.node(i).operation in PARTS and _tells(fault, i)]
        shapes = {fault.value(i).shape for i in parts}
        if 2 < len(parts) <= MOST_PARTS and len(shapes) == 1:
            for order in itertools.permutations(parts):
                moved = {a: b for a, b in zip(parts, order, strict=True) if a != b}
                if len(moved) > 2:
                    yield moved


def _reading(fault: Fault, order: Mapping[int, int], runs: Runs) -> dict[int, Function]:
    """Every reader with the other value, in every run: each value is kept when it is computed."""
    trace, kept = fault.candidate, dict[int, Value]()
    if len({len(runs(index)) for index in order}) > 1:
        return {}
    instead: dict[int, int] = {}
    for index, other in order.items():
        instead.update(zip(runs(index), runs(other), strict=True))
    functions: dict[int, Function] = {}
    for number in sorted({fault.node(index).step for index in instead}):
        functions[number] = keeping(fault, number, kept)
    for number, evaluation in enumerate(trace.evaluations):
        if not instead.keys().isdisjoint(evaluation.inputs):
            if number in functions:
                return {}  # one is computed from another
            functions[number] = _rerouted(fault, number, instead, kept)
    return functions


def _rerouted(fault: Fault, number: int, instead: Mapping[int, int], kept: Mapping[int, Value]) -> Function:
    evaluation = fault.candidate.evaluations[number]

    def compute(given: Sequence[Value]) -> Sequence[Value]:
        named = zip(evaluation.inputs, given, strict=True)
        read = [kept[instead[i]] if i in instead else value for i, value in named]
        return evaluation.function(read)

    return compute


def _text(fault: Fault, order: Mapping[int, int]) -> str:
    if len(order) == 2:
        return exchange_in_words(fault, *order)
    whole = fault.node(next(iter(order))).inputs[0]
    parts = [i for i in fault.consumers[whole] if fault.node(i).operation in PARTS]
    moves = ((parts.index(own) + 1, parts.index(other) + 1) for own, other in order.items())
    listed = ", ".join(f"part {other} belongs where it reads part {own}" for own, other in moves)
    return f"<candidate> reads the parts of {described(fault, whole)} in another order: {listed}"
