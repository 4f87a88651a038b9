"""Which unit goes to which slot: the pairs of least cost, and the pairs that could as well be exchanged.

Shape and layer kind decide what fits at all. Among what fits the evidence adds up: roles, words of the names,
the order of first use (or, where that is not known, of the numbers in names), and the module that a tensor's
weight went to. Where all that could be exchanged bear the same names on both sides, the names decide. Units
and slots are paired per connected component of what fits: matrices first, then other weights, then the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from parity.weights.likeness import equal_paths, likeness, likeness_of_numbers
from parity.weights.names import layers_in, module, owner, ranks
from parity.weights.namesakes import Named, namesakes
from parity.weights.ordering import Anchors, in_numeric_order, out_of_order, stack_lengths, times
from parity.weights.pricing import Pricing, Sort
from parity.weights.reshapes import squeeze
from parity.weights.units import Slot, Unit

MARGIN = 0.05
"""Two assignments whose costs are closer than this are a tie."""

WEAK = 2.5
"""Two assignments whose costs are closer than this may be exchanged if the models then agree, unless the
names speak for one of them: what a port calls its weights is not to be explained away."""

SAID = 0.2
"""How much less names must cost, and be more than half alike, to speak for an assignment."""

NAMES = 2.0
"""Cost of two names that have nothing in common."""

NUMBERS = 0.2
"""Cost of other numbers in a name; more where the order of computation is not known."""

STRAY = 20.0
"""Cost of a bias that does not follow its weight."""

ELSEWHERE = 3.0
"""Cost, within one framework, of a pair though another has the same path and shape: less than two uses in
another sort of operation cost, because a rewrite may use a name for something else."""

OTHER_LAYER = 3.0
"""Cost of an entry of a stack for another layer than its place says, where names count as many layers: more
than an order of use says against it, and than running may explain away."""

STATED = 10.0
"""Cost, between frameworks, of a pair though one of them has a namesake among all that it could be: more than
any order of use can cost, and less than a bias that does not follow its weight."""


class Exchange(NamedTuple):
    """Two pairs, by their places in the list of pairs, that could be exchanged for a slight cost."""

    first: int
    second: int
    cost: float


def assign(
    units: Sequence[Unit], slots: Sequence[Slot], pricing: Pricing
) -> tuple[list[tuple[int, int]], list[Exchange]]:
    """Pair units and slots at the least cost.

    Args:
        units: all units.
        slots: all slots.
        pricing: what fits where, and for how much.

    Returns:
        The pairs (place in `units`, place in `slots`), and what could be exchanged among them.
    """
    pairs: list[tuple[int, int]] = []
    exchanges: list[Exchange] = []
    sorts = [pricing.of_unit(unit) for unit in units]
    slot_sorts = [pricing.of_slot(slot) for slot in slots]
    table = {(u, s): cost for u, s, cost in pricing.fitting(set(sorts), set(slot_sorts))}
    components = _components(table, sorts, slot_sorts)
    unit_times = in_numeric_order(units, times(units, statistics=True), slots)
    slot_times = times(slots, statistics=pricing.is_alike)
    partners = {} if pricing.is_alike else _namesakes(units, slots, pricing)
    layers = layers_in([unit.label for unit in units], unit_times)
    lengths = stack_lengths(slots)
    owners: dict[str, set[str]] = {}
    for is_now in (_is_matrix, _is_weight, _is_any):
        anchors = Anchors.of(
            [(unit_times[i], slot_times[j]) for i, j in pairs if _is_whole(units[i]) and _is_whole(slots[j])]
        )
        done, slots_done = {i for i, _ in pairs}, {j for _, j in pairs}
        rows: dict[int, list[int]] = {}
        columns: dict[int, list[int]] = {}
        for i, unit in enumerate(units):
            if i not in done and is_now(unit):
                rows.setdefault(components[0][sorts[i]], []).append(i)
        for j, slot in enumerate(slots):
            if j not in slots_done and is_now(slot):
                columns.setdefault(components[1][slot_sorts[j]], []).append(j)
        for component in rows.keys() & columns.keys():
            own, places = rows[component], columns[component]
            fits = np.array([[table.get((sorts[i], slot_sorts[j]), np.inf) for j in places] for i in own])
            now, slot_now = [unit_times[i] for i in own], [slot_times[j] for j in places]
            is_unknown = None in now or None in slot_now
            names, more = _by_name([units[i] for i in own], [slots[j] for j in places], is_unknown)
            if pricing.is_alike:
                names += ELSEWHERE * _elsewhere([units[i] for i in own], [slots[j] for j in places])
            names += STATED * _against(own, places, partners)
            apart = _other_layers([layers[i] for i in own], [slots[j] for j in places], lengths)
            strays = _strays(
                [owner(units[i].label) for i in own], [module(slots[j].label) for j in places], owners
            )
            costs = fits + out_of_order(now, slot_now, anchors) + (names + more) + STRAY * strays
            costs += OTHER_LAYER * apart
            found, ties = _cheapest(costs, names)
            start = len(pairs)
            pairs += [(own[i], places[j]) for i, j in found]
            exchanges += [Exchange(start + a, start + b, extra) for a, b, extra in ties]
        for i, j in pairs:
            if owner(units[i].label) and module(slots[j].label):
                owners.setdefault(owner(units[i].label), set()).add(module(slots[j].label))
    return pairs, exchanges


def _by_name(
    units: Sequence[Unit], slots: Sequence[Slot], is_unknown: bool
) -> tuple[Float[np.ndarray, "N M"], Float[np.ndarray, "N M"]]:
    """What the names cost, and what more the numbers in them cost if the order of use is not known."""
    labels, slot_labels = [unit.label for unit in units], [slot.label for slot in slots]
    same = likeness(labels, slot_labels)
    for others in _variants(units):
        for slot_others in _variants(slots):
            if others != labels or slot_others != slot_labels:
                same = np.maximum(same, likeness(others, slot_others))
    numbers = 1 - likeness_of_numbers(labels, slot_labels)
    # Cubed, because words that are half the same are often so by chance.
    names = NAMES * (1 - same**3) + NUMBERS * numbers
    more = numbers + _by_number(labels, slot_labels) if is_unknown else np.zeros_like(numbers)
    return names, more


def _variants(items: Sequence[Unit] | Sequence[Slot]) -> list[list[str]]:
    """The labels of some items, and as often again the other names that they may have."""
    labels = [item.label for item in items]
    others = [
        [(*item.also, *[item.label] * (number + 1))[number] for item in items]
        for number in range(max(len(item.also) for item in items))
    ]
    return [labels, *others]


def _elsewhere(units: Sequence[Unit], slots: Sequence[Slot]) -> Float[np.ndarray, "N M"]:
    """Where a unit or a slot has the path and shape of another slot or unit than its own."""
    slot_labels = [slot.label for slot in slots]
    equal = np.zeros((len(units), len(slots)), bool)
    for labels in _variants(units):
        equal |= equal_paths(labels, slot_labels)
    equal &= np.array([[unit.shape == slot.shape for slot in slots] for unit in units])
    has_other = np.logical_or.outer(equal.any(axis=1), equal.any(axis=0))
    return np.where(equal, 0.0, has_other.astype(float))


def _namesakes(units: Sequence[Unit], slots: Sequence[Slot], pricing: Pricing) -> dict[int, int]:
    """The units whose slot their name says, by place, where that fits."""
    found = namesakes(
        [Named(unit.label, unit.shape, _is_array(unit)) for unit in units],
        [Named(slot.label, slot.shape, _is_array(slot)) for slot in slots],
    )
    fits = {i: pricing.fit(pricing.of_unit(units[i]), pricing.of_slot(slots[j])) for i, j in found.items()}
    return {i: j for i, j in found.items() if fits[i] < STATED}


def _is_array(item: Unit | Slot) -> bool:
    """Whether an item is a whole array, no part and no sum of several."""
    if isinstance(item, Slot):
        return not item.put
    return len(item.pieces) == 1 and not item.pieces[0].take


def _against(
    units: Sequence[int], slots: Sequence[int], partners: dict[int, int]
) -> Float[np.ndarray, "N M"]:
    """Where a pair would part a unit or a slot from its namesake; all by place."""
    taken = set(partners.values())
    apart = [[(i in partners or j in taken) and partners.get(i) != j for j in slots] for i in units]
    return np.array(apart, float)


def _other_layers(
    layers: Sequence[Mapping[int, Collection[int]]], slots: Sequence[Slot], lengths: Mapping[str, int]
) -> Float[np.ndarray, "N M"]:
    """Where a name counts as many layers as a stack has, and is of another one than the slot."""
    return np.array(
        [
            [
                slot.depth >= 0 and slot.depth not in own.get(lengths[slot.home], (slot.depth,))
                for slot in slots
            ]
            for own in layers
        ],
        float,
    )


def _is_matrix(item: Unit | Slot) -> bool:
    return len(squeeze(item.shape)) > 1


def _is_whole(item: Unit | Slot) -> bool:
    """Whether an item is no part of a pack, whose parts are all used at once."""
    blocks = (piece.take for piece in item.pieces) if isinstance(item, Unit) else (item.put,)
    return not any(isinstance(at, slice) for block in blocks for at in block)


def _is_weight(item: Unit | Slot) -> bool:
    return item.role[0] == "weight"


def _is_any(item: Unit | Slot) -> bool:
    return True


def _components(
    table: dict[tuple[Sort, Sort], float], sorts: Sequence[Sort], slot_sorts: Sequence[Sort]
) -> tuple[dict[Sort, int], dict[Sort, int]]:
    """A number for each sort of unit and of slot, the same for all that are connected by what fits."""
    rows = {u: i for i, u in enumerate(dict.fromkeys(sorts))}
    columns = {s: len(rows) + i for i, s in enumerate(dict.fromkeys(slot_sorts))}
    labels = connected(len(rows) + len(columns), [(rows[u], columns[s]) for u, s in table])
    return {u: labels[i] for u, i in rows.items()}, {s: labels[i] for s, i in columns.items()}


def connected(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """A number for each of some nodes, the same for all that hang together.

    >>> connected(4, [(0, 2)])
    [0, 1, 0, 2]

    Args:
        count: how many nodes there are.
        edges: pairs of them.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ends = np.array(edges, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(count, count))
    return [int(label) for label in connected_components(graph, directed=False)[1]]


def _cheapest(
    costs: Float[np.ndarray, "N M"],
    names: Float[np.ndarray, "N M"],
) -> tuple[list[tuple[int, int]], list[tuple[int, int, float]]]:
    """The pairs of least cost, and which two of them could be exchanged for a slight cost."""
    from scipy.optimize import linear_sum_assignment

    never = 1e6
    finite = np.where(np.isfinite(costs), costs, never)
    rows, columns = linear_sum_assignment(finite)
    keep = finite[rows, columns] < never
    rows, columns = rows[keep], columns[keep]
    extra, said = (_crossed(part[np.ix_(rows, columns)]) for part in (finite, names))
    clear = names[rows, columns] < NAMES / 2
    silent = (said <= SAID) | ~(clear[:, None] | clear[None, :])
    ties = np.argwhere(np.triu((extra <= MARGIN) | ((extra <= WEAK) & silent), 1))
    found = [(int(i), int(j)) for i, j in zip(rows, columns, strict=True)]
    return found, [(int(a), int(b), float(extra[a, b])) for a, b in ties]


def _crossed(costs: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """What it costs more if two pairs, which are the diagonal, are exchanged."""
    now = np.diag(costs)
    extra: Float[np.ndarray, "K K"] = costs + costs.T - now[:, None] - now[None, :]
    return extra


def _by_number(labels: Sequence[str], slot_labels: Sequence[str]) -> Float[np.ndarray, "N M"]:
    """What it costs that the ranks of two names among those of their kind differ, at most one."""
    off = np.abs(np.array(ranks(labels))[:, None] - np.array(ranks(slot_labels))[None, :])
    costs: Float[np.ndarray, "N M"] = np.minimum(1.0, 0.5 * off)
    return costs


def _strays(
    owners: Sequence[str], slot_owners: Sequence[str], known: dict[str, set[str]]
) -> Float[np.ndarray, "N M"]:
    """Where the module of a tensor was matched with others than the module of a leaf."""
    astray = [[own in known and other not in known[own] for other in slot_owners] for own in owners]
    return np.array(astray, float)
