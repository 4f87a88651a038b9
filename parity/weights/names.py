"""What names say: a tensor's role, the words of its path, and how alike two paths are.

Names are evidence, never proof: a role or a word that fits makes a pair cheaper, and a name that says nothing
costs nothing. Numbers count by their rank among the names they stand with, so that `0, 2, 4` and `1, 2, 3`
are the same three layers. The alphabet is no evidence at all.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

ROLES = {
    "weight": ("weight", "kernel", "scale", "embedding", "gamma"),
    "bias": ("bias", "beta", "offset", "shift"),
    "mean": ("mean",),
    "variance": ("var", "variance"),
}
"""What the last part of a name says about a tensor's role."""

LETTERS = {"w": "weight", "g": "weight", "b": "bias"}
"""The same of single letters, which may also mean nothing."""

SAME = {
    "attention": "attn att mha",
    "backward": "reverse bwd bw back",
    "conv": "convolution convolutional",
    "decoder": "dec",
    "dense": "fc linear lin",
    "embed": "emb embedding embeddings embedder wte",
    "encoder": "enc",
    "forward": "fwd fw",
    "head": "classifier cls logits",
    "input": "in inputs x inp",
    "key": "k",
    "norm": "ln layernorm bn batchnorm gn groupnorm rmsnorm",
    "out": "o output",
    "position": "pos positional positions wpe",
    "proj": "projection",
    "query": "q",
    "shortcut": "downsample skip residual",
    "token": "tok tokens word words",
    "value": "v",
}
"""Words that people use for the same thing."""

COLLECTIONS = ("params", "batch_stats", "state", "buffers")
"""Words that say what kind of weights a tree holds, not which module."""

COMMON = 0.05
"""Weight of a word that all names have."""

_CANONICAL = {word: one for one, others in SAME.items() for word in others.split()}
_ROLE_OF = {word: kind for kind, words in ROLES.items() for word in words}


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which `layers_2` comes before `layers_10`."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def role(name: str) -> tuple[str, bool]:
    """The role that a name gives to an array, and whether it does so in words.

    >>> role("bn.running_mean"), role("block/w1"), role("cls_token")
    (('mean', True), ('weight', False), ('', False))

    Args:
        name: name of a tensor, or path of a leaf.

    Returns:
        "weight", "bias", "mean", "variance" or "", and False if a single letter says so.
    """
    parts = re.split(r"[./]", name.lower())
    for word in reversed(re.findall(r"[a-z]+", parts[-1])):
        if word in _ROLE_OF:
            return _ROLE_OF[word], True
    for word in re.findall(r"[a-z]+", parts[-2] if len(parts) > 1 else ""):
        if _ROLE_OF.get(word) in ("mean", "variance"):  # Haiku's `mean_ema/average`
            return _ROLE_OF[word], True
    letter = re.match(r"([wgb])(?:[qkvoihx]|_.*)?\d*$", parts[-1]) or re.search(r"_([wgb])\d*$", parts[-1])
    return (LETTERS[letter[1]], False) if letter else ("", False)


def owner(name: str) -> str:
    """The path of the module that owns a tensor: everything but the last part."""
    return name[: max(name.rfind("."), name.rfind("/"), 0)]


def module(path: str) -> str:
    """The owner of a leaf, without the collection: Flax keeps a module's weights and statistics apart.

    >>> module("batch_stats/BatchNorm_0/mean"), module("params/BatchNorm_0/scale"), module("block/scale")
    ('BatchNorm_0', 'BatchNorm_0', 'block')
    """
    return "/".join(_without_collection(owner(path).split("/")))


def last_word(name: str) -> str:
    """The last part of a name, such as "kernel"."""
    return re.split(r"[./]", name)[-1]


def normalised(name: str) -> str:
    """A name with dots between its parts and without its collection: equal for equal paths.

    >>> normalised("params/layers/0/kernel"), normalised("layers.0.kernel")
    ('layers.0.kernel', 'layers.0.kernel')
    """
    return ".".join(_without_collection(re.split(r"[./]", name)))


def _without_collection(parts: Sequence[str]) -> list[str]:
    return [part for place, part in enumerate(parts) if place > 1 or part not in COLLECTIONS]


def words(name: str) -> list[str]:
    """The words and numbers of a path, without the words for its role, synonyms as one.

    >>> words("layers.2.attn.q_proj.weight"), words("Conv2d_1/kernel"), words("wq")
    (['layers', '2', 'attention', 'query', 'proj'], ['conv', '1'], ['query'])
    """
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", re.sub(r"\d[dD](?![a-z])", "", name))
    found = [word.lower() for word in found]
    last = re.split(r"[./]", name)[-1].lower()
    found = [re.sub(r"^[wb](?=[qkvoihx]$)", "", word) for word in found]
    kept = [word for word in found if not (word in _ROLE_OF and word in last) and word not in LETTERS]
    return [_CANONICAL.get(word, word) for word in kept]


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
        places.setdefault(normalised(name), []).append(place)
    equal: Bool[np.ndarray, "N M"] = np.zeros((len(first), len(second)), bool)
    for row, name in enumerate(first):
        equal[row, places.get(normalised(name), [])] = True
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


def ranks(names: Sequence[str]) -> list[int]:
    """The index of each name among those that differ from it in numbers alone.

    >>> ranks(["a.2.w", "a.10.w", "b", "a.4.w"])
    [0, 2, 0, 1]
    """
    families: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        families.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    place = {n: i for family in families.values() for i, n in enumerate(sorted(family, key=natural))}
    return [place[name] for name in names]


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
