"""What may be exchanged, told apart at once: by gradients where all that is open holds the same numbers.

Where the units that names leave open are levelled, each set to their mean, every assignment of them to slots
gives the two sides the same function. There a unit and a slot that belong together have the same gradient,
whatever the others do: one run of either side pairs them all up. Those whose gradients are the same there, as
of the heads of a layer, are levelled again among themselves. If nothing tells them apart any more, one
assignment is as good as another: one pair is settled so, and by it the others can be told apart.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from parity.numerics.arrays import Arrays
from parity.weights.assigning import Exchange, connected
from parity.weights.evidence import Known, Signature
from parity.weights.matches import Match, by_convention, matched
from parity.weights.names import last_word, module, owner
from parity.weights.pricing import Pricing
from parity.weights.transfer import Transfer

ROUNDS = 12
"""How often both sides are run at most."""

SAME = 1e-8
"""Gradients that differ by less than this, relative to the largest of their cluster, are the same."""

Level = Callable[[Arrays], Arrays]
"""From tensors by name to levelled ones."""

Gradients = Callable[[list[Match], Level], tuple[Arrays, Arrays] | None]
"""The gradients of tensors and of leaves, by name, with some matches and levelled tensors; None where the
two sides cannot be differentiated."""

Cluster = tuple[int, ...]
"""Matches, by place, whose units could as well be in each other's slots."""


def told_apart(
    matches: list[Match], ties: Iterable[Exchange], gradients: Gradients, tensors: Known, pricing: Pricing
) -> list[Match]:
    """The matches with the units that could be exchanged in the slots whose gradients are theirs.

    Args:
        matches: all matches.
        ties: which of them could be exchanged.
        gradients: runs both sides.
        tensors: all tensors by name.
        pricing: what fits where.

    Returns:
        The matches; those given if no run can tell.
    """
    first, clusters = matches, _clusters(matches, ties)
    told = {place for cluster in clusters for place in cluster}
    for _ in range(ROUNDS):
        if not clusters:
            break
        level = functools.partial(_levelled, matches=matches, clusters=clusters, tensors=tensors)
        found = gradients(matches, level)
        if found is None:
            break
        before, clusters, matches = clusters, [], list(matches)
        for cluster in before:
            paired, parts = _paired([matches[place] for place in cluster], *found, tensors, pricing)
            for place, match in zip(cluster, paired, strict=True):
                matches[place] = match
            clusters += [tuple(cluster[number] for number in part) for part in parts if len(part) > 1]
        if clusters == before:  # nothing tells them apart: any pair is as good as another
            one, *rest = clusters
            clusters = [one[1:], *rest] if len(one) > 2 else rest
    return by_convention(_followed(first, matches, told, pricing))


def _followed(
    before: Sequence[Match], after: Sequence[Match], told: Collection[int], pricing: Pricing
) -> list[Match]:
    """The matches after some were told apart; what stood beside a unit in its module goes where it went.

    A norm's bias follows its scale: no gradient was asked about it.
    """
    moved = {
        (owner(one.unit.label), module(one.slot.label)): module(other.slot.label)
        for place in told
        if (one := before[place]).slot.label != (other := after[place]).slot.label
    }
    slots = {(module(match.slot.label), last_word(match.slot.label)): match.slot for match in before}
    changed = list(after)
    for place, match in enumerate(after):
        where = moved.get((owner(match.unit.label), module(match.slot.label)))
        slot = None if where is None else slots.get((where, last_word(match.slot.label)))
        if place not in told and slot is not None:
            changed[place] = matched(match.unit, slot, pricing)
    is_whole = {match.slot.label for match in changed} == {match.slot.label for match in after}
    return changed if is_whole and all(match.ways for match in changed) else list(after)


def _clusters(matches: Sequence[Match], ties: Iterable[Exchange]) -> list[Cluster]:
    """What hangs together by exchanges and has one shape and layout on either side."""
    hangs = connected(len(matches), [(tie.first, tie.second) for tie in ties])
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, (match, number) in enumerate(zip(matches, hangs, strict=True)):
        way = match.ways[0]
        form = match.unit.shape, match.slot.shape, way.view, way.axes, way.flip
        groups.setdefault((number, *form), []).append(place)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _into_slot(match: Match, tensors: Known) -> list[Transfer]:
    """The transfers of a match into an array that is its slot alone."""
    alone = match._replace(slot=match.slot._replace(put=()))
    return list(alone.transfers(tensors, {match.slot.path: Signature(match.slot.shape)}))


def _levelled(
    given: Arrays, matches: Sequence[Match], clusters: Iterable[Cluster], tensors: Known
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Tensors with which every slot of a cluster gets the mean of what the cluster's slots get as it is."""
    names = {piece.name for cluster in clusters for place in cluster for piece in matches[place].unit.pieces}
    new = {**given, **{name: given[name].astype(_wide(given[name])) for name in names}}
    for cluster in clusters:
        own = [_into_slot(matches[place], tensors) for place in cluster]
        held = [_filled(transfers, new) for transfers in own]
        mean = np.mean([value for value, _ in held], axis=0)
        if any(matches[place].undecided for place in cluster) and mean.shape == mean.T.shape:
            mean = (mean + mean.T) / 2  # whichever way it lies
        for transfers, (value, times) in zip(own, held, strict=True):
            more = (mean - value) / times
            for transfer in transfers:
                source = transfer.source(new[transfer.tensor_name])
                source += transfer.target(more).reshape(source.shape)
    return new


def _wide(array: Shaped[np.ndarray, "..."]) -> np.dtype[Any]:
    """float64, or complex128 for complex numbers."""
    return np.result_type(array, np.float64)


def _filled(
    transfers: Sequence[Transfer], tensors: Arrays
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """What the transfers of one match put into its slot, and how many of them each number is the sum of."""
    dtypes = [_wide(tensors[transfer.tensor_name]) for transfer in transfers]
    value = np.zeros(transfers[0].leaf_shape, np.result_type(*dtypes))
    times = np.zeros(transfers[0].leaf_shape)
    for transfer in transfers:
        target = transfer.target(value)
        target += transfer.source(tensors[transfer.tensor_name]).reshape(target.shape)
        transfer.target(times)[...] += 1
    return value, times


class _Pair(NamedTuple):
    """A unit in a slot: how far their gradients differ, and the match with the layout that differs least."""

    apart: float
    match: Match


def _paired(
    cluster: Sequence[Match], grads: Arrays, leaf_grads: Arrays, tensors: Known, pricing: Pricing
) -> tuple[list[Match], list[list[int]]]:
    """The matches of a cluster as gradients pair them, and which of these nothing tells apart, by number."""
    from scipy.optimize import linear_sum_assignment

    names = {piece.name for match in cluster for piece in match.unit.pieces}
    if not (names <= grads.keys() and {match.slot.path for match in cluster} <= leaf_grads.keys()):
        return list(cluster), []
    blocks = [np.asarray(leaf_grads[match.slot.path])[(*match.slot.put, ...)] for match in cluster]
    pairs = [
        [
            _pair(matched(one.unit, other.slot, pricing), grads, block, tensors)
            for other, block in zip(cluster, blocks, strict=True)
        ]
        for one in cluster
    ]
    apart = np.array([[pair.apart for pair in row] for row in pairs])
    size = max(float(np.linalg.norm(block)) for block in blocks)
    if not np.isfinite(size + apart.sum()):
        return list(cluster), []
    chosen = linear_sum_assignment(apart)[1]
    crossed = apart[:, chosen]
    now = np.diag(crossed)
    alike = crossed + crossed.T - now[:, None] - now[None, :] <= SAME * size
    labels = connected(len(cluster), [(int(a), int(b)) for a, b in np.argwhere(np.triu(alike, 1))])
    parts: dict[int, list[int]] = {}
    for number, label in enumerate(labels):
        parts.setdefault(label, []).append(number)
    return [pairs[i][j].match for i, j in enumerate(chosen)], list(parts.values())


def _pair(match: Match, grads: Arrays, block: Shaped[np.ndarray, "..."], tensors: Known) -> _Pair:
    """A match with that layout, of those that are as likely as the first, whose gradients differ least."""
    options = []
    for number, way in enumerate(match.ways[: 1 + match.undecided]):
        turned = match._replace(ways=(way, *match.ways[:number], *match.ways[number + 1 :]))
        differences = [
            float(
                np.linalg.norm(
                    t.source(grads[t.tensor_name]).reshape(t.target(block).shape) - t.target(block)
                )
            )
            for t in _into_slot(turned, tensors)
        ]
        options.append(_Pair(max(differences), turned))
    return min(options, key=lambda pair: pair.apart, default=_Pair(np.inf, match))
