"""Which way each tensor and each leaf is seen: the ways in which everything finds a place.

A packed tensor has no leaf of its size, a stacked leaf no tensor: seen as their parts they do. The unknowns
are the ways, and how many units of each sort go to slots of each sort. An integer program minimises first
what finds no place and then the cost of the ways, subject to

    units of a sort = those that go to slots + those left over, and the same for slots.

Tensors whose names differ in numbers alone are seen the same way. Most likely they go to as many slots that
do: a tensor of one layer to no leaf that stacks the layers.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np

from parity.weights.names import without_numbers
from parity.weights.pricing import Pricing, Sort
from parity.weights.units import Choice, Group, Item, Slot, Unit

UNPLACED = 1000.0
"""Cost of a unit or slot that is left over, for each smallest one's numbers; far above any way of seeing."""

LARGEST = 100.0
"""How many of the smallest ones a large unit or slot counts for at most."""

SLIGHT = 0.1
"""Share of a pair's cost that counts here, where only the ways are decided, if a whole sort has it."""

LOOP = 0.4
"""Cost of stacks of a length, however many leaves are stacked."""

SPREAD = 0.5
"""Cost of units whose names differ in numbers alone, if all go to slots that are not as many of a name."""

Kin = tuple[Sort, frozenset[int], bool]
"""A sort, how many items of a name there may be, which differ in numbers alone, and whether their names have
these numbers; the layers of a stack have none, and may be leaves of any name. Of stacks whose names differ
in numbers, as `norm1` and `norm2` do, either the layers of one are of a name or those of all."""

Way = tuple[int, float, dict[Kin, int], int]
"""One way to see a family: its place among the choices, cost, items of each kin, length as a stack."""

Family = tuple[list[int], list[Way]]
"""Groups that are alike but for the numbers in their names, and the ways to see one of them."""


def balanced(
    units: Sequence[Group[Unit]], slots: Sequence[Group[Slot]], pricing: Pricing
) -> tuple[list[Choice[Unit]], list[Choice[Slot]]]:
    """The way to see each group of tensors and each leaf.

    Args:
        units: the tensors with the ways to see them, the plainest first.
        slots: the same of the leaves.
        pricing: what fits where, and for how much.

    Returns:
        The chosen way of each group, on both sides.
    """
    families = _families(units, pricing.of_unit), _families(slots, pricing.of_slot)
    plain = _solve([[w[:1] for _, w in side] for side in families], families, pricing)
    chosen = plain
    if plain[1] > 0:
        wide = _useful([[w for _, w in side] for side in families], pricing)
        seen_otherwise = _solve(wide, families, pricing)
        chosen = seen_otherwise if seen_otherwise[1] < plain[1] else plain
    of_group = [
        {group: place for (members, _), place in zip(side, picked, strict=True) for group in members}
        for side, picked in zip(families, chosen[0], strict=True)
    ]
    return (
        [group.choices[of_group[0][i]] for i, group in enumerate(units)],
        [group.choices[of_group[1][i]] for i, group in enumerate(slots)],
    )


def _families(groups: Sequence[Group[Item]], sort: Callable[[Item], Sort]) -> list[Family]:
    """The families of some groups."""
    alike: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        names = tuple(map(without_numbers, group.names))
        ways = tuple(
            (way.cost, way.times, frozenset(Counter(map(sort, way.samples)).items())) for way in group.choices
        )
        alike.setdefault((names, ways), []).append(index)
    families: list[Family] = []
    for members in alike.values():
        ways_of: list[Way] = []
        for place, choice in enumerate(groups[members[0]].choices):
            numbers, named = frozenset({choice.times, len(members) * choice.times}), len(members) > 1
            if choice.times == 1:
                numbers = frozenset({len(members)})
            counts = Counter((sort(sample), numbers, named) for sample in choice.samples)
            ways_of.append(
                (place, choice.cost, {k: n * choice.times for k, n in counts.items()}, choice.times)
            )
        families.append((members, ways_of))
    return families


def _fitting(sides: Iterable[Iterable[Kin]], pricing: Pricing) -> Iterator[tuple[Kin, Kin, float]]:
    """What of the one side fits what of the other, and for how much."""
    of_sort: tuple[dict[Sort, list[Kin]], dict[Sort, list[Kin]]] = {}, {}
    for own, side in zip(sides, of_sort, strict=True):
        for one in own:
            side.setdefault(one[0], []).append(one)
    for u, s, price in pricing.fitting(*of_sort):
        for one, other in itertools.product(of_sort[0][u], of_sort[1][s]):
            spread = one[1].isdisjoint(other[1]) and (one[2] or other[2])
            yield one, other, SLIGHT * price + SPREAD * spread


def _useful(sides: list[list[list[Way]]], pricing: Pricing) -> list[list[list[Way]]]:
    """The ways whose every item fits something on the other side; the plainest are always kept."""
    while True:
        sorts = [{k for ways in side for way in ways for k in way[2]} for side in sides]
        fits = list(_fitting(sorts, pricing))
        fine: tuple[set[Kin], set[Kin]] = ({u for u, _, _ in fits}, {s for _, s, _ in fits})
        kept = [
            [[w for i, w in enumerate(ways) if i == 0 or w[2].keys() <= good] for ways in side]
            for side, good in zip(sides, fine, strict=True)
        ]
        if kept == sides:
            return sides
        sides = kept


def _solve(
    ways_of: Sequence[list[list[Way]]], families: Sequence[list[Family]], pricing: Pricing
) -> tuple[list[list[int]], float]:
    """The place of the chosen way of each family, on both sides, and how many items are left over."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array

    sides = [
        (ways, [len(members) for members, _ in own]) for ways, own in zip(ways_of, families, strict=True)
    ]
    sorts = [list(dict.fromkeys(k for ways in side for w in ways for k in w[2])) for side, _ in sides]
    row_of = [{k: i for i, k in enumerate(sorts[0])}, {k: len(sorts[0]) + i for i, k in enumerate(sorts[1])}]
    num_sorts = len(sorts[0]) + len(sorts[1])
    prices: list[float] = []
    upper: list[float] = []
    whole: list[int] = []
    entries: list[tuple[int, int, float]] = []  # row, column, coefficient
    stacks: dict[int, list[int]] = {}
    num_rows = num_sorts
    columns: list[list[list[int]]] = [[], []]
    for side, (all_ways, sizes) in enumerate(sides):
        for ways, size in zip(all_ways, sizes, strict=True):
            columns[side].append([])
            for _, price, counts, length in ways:
                column = len(prices)
                columns[side][-1].append(column)
                prices.append(price)
                upper.append(1.0)
                whole.append(1)
                entries.append((num_rows, column, 1.0))
                if length > 1:
                    stacks.setdefault(length, []).append(column)
                entries += [(row_of[side][k], column, float(n * size)) for k, n in counts.items()]
            num_rows += 1
    left = len(prices)
    for row in range(num_sorts):  # items left over
        entries.append((row, left + row, -1.0))
    sizes_of = [math.prod(sort.shape) for own in sorts for sort, *_ in own]
    smallest = max(1, min(sizes_of, default=1))
    worth = np.clip(np.array(sizes_of, float) / smallest, 1.0, LARGEST)
    prices += list(UNPLACED * worth)
    upper += [np.inf] * num_sorts
    whole += [0] * num_sorts
    number = {
        k: max(1, *(w[2].get(k, 0) * n for ways, n in zip(*sides[0], strict=True) for w in ways))
        for k in sorts[0]
    }
    for u, s, price in _fitting(sorts, pricing):
        entries += [(row_of[0][u], len(prices), -1.0), (row_of[1][s], len(prices), -1.0)]
        prices.append(price / number[u])
        upper.append(np.inf)
        whole.append(0)
    lower = [0.0] * num_sorts + [1.0] * (num_rows - num_sorts)
    above = list(lower)
    for own in stacks.values():  # a loop of this length, if any leaf is such a stack
        entries += [(num_rows, len(prices), float(len(own))), *((num_rows, c, -1.0) for c in own)]
        prices.append(LOOP)
        upper.append(1.0)
        whole.append(1)
        lower.append(0.0)
        above.append(np.inf)
        num_rows += 1
    rows, cols, values = zip(*entries, strict=True) if entries else ((), (), ())
    matrix = coo_array((values, (rows, cols)), shape=(num_rows, len(prices))).tocsr()
    result = milp(
        np.array(prices),
        constraints=LinearConstraint(matrix, np.array(lower), np.array(above)),
        integrality=np.array(whole),
        bounds=Bounds(0.0, np.array(upper)),
        options={"mip_rel_gap": 0.0},
    )
    picked = [
        [ways[int(np.argmax(result.x[own]))][0] for ways, own in zip(all_ways, columns[side], strict=True)]
        for side, (all_ways, _) in enumerate(sides)
    ]
    return picked, float(np.round(result.x[left : left + num_sorts].sum()))
