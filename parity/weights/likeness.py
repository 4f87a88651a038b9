"""How similar the names of two sides are: in words, in numbers, as paths."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from parity.weights.names import plain_name, words

COMMON = 0.05
"""Weight of a word that all names have."""


def likeness(first: Sequence[str], second: Sequence[str]) -> Float[np.ndarray, "N M"]:
    """How similar the words of names are: the weighted share of common words.

    The fewer names have a word, the more it weighs.

    Args:
        first: N names.
        second: M names.

    Returns:
        Of each pair the similarity, 0 to 1.
    """
    return _overlap(*([{w for w in words(n) if not w.isdigit()} for n in side] for side in (first, second)))


def likeness_of_numbers(first: Sequence[str], second: Sequence[str]) -> Float[np.ndarray, "N M"]:
    """How similar the numbers in names are, each counted by its rank among numbers in the same place.

    Args:
        first: N names.
        second: M names.

    Returns:
        Of each pair the similarity, 0 to 1.
    """
    return _overlap(_numbers(first), _numbers(second))


def equal_paths(first: Sequence[str], second: Sequence[str]) -> Bool[np.ndarray, "N M"]:
    """Which names are the same path, however its parts are joined.

    Args:
        first: N names.
        second: M names.

    Returns:
        Of each pair whether the paths are equal.
    """
    places: dict[str, list[int]] = {}
    for place, name in enumerate(second):
        places.setdefault(plain_name(name), []).append(place)
    equal: Bool[np.ndarray, "N M"] = np.zeros((len(first), len(second)), bool)
    for row, name in enumerate(first):
        equal[row, places.get(plain_name(name), [])] = True
    return equal


def _overlap(first: Sequence[set[str]], second: Sequence[set[str]]) -> Float[np.ndarray, "N M"]:
    rare: dict[str, float] = {}
    for side in (first, second):
        for word, number in Counter(word for name in side for word in name).items():
            rare[word] = max(rare.get(word, 0.0), math.log(len(side) / number) + COMMON)
    places = {word: place for place, word in enumerate(rare)}

    def table(names: Sequence[set[str]]) -> Float[np.ndarray, "N W"]:
        rows = np.zeros((len(names), len(places)))
        for row, name in zip(rows, names, strict=True):
            for word in name:
                row[places[word]] = math.sqrt(rare[word])
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        scaled: Float[np.ndarray, "N W"] = rows / np.maximum(lengths, 1e-9)
        return scaled

    product: Float[np.ndarray, "N M"] = table(first) @ table(second).T
    return product


def _numbers(names: Sequence[str]) -> list[set[str]]:
    """Of each number in each name its level and its rank among numbers of that level, as `1:0`."""
    found = [words(name) for name in names]
    values: dict[tuple[str, int], set[int]] = {}
    patterns = ["/".join("#" if word.isdigit() else word for word in name) for name in found]
    for pattern, name in zip(patterns, found, strict=True):
        for level, number in enumerate(word for word in name if word.isdigit()):
            values.setdefault((pattern, level), set()).add(int(number))
    order = {key: {value: rank for rank, value in enumerate(sorted(own))} for key, own in values.items()}
    return [
        {
            f"{level}:{order[pattern, level][int(number)]}"
            for level, number in enumerate(word for word in name if word.isdigit())
        }
        for pattern, name in zip(patterns, found, strict=True)
    ]
