"""Which unit goes to which slot: the pairs of least cost, and the pairs that could as well be exchanged.

Shape and layer kind decide what fits at all. Among what fits the evidence adds up: roles, words of the names,
the order of first use (or, where that is not known, of the numbers in names), and the module that a tensor's
weight went to. Units and slots are paired per connected component of what fits: matrices first, then other
weights, then the rest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from parity.weights.layouts import squeeze
from parity.weights.names import alike, alike_in_number, module, owner, ranks
from parity.weights.ordering import Anchors, out_of_order, slot_times, unit_times
from parity.weights.pricing import fitting, kind_of_slot, kind_of_unit
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


class Exchange(NamedTuple):
    """Two pairs, by their places in the list of pairs, that could be exchanged for a slight cost."""

    first: int
    second: int
    cost: float


def assign(units: Sequence[Unit], slots: Sequence[Slot]) -> tuple[list[tuple[int, int]], list[Exchange]]:
    """The pairs (place in `units`, place in `slots`), and what could be exchanged among them."""
    pairs: list[tuple[int, int]] = []
    exchanges: list[Exchange] = []
    kinds = [kind_of_unit(unit) for unit in units]
    jax_kinds = [kind_of_slot(slot) for slot in slots]
    table = {(u, s): cost for u, s, cost in fitting(set(kinds), set(jax_kinds))}
    components = _components(table, kinds, jax_kinds)
    times, jax_times = unit_times(units), slot_times(slots)
    owners: dict[str, set[str]] = {}
    for is_now in (_is_matrix, _is_weight, _is_any):
        anchors = Anchors.of(
            [(times[i], jax_times[j]) for i, j in pairs if _is_whole(units[i]) and _is_whole(slots[j])]
        )
        done, jax_done = {i for i, _ in pairs}, {j for _, j in pairs}
        rows: dict[int, list[int]] = {}
        columns: dict[int, list[int]] = {}
        for i, unit in enumerate(units):
            if i not in done and is_now(unit):
                rows.setdefault(components[0][kinds[i]], []).append(i)
        for j, slot in enumerate(slots):
            if j not in jax_done and is_now(slot):
                columns.setdefault(components[1][jax_kinds[j]], []).append(j)
        for component in rows.keys() & columns.keys():
            own, theirs = rows[component], columns[component]
            costs = np.array([[table.get((kinds[i], jax_kinds[j]), np.inf) for j in theirs] for i in own])
            labels, jax_labels = [units[i].label for i in own], [slots[j].label for j in theirs]
            same = alike(labels, jax_labels)
            for number in range(max(len(units[i].also) for i in own)):
                others = [(*units[i].also, *[units[i].label] * (number + 1))[number] for i in own]
                same = np.maximum(same, alike(others, jax_labels))
            now, jax_now = [times[i] for i in own], [jax_times[j] for j in theirs]
            costs += out_of_order(now, jax_now, anchors)
            unknown = None in now or None in jax_now
            # Cubed, because words that are half the same are often so by chance.
            names = NAMES * (1 - same**3)
            numbers = 1 - alike_in_number(labels, jax_labels)
            names += NUMBERS * numbers
            costs += names + (numbers + _by_number(labels, jax_labels) if unknown else 0.0)
            costs += STRAY * _strays(
                [owner(units[i].label) for i in own], [module(slots[j].label) for j in theirs], owners
            )
            found, ties = _cheapest(costs, names)
            start = len(pairs)
            pairs += [(own[i], theirs[j]) for i, j in found]
            exchanges += [Exchange(start + a, start + b, extra) for a, b, extra in ties]
        for i, j in pairs:
            if owner(units[i].label) and module(slots[j].label):
                owners.setdefault(owner(units[i].label), set()).add(module(slots[j].label))
    return pairs, exchanges


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
    table: dict[tuple[Any, Any], float], ours: Sequence[Any], theirs: Sequence[Any]
) -> tuple[dict[Any, int], dict[Any, int]]:
    """A number for each kind of unit and of slot, the same for all that are connected by what fits."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    kinds = {u: i for i, u in enumerate(dict.fromkeys(ours))}
    jax_kinds = {s: len(kinds) + i for i, s in enumerate(dict.fromkeys(theirs))}
    edges = [(kinds[u], jax_kinds[s]) for u, s in table]
    size = len(kinds) + len(jax_kinds)
    ends = np.array(edges, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges)), (ends[0], ends[1])), shape=(size, size))
    labels = connected_components(graph, directed=False)[1]
    return {u: int(labels[i]) for u, i in kinds.items()}, {s: int(labels[i]) for s, i in jax_kinds.items()}


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


def _by_number(labels: Sequence[str], jax_labels: Sequence[str]) -> Float[np.ndarray, "N M"]:
    """What it costs that the numbers in two names are not the how-manieth of their kind, at most one."""
    off = np.abs(np.array(ranks(labels))[:, None] - np.array(ranks(jax_labels))[None, :])
    costs: Float[np.ndarray, "N M"] = np.minimum(1.0, 0.5 * off)
    return costs


def _strays(
    owners: Sequence[str], jax_owners: Sequence[str], known: dict[str, set[str]]
) -> Float[np.ndarray, "N M"]:
    """Where the module of a tensor was matched with others than the module of a leaf."""
    return np.array([[own in known and jax not in known[own] for jax in jax_owners] for own in owners], float)
