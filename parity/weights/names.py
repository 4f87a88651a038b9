"""What a name says: the role of its array, the words and the module of its path.

Names are evidence, never proof: a role or a word that fits makes a pair cheaper, and a name that says nothing
costs nothing. Numbers count by their rank among the names they stand with, so that `0, 2, 4` and `1, 2, 3`
are the same three layers. The alphabet is no evidence at all.
"""

import itertools
import re
from collections import defaultdict
from collections.abc import Sequence

ROLES = {
    "weight": ("weight", "kernel", "scale", "embedding", "gamma"),
    "bias": ("bias", "beta", "offset", "shift"),
    "mean": ("mean",),
    "variance": ("var", "variance"),
}
"""The role that the last part of a name gives to an array."""

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

_CANONICAL = {word: one for one, others in SAME.items() for word in others.split()}
_ROLE_OF = {word: kind for kind, words in ROLES.items() for word in words}


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key in which `layers_2` comes before `layers_10`.

    Args:
        name: the name.

    Returns:
        The key.
    """
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
    own = re.findall(r"[a-z]+", parts[-1])
    letter = re.match(r"([wgb])(?:[qkvoihx]|_.*)?\d*$", parts[-1]) or re.search(r"_([wgb])\d*$", parts[-1])
    if letter and own[-1] not in _ROLE_OF:  # of a layer called `mean`, `w` is the weight
        return LETTERS[letter[1]], False
    for word in reversed(own):
        if word in _ROLE_OF:
            return _ROLE_OF[word], True
    for word in re.findall(r"[a-z]+", parts[-2] if len(parts) > 1 else ""):
        if _ROLE_OF.get(word) in ("mean", "variance"):  # Haiku's `mean_ema/average`
            return _ROLE_OF[word], True
    return "", False


def owner(name: str) -> str:
    """The path of the module that owns an array: everything but the last part.

    Args:
        name: name of an array.

    Returns:
        The path, "" for an array of the model itself.
    """
    return name[: max(name.rfind("."), name.rfind("/"), 0)]


def module(path: str) -> str:
    """The owner of a leaf, without the collection: Flax keeps a module's weights and statistics apart.

    >>> module("batch_stats/BatchNorm_0/mean"), module("params/BatchNorm_0/scale"), module("block/scale")
    ('BatchNorm_0', 'BatchNorm_0', 'block')

    Args:
        path: path of a leaf.

    Returns:
        The path of its module, parts joined by slashes.
    """
    return "/".join(_without_collection(owner(path).split("/")))


def last_word(name: str) -> str:
    """The last part of a name, such as "kernel".

    Args:
        name: name of an array.

    Returns:
        The part after the last dot or slash.
    """
    return re.split(r"[./]", name)[-1]


def plain_name(name: str) -> str:
    """A name with dots between its parts and without its collection: equal for equal paths.

    >>> plain_name("params/layers/0/kernel"), plain_name("layers.0.kernel")
    ('layers.0.kernel', 'layers.0.kernel')

    Args:
        name: name of an array.

    Returns:
        The plain_name name.
    """
    return ".".join(_without_collection(re.split(r"[./]", name)))


def _without_collection(parts: Sequence[str]) -> list[str]:
    return [part for place, part in enumerate(parts) if place > 1 or part not in COLLECTIONS]


def words(name: str) -> list[str]:
    """The words and numbers of a path, without the words for its role, synonyms as one.

    >>> words("layers.2.attn.q_proj.weight"), words("Conv2d_1/kernel"), words("wq")
    (['layers', '2', 'attention', 'query', 'proj'], ['conv', '1'], ['query'])

    Args:
        name: name of an array.

    Returns:
        The words, in order.
    """
    found = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", re.sub(r"\d[dD](?![a-z])", "", name))
    found = [word.lower() for word in found]
    last = re.split(r"[./]", name)[-1].lower()
    found = [re.sub(r"^[wb](?=[qkvoihx]$)", "", word) for word in found]
    kept = [word for word in found if not (word in _ROLE_OF and word in last) and word not in LETTERS]
    return [_CANONICAL.get(word, word) for word in kept]


def layers_in(
    names: Sequence[str], moments: Sequence[tuple[float, ...] | None] = ()
) -> list[dict[int, set[int]]]:
    """Of how many layers each array is of which, as the names count them.

    >>> layers_in(["h.2.fc.weight", "h.4.fc.weight", "h.7.fc.weight", "head.weight"])
    [{3: {0}}, {3: {1}}, {3: {2}}, {}]

    Args:
        names: names of arrays.
        moments: when each is used first: layers come in this order, and by number where it is not known.

    Returns:
        Of each name: number of layers -> those that it may be of, more than one if it has several numbers.
    """
    seen: dict[str, dict[int, list[tuple[float, ...] | None]]] = defaultdict(lambda: defaultdict(list))
    numbers: list[list[tuple[str, int]]] = []
    for name, moment in itertools.zip_longest(names, moments):
        parts = re.split(r"[./]", name)
        own = [(".".join(parts[:i]), int(part)) for i, part in enumerate(parts) if part.isdecimal()]
        numbers.append(own)
        for above, number in own:
            seen[above][number].append(moment)
    rank: dict[str, dict[int, int]] = {}
    for above, layers in seen.items():
        first = {n: min((m for m in own if m is not None), default=None) for n, own in layers.items()}
        known = {n: moment for n, moment in first.items() if moment is not None}
        order = sorted(layers) if len(known) < len(layers) else sorted(layers, key=known.__getitem__)
        rank[above] = {number: place for place, number in enumerate(order)}
    found: list[dict[int, set[int]]] = []
    for own in numbers:
        of: dict[int, set[int]] = defaultdict(set)
        for above, number in own:
            if len(rank[above]) > 1:
                of[len(rank[above])].add(rank[above][number])
        found.append(dict(of))
    return found


def without_numbers(name: str) -> str:
    """What names have in common that differ in numbers alone, as those of layers do.

    >>> without_numbers("layers.10.fc2.weight")
    'layers.#.fc#.weight'

    Args:
        name: name of a tensor, or path of a leaf.
    """
    return re.sub(r"\d+", "#", name)


def ranks(names: Sequence[str]) -> list[int]:
    """The index of each name among those that differ from it in numbers alone.

    >>> ranks(["a.2.w", "a.10.w", "b", "a.4.w"])
    [0, 2, 0, 1]

    Args:
        names: the names.

    Returns:
        An index for each.
    """
    families: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        families.setdefault(without_numbers(name), []).append(name)
    place = {n: i for family in families.values() for i, n in enumerate(sorted(family, key=natural))}
    return [place[name] for name in names]
