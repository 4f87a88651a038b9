"""PyTorch's recurrent layers: their gates, their two biases, and the forms these take in JAX.

A layer of `nn.LSTM` holds `weight_ih` (4H, D) and `weight_hh` (4H, H), gates in the order i, f, g, o
(`nn.GRU`: r, z, n), and two biases of (4H,). JAX's cells pack the gates or hold one kernel each, and most
have one bias, which is the sum of the two. Where a GRU keeps its candidate's biases apart, inside and outside
the reset gate, they stay apart.
"""

import re

from parity.weights.evidence import Tensors
from parity.weights.names import owner
from parity.weights.splitting import PACKED
from parity.weights.units import Choice, Group, Piece, Unit, taken

GATES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": ""}
"""The gates in PyTorch's order."""

INPUT = ("ih", "i", "input")
RECURRENT = ("hh", "h", "recurrent", "hidden")
"""Names of the two kernels."""

SUMMED = 0.1
"""Cost of adding up two biases."""


def recurrent_groups(tensors: Tensors) -> list[Group[Unit]]:
    """The groups of every recurrent layer and direction: its weights, and its biases."""
    groups = []
    for name, tensor in tensors.items():
        kind = re.match(r"LSTM|GRU|RNN", tensor.layer)
        place = re.search(r"(?:^|\.)weight_ih(_l\d+)?(_reverse)?$", name)
        other = name.replace("weight_ih", "weight_hh")
        if kind is None or place is None or tensors.get(other) is None:
            continue
        gates = GATES[kind[0]]
        hidden = tensor.shape[0] // max(1, len(gates))
        direction = " backward" if place[2] else " forward" if f"{name}_reverse" in tensors else ""
        prefix = f"{owner(name)}{'.' if owner(name) else ''}{(place[1] or '').strip('_')}{direction}"
        groups.append(_weights(prefix, name, other, gates, hidden, tensors))
        biases = name.replace("weight", "bias"), other.replace("weight", "bias")
        if all(bias in tensors for bias in biases):
            groups.append(_biases(prefix, biases, gates, hidden, tensors))
    return groups


def _weights(prefix: str, ih: str, hh: str, gates: str, hidden: int, tensors: Tensors) -> Group[Unit]:
    whole = tuple(
        Unit(
            f"{prefix} {words[0]}.weight",
            tensors[name].shape,
            "Linear",
            (Piece(name),),
            ("weight", True),
            tensors[name].use,
            also=tuple(f"{prefix} {word}.weight" for word in words[1:]),
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
            )
            for unit, name, side in zip(whole, (ih, hh), "ih", strict=True)
            for index, gate in enumerate(gates)
        )
        choices.append(taken(split, PACKED))
    return Group((ih, hh), tuple(choices))


def _biases(
    prefix: str,
    names: tuple[str, str],
    gates: str,
    hidden: int,
    tensors: Tensors,
) -> Group[Unit]:
    ih, hh = names
    count = max(1, len(gates))

    def unit(word: str, rows: int, *pieces: Piece, part: int = 0) -> Unit:
        first, *also = (f"{prefix} {one}.bias" for one in word.split("|"))
        use = tensors[pieces[0].name].use
        return Unit(first, (rows,), "", pieces, ("bias", True), use, part, tuple(also))

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
    if gates == "rzn":
        gated, last = slice(0, 2 * hidden), _rows(2, hidden)
        packed = unit(
            "input recurrent",
            3 * hidden,
            Piece(ih, (gated,), (gated,)),
            Piece(hh, (gated,), (gated,)),
            Piece(ih, (last,), (last,)),
        )
        split = (both(labels[0], 0, 1), both(labels[1], 1, 2), single(ih, "in|n", 2))
        inside = single(hh, "hn|n", 2)
        choices += [
            taken((*split, inside), PACKED + SUMMED),
            taken((packed, inside), PACKED + SUMMED),
        ]
    return Group(names, tuple(choices))


def _rows(index: int, size: int) -> slice:
    return slice(index * size, (index + 1) * size)
