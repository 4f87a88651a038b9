"""In what precision one side holds its values, on disk beside its recording.

held-DTYPE-PASS.json         operations, places, precisions and sums of every value of a run in a dtype
held-DTYPE-PASS.safetensors  some entries of each, by which the other side's are known
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.pipeline.held_values import Key
from parity.report.json import write_json
from parity.trace.graph import Held, Node, NodeKind, Spot, Trace
from parity.trace.kept_values import absent
from parity.trace.sketches import RANKS, Sketch, Sketched
from parity.weights import load_weights, save_weights

FORMAT = 1
"""Version of these files: those of another one are not read."""


def write_held(values: Mapping[Key, Sketched | str], place: Path) -> None:
    """Write what is known of one side, or why it is not.

    Args:
        values: by what it is of.
        place: the recording's directory.
    """
    for key, known in values.items():
        index, ranked = ({"unknown": known}, None) if isinstance(known, str) else _plain(known)
        if ranked is not None:
            save_weights({"ranked": ranked}, place / f"{_stem(key)}.safetensors")
        write_json({"format": FORMAT, **index}, place / f"{_stem(key)}.json")


def _plain(known: Sketched) -> tuple[dict[str, object], np.ndarray]:
    trace, spots = known.trace, dict[Spot, int]()
    rows = []
    for node in trace.nodes:
        spot = spots.setdefault(node.spot._replace(function="", callers=()), len(spots))
        rows.append([node.operation, node.kind.value, list(node.inputs), spot, node.backward, node.fixed])
    drawn = {i: sketch for i, sketch in enumerate(known.sketches) if sketch is not None}
    entries = [sketch.ranked for sketch in drawn.values()]
    index = {
        "nodes": rows,
        "spots": [
            spot._replace(code=Node("", NodeKind.OPERATION, (), None, spot).place.code).on_file()
            for spot in spots
        ],
        "moves": list(known.moves),
        "outputs": {group: dict(leaves) for group, leaves in trace.outputs.items()},
        "held": [[i, one.wide, sorted(one.rounded), one.terms] for i, one in trace.held.items()],
        "sketches": [[i, one.size, one.total, one.absolute, one.exact] for i, one in drawn.items()],
    }
    return index, np.concatenate(entries) if entries else np.zeros(0)


def says_held(place: Path, key: Key) -> bool:
    """Whether a recording says in what precision its side holds its values.

    Args:
        place: the recording's directory.
        key: which values.
    """
    return (place / f"{_stem(key)}.json").is_file()


def read_held(place: Path, key: Key, outputs: Mapping[str, str] | None = None) -> Sketched:
    """What is known of one side's values.

    Args:
        place: the recording's directory.
        key: which values.
        outputs: name under which an output is compared -> its own; None: these are the same.

    Raises:
        ValueError: if the recording does not say it, or another version of the harness wrote it.
    """
    path = place / f"{_stem(key)}.json"
    if not says_held(place, key):
        raise ValueError(f"{place} does not say it; record it again")
    index: Mapping[str, Any] = json.loads(path.read_text())
    if index["format"] != FORMAT:
        raise ValueError(f"{place} was recorded by another version of parity; record it again")
    if "unknown" in index:
        raise ValueError(index["unknown"])
    spots, nothing = [Spot(**spot) for spot in index["spots"]], absent(np.zeros(()))
    nodes = [
        Node(operation, NodeKind(kind), tuple(inputs), nothing, spots[spot], {}, backward, fixed)
        for operation, kind, inputs, spot, backward, fixed in index["nodes"]
    ]
    held = {i: Held(wide, frozenset(rounded), terms) for i, wide, rounded, terms in index["held"]}
    ranked = load_weights(path.with_suffix(".safetensors"))["ranked"]
    sketches: list[Sketch | None] = [None] * len(nodes)
    first = 0
    for i, size, total, absolute, exact in index["sketches"]:
        after = first + min(size, RANKS)
        sketches[i] = Sketch(size, float(total), float(absolute), ranked[first:after], exact)
        first = after
    trace = Trace(nodes, renamed(index["outputs"], outputs), {}, {}, held=held)
    return Sketched(trace, sketches, [float(move) for move in index["moves"]])


def renamed(
    groups: Mapping[str, Mapping[str, int]], outputs: Mapping[str, str] | None
) -> dict[str, dict[str, int]]:
    """What a recorded trace computes, with its outputs under the names by which they are compared.

    Args:
        groups: group -> leaf -> node.
        outputs: name under which an output is compared -> its own; None: these are the same.
    """
    own = groups.get("outputs", {})
    names = {name: name for name in own} if outputs is None else outputs
    return {
        **{group: dict(leaves) for group, leaves in groups.items()},
        "outputs": {common: own[name] for common, name in names.items() if name in own},
    }


def _stem(key: Key) -> str:
    return f"held-{key.dtype}-{'gradients' if key.backward else 'forward'}"
