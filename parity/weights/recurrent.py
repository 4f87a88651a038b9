"""PyTorch's recurrent layers: their gates, their two biases, and the forms these take in other code.

A layer of `nn.LSTM` holds `weight_ih` (4H, D) and `weight_hh` (4H, H), gates in the order i, f, g, o
(`nn.GRU`: r, z, n), and two biases of (4H,). Other cells pack the gates or hold one kernel each, and most
have one bias, which is the sum of the two. Where a GRU keeps its candidate's biases apart, inside and outside
the reset gate, they stay apart.
"""

import re
from collections.abc import Collection

from parity.weights.evidence import Known
from parity.weights.layer_kinds import LayerKind, kind_of
from parity.weights.names import owner
from parity.weights.units import PACKED, Choice, Group, Piece, Unit, taken

INPUT = ("ih", "i", "input")
RECURRENT = ("hh", "h", "recurrent", "hidden")
"""Names of the two kernels."""

SUMMED = 0.1
"""Cost of adding up two biases."""


def recurrent_groups(tensors: Known, names: Collection[str], *, is_alike: bool = False) -> list[Group[Unit]]:
    """The weights and the biases of every recurrent layer and direction.

    Args:
        tensors: all tensors by name.
        names: the tensors that are to be placed; a layer's pair is seen as one if both are.
        is_alike: whether both sides are of one framework, so that a leaf may have a tensor's own name.

    Returns:
        A group for each layer's two weights, and one for its two biases.
    """
    groups = []
    for name, tensor in tensors.items():
        kind = kind_of(tensor.layer)
        place = re.search(r"(?:^|\.)weight_ih(_l\d+)?(_reverse)?$", name)
        other = name.replace("weight_ih", "weight_hh")
        if kind is None or not kind.is_recurrent or place is None or other not in tensors:
            continue
        direction = " backward" if place[2] else " forward" if f"{name}_reverse" in tensors else ""
        prefix = f"{owner(name)}{'.' if owner(name) else ''}{(place[1] or '').strip('_')}{direction}"
        found = [_weights(prefix, name, other, kind.gates, tensors)]
        biases = name.replace("weight", "bias"), other.replace("weight", "bias")
        if all(bias in tensors for bias in biases):
            found.append(_biases(prefix, biases, kind, tensors))
        free = [group for group in found if set(group.names) <= set(names)]
        groups += [_with_own_names(group) for group in free] if is_alike else free
    return groups


def _with_own_names(group: Group[Unit]) -> Group[Unit]:
    """The group, whose whole tensors may keep their names."""
    choices = []
    for choice in group.choices:
        items = tuple(
            unit._replace(also=(*unit.also, unit.home))
            if len(unit.pieces) == 1 and not unit.pieces[0].take
            else unit
            for unit in choice.samples
        )
        choices.append(taken(items, choice.cost))
    return Group(group.names, tuple(choices))


def _weights(prefix: str, ih: str, hh: str, gates: str, tensors: Known) -> Group[Unit]:
    hidden = tensors[ih].shape[0] // max(1, len(gates))
    whole = tuple(
        Unit(
            f"{prefix} {words[0]}.weight",
            tensors[name].shape,
            "Linear",
            (Piece(name),),
            ("weight", True),
            tensors[name].use,
            also=tuple(f"{prefix} {word}.weight" for word in words[1:]),
            gates=gates,
        )
        for name, words in ((ih, INPUT), (hh, RECURRENT))
    )
    choices = [taken(whole)]
    if gates:
        split = tuple(
            unit._replace(
                label=f"{prefix} {side}{gate}.weight",
                also=(f"{prefix} {gate}.weight",),
                shape=(hidden, unit.shape[1]),
                pieces=(Piece(name, (_rows(index, hidden),)),),
                part=index,
                gates="",
            )
            for unit, name, side in zip(whole, (ih, hh), "ih", strict=True)
            for index, gate in enumerate(gates)
        )
        choices.append(taken(split, PACKED))
    return Group((ih, hh), tuple(choices))


def _biases(prefix: str, names: tuple[str, str], kind: LayerKind, tensors: Known) -> Group[Unit]:
    ih, hh = names
    gates = kind.gates
    count = max(1, len(gates))
    hidden = tensors[ih].shape[0] // count

    def unit(word: str, rows: int, *pieces: Piece, part: int = 0) -> Unit:
        first, *also = (f"{prefix} {one}.bias" for one in word.split("|"))
        use, packed = tensors[pieces[0].name].use, gates if rows > hidden else ""
        role = ("bias", True)
        return Unit(first, (rows,), "", pieces, role, use, part=part, also=tuple(also), gates=packed)

    def both(word: str, start: int, stop: int) -> Unit:
        rows = slice(start * hidden, stop * hidden)
        return unit(word, (stop - start) * hidden, Piece(ih, (rows,)), Piece(hh, (rows,)), part=start)

    def single(name: str, word: str, index: int) -> Unit:
        return unit(word, hidden, Piece(name, (_rows(index, hidden),)), part=index)

    apart = (
        unit("|".join(INPUT), count * hidden, Piece(ih)),
        unit("|".join(RECURRENT), count * hidden, Piece(hh)),
    )
    choices: list[Choice[Unit]] = [taken(apart)]
    choices.append(taken((unit("input recurrent", count * hidden, Piece(ih), Piece(hh)),), SUMMED))
    if not gates:
        return Group(names, tuple(choices))
    labels = [f"h{gate}|i{gate}|{gate}" for gate in gates]
    choices.append(taken(tuple(both(label, i, i + 1) for i, label in enumerate(labels)), PACKED + SUMMED))
    choices.append(
        taken(
            tuple(
                single(name, f"{side}{gate}|{gate}", index)
                for name, side in zip(names, "ih", strict=True)
                for index, gate in enumerate(gates)
            ),
            PACKED,
        )
    )
    if kind.is_last_apart:
        end = count - 1
        gated, last = slice(0, end * hidden), _rows(end, hidden)
        packed = unit(
            "input recurrent",
            count * hidden,
            Piece(ih, (gated,), (gated,)),
            Piece(hh, (gated,), (gated,)),
            Piece(ih, (last,), (last,)),
        )
        one = gates[end]
        split = (*(both(labels[i], i, i + 1) for i in range(end)), single(ih, f"i{one}|{one}", end))
        inside = single(hh, f"h{one}|{one}", end)
        choices += [
            taken((*split, inside), PACKED + SUMMED),
            taken((packed, inside), PACKED + SUMMED),
        ]
    return Group(names, tuple(choices))


def _rows(index: int, size: int) -> slice:
    return slice(index * size, (index + 1) * size)
