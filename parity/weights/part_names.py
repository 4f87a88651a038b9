"""What the parts of a packed array may be called: query, key and value, or gates."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from parity.weights.layer_kinds import KINDS, kind_of
from parity.weights.names import owner, words
from parity.weights.recurrent import INPUT, RECURRENT
from parity.weights.units import Slot


def part_names(slot: Slot, count: int) -> Sequence[str]:
    """What the parts of a packed array are called, in their usual order.

    Args:
        slot: the array.
        count: the number of its parts.

    Returns:
        A word for each part.
    """
    said = set(words(slot.label))
    kind = kind_of(slot.layer)
    if kind is not None and len(kind.parts) == count:
        return kind.parts
    if count == 3:
        return ("query", "key", "value")
    if count == 2 and said & {"kv", "keyvalue"}:
        return ("key", "value")
    if count == 2 and "gate" in said:
        return ("gate", "up")
    return [f"part{index}" for index in range(count)]


def spelling_words(names: Iterable[str]) -> frozenset[str]:
    """The words of which an array that packs some others may be named: each is of one module's name alone.

    >>> sorted(spelling_words(["0.q_proj.weight", "1.q_proj.weight", "0.k_proj.weight"]))
    ['key', 'query']

    Args:
        names: names of arrays.

    Returns:
        The words.
    """
    modules = {frozenset(_own_words(name)) for name in names}
    number = Counter(word for own in modules for word in own)
    return frozenset(word for word, count in number.items() if count == 1)


def spelled(name: str, known: Collection[str]) -> int:
    """How many words an array's name puts together; 0 if it does not.

    >>> known = {"query", "key", "value", "gate", "up"}
    >>> spelled("0/qkv/kernel", known), spelled("0/gate_up_proj/kernel", known), spelled("0/up/bias", known)
    (3, 2, 0)

    Args:
        name: the name.
        known: words, as `spelling_words` gives them.
    """
    count = sum(1 if word in known else _pieces(word, known) for word in _own_words(name))
    return count if count > 1 else 0


def _own_words(name: str) -> list[str]:
    """The words of the last part of a name that says more than a role."""
    for part in reversed(re.split(r"[./]", name)):
        if own := [word for word in words(part) if not word.isdigit()]:
            return own
    return []


def _pieces(word: str, known: Collection[str]) -> int:
    """Of how many known words a word is made; 0 if it is not."""
    for end in range(len(word), 0, -1):
        if set(words(word[:end])) & set(known):
            if end == len(word):
                return 1
            if rest := _pieces(word[end:], known):
                return 1 + rest
    return 0


def _gate_names(slot: Slot, count: int) -> list[tuple[str, ...]]:
    """What each part is called if the parts are gates: "ii" or "hi" by its side, or "i"."""
    gates = next((kind.gates for kind in KINDS if len(kind.gates) == count), "")
    said = set(words(slot.label))
    sides = "i" if said & set(INPUT) else "h" if said & set(RECURRENT) else "hi"
    return [(*(f"{side}{gate}" for side in sides), gate) for gate in gates] or [()] * count


def with_gate_names(pack: tuple[Slot, ...], slot: Slot) -> tuple[Slot, ...]:
    """The parts of an array, which may have the names of gates too.

    Args:
        pack: the parts.
        slot: the array.

    Returns:
        The parts with these names as further ones.
    """
    return tuple(
        part._replace(also=tuple(inside(slot.label, name) for name in names))
        for part, names in zip(pack, _gate_names(slot, len(pack)), strict=True)
    )


def inside(label: str, word: str) -> str:
    """A label with a word put before its last part.

    >>> inside("attn.weight", "query"), inside("attn/qkv/kernel", "key")
    ('attn.query.weight', 'attn/qkv/key/kernel')

    Args:
        label: the label.
        word: the word.

    Returns:
        The new label.
    """
    place = len(owner(label))
    separator = "/" if "/" in label else "."
    return f"{label[:place]}{separator if place else ''}{word}{separator}{label[place:].lstrip('./')}"
