"""A plan that does not make the two sides agree is varied, before the difference is called the port's.

The place where the computations part names the weights that may lie otherwise. Each plan that fits is tried
there alone: the candidate is replayed up to the place with the weights of that plan, and what gives numbers
that the reference has is kept. A plan with other pairs replaces the first one only if all outputs agree with
it; one that lays the same pairs otherwise stands in any case, and the difference that is left is the port's.
"""

import itertools
import math
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.localise.agreement import assumed_move
from parity.localise.parting import Parting
from parity.numerics.arrays import Arrays
from parity.trace.graph import Trace
from parity.trace.match import Matcher
from parity.weights import Plan
from parity.weights.alternatives import Alternative, alternatives
from parity.weights.evidence import Known
from parity.weights.interleaved import interleaved
from parity.weights.transfer import Index, Shape

TRIES = 200
"""How many plans are tried for one place at most."""

FAR_TRIES = 24
"""How many of them are tried with all that follows the place, where its own numbers say nothing."""

PACKS = 16
"""How many plans with packs head by head are tried by the outputs alone, where no place says more."""

SECONDS = 30.0
"""CPU time for it, in seconds."""

CHANGES = 40
"""How many changes one plan may take."""


class Varied(NamedTuple):
    """What varying a plan came to.

    Attributes:
        plan: the plan to go on with.
        notes: what is to be said where none was found.
        changes: what is otherwise in it, in words, where all outputs agree with it.
    """

    plan: Plan
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


def vary_plan(
    plan: Plan,
    tensors: Known,
    leaves: Known,
    *,
    reference: Trace,
    trace: Callable[[Plan], Trace],
    weights: Arrays,
    sizes: Collection[int],
    agree: Callable[[Plan], bool],
) -> Varied:
    """Look for a plan that fits and makes the two sides agree.

    Args:
        plan: the first plan, with which they do not agree.
        tensors: its tensors by name, with their first uses.
        leaves: its leaves by path, likewise.
        reference: the reference's trace.
        trace: the candidate's trace with a plan, replayable.
        weights: the reference's.
        sizes: lengths that are known, such as an image's channels.
        agree: whether all outputs agree with a plan.

    Returns:
        The plan that makes them agree, with its changes; or the one that goes farthest with the first one's
        pairs, and a note that it was varied, if others fit.
    """
    search = _Search(plan, tensors, leaves, weights, sizes, time.process_time() + SECONDS)
    matcher = Matcher(reference, [assumed_move(node) for node in reference.nodes])
    changes: dict[tuple[str, ...], str] = {}
    while len(changes) < CHANGES:
        place = Parting(matcher, trace(search.plan))
        found = search.better(place, TRIES) or search.better(place, FAR_TRIES, anywhere=True)
        if found is None and not place.frontier:  # an output has the reference's numbers in another order
            found = search.agreeing(place.near, agree)
        if found is None:
            break
        search.plan, changes[found.about] = found.plan, found.text
        if agree(found.plan):
            return Varied(found.plan, changes=tuple(changes.values()))
    for other in search.packs(plan):
        if agree(other.plan):
            return Varied(other.plan, changes=(other.text,))
    return _kept(plan, search, tuple(changes.values()))


class _Search:
    """The plans tried so far."""

    def __init__(
        self, plan: Plan, tensors: Known, leaves: Known, weights: Arrays, sizes: Collection[int], until: float
    ) -> None:
        self.plan, self.tried = plan, 0
        self._seen = {_key(plan)}
        self._known, self._weights, self._sizes, self._until = (tensors, leaves), weights, sizes, until

    def better(self, place: Parting, tries: int, *, anywhere: bool = False) -> Alternative | None:
        """The first alternative with which the candidate has more of the reference's numbers at a place."""
        before = self.plan.to_candidate(self._weights, exact=True)
        for other in self._options(place.near, tries):
            self.tried += not anywhere
            after = other.plan.to_candidate(self._weights, exact=True)
            moved = {name: after[name] for name in after if not np.array_equal(after[name], before[name])}
            if moved and place.mended(moved, anywhere=anywhere):
                self._seen.add(_key(other.plan))
                return other
        return None

    def agreeing(self, near: Sequence[str], agree: Callable[[Plan], bool]) -> Alternative | None:
        """The first alternative of some weights with which all outputs agree."""
        for other in self._options(near, TRIES):
            self.tried += 1
            if agree(other.plan):
                return other
        return None

    def _options(self, near: Sequence[str], tries: int) -> Iterator[Alternative]:
        """The first alternatives of some weights, until the time is over; none that the search came from."""
        options = alternatives(self.plan, near, *self._known, self._sizes)
        for other in itertools.islice(options, tries):
            if time.process_time() > self._until:
                return
            if _key(other.plan) not in self._seen:  # it would go in a circle
                yield other

    def packs(self, plan: Plan) -> Iterator[Alternative]:
        """The plans in which packs lie head by head, wherever the computations part.

        Where one side computes token by token what the other does at once, no place says which weights.
        """
        found: list[Alternative] = []
        for transfer in plan.transfers:
            seen = {name for alternative in found for name in alternative.about}
            if seen.isdisjoint((transfer.tensor_name, transfer.leaf_path)):
                found += [Alternative(*option) for option in interleaved(plan, transfer)]
        for alternative in found[:PACKS]:
            if time.process_time() > self._until:
                return
            self.tried += 1
            yield alternative


def _key(plan: Plan) -> Hashable:
    """What tells plans apart."""
    return frozenset(plan.rows()), tuple(sorted(plan.orders.items()))


def _kept(plan: Plan, search: _Search, changes: tuple[str, ...]) -> Varied:
    """What is left where no plan makes all outputs agree: the one with which more of the values do.

    It has the first one's pairs. Weights in the place of others may be the fault itself.
    """
    if not search.tried:
        return Varied(plan)
    text = f"the plan was varied ({search.tried} tried)"
    if not changes or _pairs(search.plan) != _pairs(plan):
        return Varied(plan, (f"{text}: no other plan of the weights that fits makes the two agree",))
    return Varied(
        search.plan, (f"{text}: more of the two agrees, but not the outputs, if {'; '.join(changes)}",)
    )


def _pairs(plan: Plan) -> Hashable:
    """Which parts of which tensors follow each other in which leaves, however they lie in detail."""
    starts = [_start(t.take, t.view or t.tensor_shape) for t in plan.transfers]
    of_tensor: dict[str, list[int]] = {}
    for transfer, start in zip(plan.transfers, starts, strict=True):
        of_tensor.setdefault(transfer.tensor_name, []).append(start)
    into: dict[str, list[tuple[int, str, int]]] = {}
    for transfer, start in zip(plan.transfers, starts, strict=True):
        number = sorted(of_tensor[transfer.tensor_name]).index(start)
        place = (_start(transfer.put, transfer.leaf_shape), transfer.tensor_name, number)
        into.setdefault(transfer.leaf_path, []).append(place)
    return frozenset((path, tuple(part[1:] for part in sorted(parts))) for path, parts in into.items())


def _start(block: Index, shape: Shape) -> int:
    """Where the first entry of a block lies in its array."""
    at = [index if isinstance(index, int) else index.start or 0 for index in block]
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(at))]
    return sum(place * step for place, step in zip(at, steps, strict=True))
