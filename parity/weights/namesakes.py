"""Namesakes: weights that bear the same path on both sides, each framework's spelling aside.

Where all weights that could be taken for each other have a namesake, their names are what the author says of
them, and the order of use is no evidence against it: a port that applies `conv2` before `conv1` has a fault.
Where one of them has none, as with automatic names or numbers that start elsewhere, names say little.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from parity.weights.names import plain_name, role
from parity.weights.reshapes import squeeze
from parity.weights.transfer import Shape

ROLE_LETTERS = {"w": "weight", "b": "bias"}
"""What Haiku calls the arrays of a layer."""


class Named(NamedTuple):
    """What decides whether an array has a namesake.

    Attributes:
        name: name of a tensor, or path of a leaf.
        shape: its shape.
        is_whole: whether it is a whole array, neither a part of a pack nor a layer of a stack.
    """

    name: str
    shape: Shape
    is_whole: bool = True


def spelled(name: str) -> tuple[str, ...]:
    """The path of an array, equal where frameworks spell the same path in their ways.

    >>> spelled("layers.0.norm1.weight") == spelled("params/layers_0/norm1/scale")
    True
    >>> spelled("conv1.weight") == spelled("Conv_0/kernel")
    False

    Args:
        name: name of a tensor, or path of a leaf.

    Returns:
        The parts of the path, numbers apart, and the role of the array.
    """
    *path, last = [part for part in plain_name(name).split(".") if part != "~"]
    meaning, is_sure = role(last)
    if is_sure and re.fullmatch(r"(running_)?[a-z]+", last):
        last = meaning
    elif path:
        last = ROLE_LETTERS.get(last, last)
    return (*(word for part in path for word in part.split("_")), last)


def namesakes(tensors: Sequence[Named], leaves: Sequence[Named]) -> dict[int, int]:
    """The tensors whose leaf their name says, by place: place in `tensors` -> place in `leaves`.

    >>> both = [Named("w1", (2, 3)), Named("w3", (2, 3))]
    >>> namesakes(both, both[::-1]), namesakes(both, [Named("w1", (3, 2)), Named("w2", (3, 2))])
    ({0: 1, 1: 0}, {})

    Args:
        tensors: all tensors.
        leaves: all leaves.

    Returns:
        The pairs, of all arrays of the same lengths and role or of none of them.
    """
    groups, leaf_groups = _groups(tensors), _groups(leaves)
    found: dict[int, int] = {}
    for key, places in groups.items():
        others = leaf_groups.get(key, [])
        named = {spelled(tensors[place].name): place for place in places}
        leaf_named = {spelled(leaves[place].name): place for place in others}
        is_whole = all(tensors[i].is_whole for i in places) and all(leaves[j].is_whole for j in others)
        if is_whole and named.keys() == leaf_named.keys() and len(places) == len(others) == len(named):
            found |= {place: leaf_named[path] for path, place in named.items()}
    return found


def _groups(arrays: Iterable[Named]) -> dict[tuple[tuple[int, ...], str], list[int]]:
    """The places of arrays that could be taken for each other: of one role and the same lengths, sorted."""
    groups: dict[tuple[tuple[int, ...], str], list[int]] = {}
    for place, array in enumerate(arrays):
        key = tuple(sorted(squeeze(array.shape))), role(array.name)[0]
        groups.setdefault(key, []).append(place)
    return groups
