"""What the parts of a packed array may be called: query, key and value, or gates."""

from collections.abc import Sequence

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
