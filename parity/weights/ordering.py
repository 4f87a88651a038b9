"""The order of computation as evidence: two ports of one model use their weights in much the same order.

Where branches are computed in another order, a bias or a norm is still used right after the matrix whose
output it meets: matrices that are paired are anchors for what comes next.
"""

from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from parity.weights.names import owner
from parity.weights.units import Slot, Unit

ORDER = 0.6
"""Cost of a place in the order of computation that is off by one; off by 3, 7, 15: twice, thrice, ..."""

ASTRAY = 1.0
"""Cost of coming after another matrix."""

UNUSED = 1.0
"""Cost of a use on one side that the other side is not known to have."""

STATISTICS = ("mean", "variance")
"""Roles of a norm's running statistics, whose order of use differs from one implementation to another."""

Moment = tuple[float | int, ...]
Time = Moment | None


def unit_times(units: Sequence[Unit]) -> list[Time]:
    """When each unit is used first; of a norm's two statistics the mean, as JAX's frameworks have it."""
    statistics: dict[str, int] = {}
    for unit in units:
        if unit.use is not None and unit.role[0] in STATISTICS:
            own = statistics.setdefault(owner(unit.label), unit.use.position)
            statistics[owner(unit.label)] = min(own, unit.use.position)
    return [
        None
        if unit.use is None
        else (statistics[owner(unit.label)], STATISTICS.index(unit.role[0]))
        if unit.role[0] in STATISTICS
        else (unit.use.position, unit.part)
        for unit in units
    ]


def slot_times(slots: Sequence[Slot]) -> list[Time]:
    """When each slot is used first.

    The layers of a loop come one after the other: all leaves of the first, then all of the second. Leaves
    that stack as many layers and are used side by side share a loop.
    """
    loops: dict[str, float] = {}
    count: dict[str, int] = {}
    for slot in slots:
        if slot.layer >= 0:
            count[slot.path] = max(count.get(slot.path, 0), slot.layer + 1)
    previous: tuple[int, str] | None = None
    start = 0.0
    for slot in sorted((s for s in slots if s.use is not None), key=_position):
        if slot.layer > 0:
            continue
        this = None if slot.layer < 0 else (count[slot.path], owner(slot.path).partition("/")[0])
        if this is not None and this != previous:
            start = _position(slot)
        if this is not None:
            loops[slot.path] = start
        previous = this
    return [
        None
        if slot.use is None
        else (loops[slot.path], slot.layer, slot.use.position, slot.part)
        if slot.layer >= 0
        else (slot.use.position, -1, slot.use.position, slot.part)
        for slot in slots
    ]


def _position(slot: Slot) -> float:
    return float(slot.use.position) if slot.use is not None else float("inf")


class Anchors(NamedTuple):
    """Pairs of matrices: when each is used on either side, in order, and the number of its pair."""

    ours: tuple[tuple[Moment, int], ...]
    theirs: tuple[tuple[Moment, int], ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[Time, Time]]) -> "Anchors":
        """The anchors among some pairs: those whose times are known."""
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return cls(
            tuple(sorted((a, number) for number, (a, _) in enumerate(known))),
            tuple(sorted((b, number) for number, (_, b) in enumerate(known))),
        )


def out_of_order(
    times: Sequence[Time], jax_times: Sequence[Time], anchors: Anchors
) -> Float[np.ndarray, "N M"]:
    """What it costs that places in the order of computation differ; nothing where both are unknown."""
    off = _apart(_places(times), _places(jax_times))
    before, jax_before = _anchored(times, anchors.ours), _anchored(jax_times, anchors.theirs)
    if anchors.ours:
        same = np.array(before)[:, None] == np.array(jax_before)[None, :]
        after, jax_after = _within(times, before), _within(jax_times, jax_before)
        off = np.where(same, _apart(after, jax_after), off + ASTRAY)
    unknown, jax_unknown = np.isnan(_places(times))[:, None], np.isnan(_places(jax_times))[None, :]
    return np.where(unknown | jax_unknown, UNUSED * (unknown ^ jax_unknown), off)


def _apart(
    places: Float[np.ndarray, " N"], candidate_places: Float[np.ndarray, " M"]
) -> Float[np.ndarray, "N M"]:
    off = np.abs(places[:, None] - candidate_places[None, :])
    costs: Float[np.ndarray, "N M"] = ORDER * np.log2(1 + np.nan_to_num(off))
    return costs


def _anchored(times: Sequence[Time], anchors: Sequence[tuple[Moment, int]]) -> list[int]:
    """The number of the last anchor before each time; -1 before the first."""
    starts = [time for time, _ in anchors]
    places = [0 if time is None else bisect(starts, time) for time in times]
    return [anchors[place - 1][1] if place else -1 for place in places]


def _within(times: Sequence[Time], groups: Sequence[int]) -> Float[np.ndarray, " N"]:
    """The place of each time among those of its group."""
    places = np.zeros(len(times))
    for group in set(groups):
        members = [i for i, own in enumerate(groups) if own == group]
        places[members] = _places([times[i] for i in members])
    return places


def _places(times: Sequence[Time]) -> Float[np.ndarray, " N"]:
    """The place of each time among the others, the mean place among equals, NaN if unknown."""
    known = sorted(time for time in times if time is not None)
    first: dict[Time, int] = {}
    for place, time in enumerate(known):
        first.setdefault(time, place)
    number = Counter(known)
    return np.array([np.nan if t is None else first[t] + (number[t] - 1) / 2 for t in times])
