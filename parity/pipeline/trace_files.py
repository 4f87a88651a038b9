"""A trace on disk: safetensors for its values, JSON for what computed them and where."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Shaped

from parity.numerics.complex_parts import of_parts, real_parts
from parity.pipeline.candidate import Candidate
from parity.pipeline.runs import Run
from parity.pipeline.traces import Traced
from parity.report.json import write_json
from parity.trace.graph import Node, NodeKind, Spot, Trace
from parity.weights.tensor_files import load_weights, save_weights

_Plain = bool | int | float | str | list["_Plain"] | None
"""A setting of an operation as JSON holds it."""


class _Row(TypedDict):
    """A node as JSON holds it; its value is a tensor of the file beside it."""

    operation: str
    kind: str
    inputs: list[int]
    spot: dict[str, Any]
    params: Mapping[str, _Plain]
    backward: bool
    fixed: bool
    step: int
    complex: bool


def write_traces(traces: Mapping[tuple[str, bool], Traced], place: Path) -> None:
    """Write the traces of a reference beside its recording.

    Args:
        traces: (title of the run, whether with the gradients) -> the trace and the moves of its nodes.
        place: the recording's directory.
    """
    for (title, backward), (trace, moves) in traces.items():
        stem = _stem(title, backward)
        values = {str(index): _stored(node) for index, node in enumerate(trace.nodes)}
        save_weights(values, place / f"{stem}.safetensors")
        rows = [_row(node) for node in trace.nodes]
        outputs = {group: dict(leaves) for group, leaves in trace.outputs.items()}
        index = {"nodes": rows, "moves": moves, "outputs": outputs, "layers": trace.layers}
        write_json({**index, "weights": trace.weights, "inputs": trace.inputs}, place / f"{stem}.json")


def read_trace(place: Path, title: str, backward: bool) -> Traced | None:
    """The trace of a run, and the moves of its nodes; None if it was not recorded.

    Args:
        place: the recording's directory.
        title: of the run.
        backward: whether with the gradients.
    """
    stem = _stem(title, backward)
    if not (place / f"{stem}.json").is_file():
        return None
    index = json.loads((place / f"{stem}.json").read_text())
    values = load_weights(place / f"{stem}.safetensors")
    nodes = [_node(row, values[str(number)]) for number, row in enumerate(index["nodes"])]
    trace = Trace(nodes, index["outputs"], index["weights"], index["inputs"])
    trace.layers = index.get("layers", {})
    return trace, index["moves"]


class RecordedTraces:
    """Traces of a reference that is not here."""

    def __init__(self, place: Path, candidate: Candidate) -> None:
        """Traces of the recording in `place`, with outputs under the names that `candidate` has them by."""
        self.place, self.candidate = place, candidate

    def reference(self, run: Run, backward: bool) -> Traced | None:
        """The reference's trace in a run; None if it was recorded without.

        Args:
            run: the run that was recorded.
            backward: whether the trace must have gradients.
        """
        found = read_trace(self.place, run.title, backward)
        if found is not None:
            own = found[0].outputs.get("outputs", {})
            names = self.candidate.outputs
            found[0].outputs["outputs"] = {c: own[name] for c, name in names.items() if name in own}
        return found


def _stem(title: str, backward: bool) -> str:
    """A file name for a run; titles are "", "inputs 2" and "moved weights"."""
    return f"trace-{title.replace(' ', '-') or 'first'}-{'gradients' if backward else 'forward'}"


def _stored(node: Node) -> Shaped[np.ndarray, "..."]:
    return np.ascontiguousarray(real_parts(node.array))


def _row(node: Node) -> _Row:
    params = {name: plain for name, value in node.params.items() if (plain := _plain(value)) is not None}
    spot = node.spot._replace(code=node.place.code)
    return {
        "operation": node.operation,
        "kind": node.kind.value,
        "inputs": list(node.inputs),
        "spot": spot.on_file(),
        "params": params,
        "backward": node.backward,
        "fixed": node.fixed,
        "step": node.step,
        "complex": node.array.dtype.kind == "c",
    }


def _node(row: _Row, value: Shaped[np.ndarray, "..."]) -> Node:
    if row["complex"]:
        value = of_parts(value)
    return Node(
        row["operation"],
        NodeKind(row["kind"]),
        tuple(row["inputs"]),
        value,
        Spot(**row["spot"]),
        row["params"],
        row["backward"],
        row["fixed"],
        row["step"],
    )


def _plain(value: object) -> _Plain:
    """A setting as JSON; None where it is none (a jaxpr, a sharding)."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.integer | np.floating):
        return value.item()
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return None if any(item is None for item in items) else items
    return str(value) if isinstance(value, np.dtype) else None
