"""The order of computation as evidence: two programs for one model use their weights in much the same order.

Where branches are computed in another order, a bias or a norm is still used right after the matrix whose
output it meets: matrices that are paired are anchors for what comes next.
"""

import re
from bisect import bisect
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from parity.weights.names import natural, owner
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


def times(items: Sequence[Unit] | Sequence[Slot], *, statistics: bool) -> list[Time]:
    """When each unit or slot is used first.

    The layers of a loop come one after the other: all arrays of the first, then all of the second. Arrays
    that stack as many layers and are used side by side share a loop.

    Args:
        items: units, or slots.
        statistics: whether a norm's mean comes right before its variance, as JAX's frameworks have it.

    Returns:
        A moment for each item, to be compared with the others' alone; None if its use is not known.
    """
    first_of_norm: dict[str, int] = {}
    for item in items:
        if statistics and item.use is not None and item.role[0] in STATISTICS:
            own = first_of_norm.setdefault(owner(item.label), item.use.position)
            first_of_norm[owner(item.label)] = min(own, item.use.position)
    loops = _loops(items)
    moments: list[Time] = []
    for item in items:
        if item.use is None:
            moments.append(None)
        elif item.depth >= 0:
            moments.append((loops[item.home], item.depth, item.use.position, item.part))
        elif statistics and item.role[0] in STATISTICS:
            place = first_of_norm[owner(item.label)]
            moments.append((place, -1, place, STATISTICS.index(item.role[0])))
        else:
            moments.append((item.use.position, -1, item.use.position, item.part))
    return moments


def in_numeric_order(units: Sequence[Unit], moments: Sequence[Time], slots: Sequence[Slot]) -> list[Time]:
    """The times of units, those of a stack that the other side uses at once in the order of their numbers.

    Which expert is used first, the data decides; a stack of them has the order of their names.

    Args:
        units: the units.
        moments: when each is used first.
        slots: of the other side.

    Returns:
        The moments, exchanged among units whose names differ in one number.
    """
    counts = stack_lengths([slot for slot in slots if slot.use is not None and slot.use.at_once]).values()
    families: dict[tuple[str, ...], list[int]] = {}
    for index, unit in enumerate(units):
        parts = re.split(r"(\d+)", unit.label)
        for place in range(1, len(parts), 2):
            families.setdefault((*parts[:place], "#", *parts[place + 1 :]), []).append(index)
    found = list(moments)
    for family in families.values():
        known = [time for i in family if (time := found[i]) is not None]
        if len(family) in counts and len(known) == len(family):
            numeric = sorted(family, key=lambda i: natural(units[i].label))
            for i, time in zip(numeric, sorted(known), strict=True):
                found[i] = time
    return found


def stack_lengths(items: Sequence[Unit] | Sequence[Slot]) -> dict[str, int]:
    """How many layers each stacked array has, by its name.

    Args:
        items: units, or slots, whole arrays among them.
    """
    found: dict[str, int] = {}
    for item in items:
        if item.depth >= 0:
            found[item.home] = max(found.get(item.home, 0), item.depth + 1)
    return found


def _loops(items: Sequence[Unit] | Sequence[Slot]) -> dict[str, float]:
    """When the loop of each stacked array starts, by its name.

    Arrays of one module that stack as many layers and are used side by side share a loop, and so do any that
    stack as many where one is used before the other is used last.
    """
    loops: dict[str, float] = {}
    ends: dict[int, tuple[float, int]] = {}
    count = stack_lengths(items)
    previous: tuple[int, str] | None = None
    start = 0.0
    for item in sorted((i for i in items if i.use is not None), key=_position):
        if item.depth > 0:
            continue
        top = re.split(r"[./]", owner(item.home))[0]
        this = None if item.depth < 0 else (count[item.home], top)
        if this is not None and item.use is not None:
            begun, end = ends.get(this[0], (0.0, -1))
            if _position(item) <= end:
                start = begun
            elif this != previous:
                start = _position(item)
            loops[item.home] = start
            ends[this[0]] = start, max(item.use.until, end)
        previous = this
    return loops


def _position(item: Unit | Slot) -> float:
    return float(item.use.position) if item.use is not None else float("inf")


class Anchors(NamedTuple):
    """Pairs of matrices: when each is used on either side, in order, and the number of its pair."""

    units: tuple[tuple[Moment, int], ...]
    slots: tuple[tuple[Moment, int], ...]

    @classmethod
    def of(cls, pairs: Sequence[tuple[Time, Time]]) -> "Anchors":
        """The anchors among some pairs: those whose times are known.

        Args:
            pairs: when the two of each pair are used first.

        Returns:
            The anchors.
        """
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        return cls(
            tuple(sorted((a, number) for number, (a, _) in enumerate(known))),
            tuple(sorted((b, number) for number, (_, b) in enumerate(known))),
        )


def out_of_order(
    times: Sequence[Time], slot_times: Sequence[Time], anchors: Anchors
) -> Float[np.ndarray, "N M"]:
    """What it costs that places in the order of computation differ; nothing where both are unknown.

    Args:
        times: when each of N units is used first.
        slot_times: when each of M slots is used first.
        anchors: the matrices that are paired already.

    Returns:
        The cost of each pair.
    """
    off = _apart(_places(times), _places(slot_times))
    before, slot_before = _anchored(times, anchors.units), _anchored(slot_times, anchors.slots)
    if anchors.units:
        same = np.array(before)[:, None] == np.array(slot_before)[None, :]
        after, slot_after = _within(times, before), _within(slot_times, slot_before)
        off = np.where(same, _apart(after, slot_after), off + ASTRAY)
    unknown, slot_unknown = np.isnan(_places(times))[:, None], np.isnan(_places(slot_times))[None, :]
    return np.where(unknown | slot_unknown, UNUSED * (unknown ^ slot_unknown), off)


def _apart(places: Float[np.ndarray, " N"], others: Float[np.ndarray, " M"]) -> Float[np.ndarray, "N M"]:
    off = np.abs(places[:, None] - others[None, :])
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
