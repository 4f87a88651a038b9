"""A trace on disk: safetensors for its values, JSON for what computed them and where."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Shaped

from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.unread import Unread
from parity.pipeline.held_files import read_held, renamed, says_held
from parity.pipeline.held_values import Key
from parity.pipeline.runs import Run
from parity.pipeline.traces import Traced
from parity.report.json import write_json
from parity.trace.graph import Node, NodeKind, Spot, Trace
from parity.trace.kept_values import absent
from parity.trace.sketches import Sketched
from parity.weights.sharded_files import ShardWriter
from parity.weights.stored_tensors import stored_tensors

_Plain = bool | int | float | str | list["_Plain"] | None
"""A setting of an operation as JSON holds it."""


class _Row(TypedDict):
    """A node as JSON holds it; its value is a tensor of the files beside it, or it has a shape alone."""

    operation: str
    kind: str
    inputs: list[int]
    spot: dict[str, Any]
    params: Mapping[str, _Plain]
    backward: bool
    fixed: bool
    step: int
    complex: bool
    shape: list[int] | None


class TraceWriter:
    """One trace on its way to disk: its values as they come, what computed them at the end."""

    def __init__(self, place: Path, title: str, backward: bool) -> None:
        """Nothing is written yet.

        Args:
            place: the recording's directory.
            title: of the run.
            backward: whether the trace has the gradients.
        """
        self._stem, self._place = _stem(title, backward), place
        self._values = ShardWriter(place, self._stem)
        self._rows: list[_Row] = []
        self._weights: set[int] = set()

    def put(self, node: Node) -> Unread:
        """Write the next node of the trace.

        Args:
            node: with its value.
        """
        number, value = len(self._rows), node.array
        self._rows.append(_row(node, value))
        return _value(self._values.put(str(number), real_parts(value)), value.dtype.kind == "c")

    def keep(self, node: Node) -> Any:
        """Write the next node of the trace, and keep where it is: a `Keep`.

        Weights, and what is only rearranged of them, are not written: both sides have them.

        Args:
            node: with its value.
        """
        if node.kind is NodeKind.WEIGHT or (node.fixed and not self._weights.isdisjoint(node.inputs)):
            self._weights.add(len(self._rows))
            self._rows.append(_row(node, None))
            return absent(node.value)
        return self.put(node)

    def flush(self) -> None:
        """Write the values that wait to be written."""
        self._values.flush()

    def finish(self, trace: Trace, moves: Sequence[float]) -> None:
        """Write what computed the values.

        Args:
            trace: of which every node has been written.
            moves: per node how far noise moves it.
        """
        self.flush()
        outputs = {group: dict(leaves) for group, leaves in trace.outputs.items()}
        index = {"nodes": self._rows, "moves": list(moves), "outputs": outputs, "layers": trace.layers}
        index["stops"] = [_row(stop, None) for stop in trace.stops]
        whole = {**index, "weights": trace.weights, "inputs": trace.inputs}
        write_json(whole, self._place / f"{self._stem}.json")


def write_traces(traces: Mapping[tuple[str, bool], Traced], place: Path) -> None:
    """Write the traces of a reference beside its recording.

    Args:
        traces: (title of the run, whether with the gradients) -> the trace and the moves of its nodes.
        place: the recording's directory.
    """
    for (title, backward), (trace, moves) in traces.items():
        writer = TraceWriter(place, title, backward)
        for node in trace.nodes:
            writer.put(node)
        writer.finish(trace, moves)


def has_trace(place: Path, title: str, backward: bool) -> bool:
    """Whether a recording holds the trace of a run.

    Args:
        place: the recording's directory.
        title: of the run.
        backward: whether with the gradients.
    """
    return (place / f"{_stem(title, backward)}.json").is_file()


def read_trace(
    place: Path,
    title: str,
    backward: bool,
    *,
    unread: bool = False,
    outputs: Mapping[str, str] | None = None,
) -> Traced | None:
    """The trace of a run, and the moves of its nodes; None if it was not recorded.

    Args:
        place: the recording's directory.
        title: of the run.
        backward: whether with the gradients.
        unread: whether values are left on disk, to be read when they are asked for.
        outputs: name under which an output is compared -> its own; None: these are the same.
    """
    stem = _stem(title, backward)
    if not has_trace(place, title, backward):
        return None
    index = json.loads((place / f"{stem}.json").read_text())
    values = stored_tensors(sorted(place.glob(f"{stem}-*.safetensors"))).unread
    nodes = [_node(row, values.get(str(number)), unread) for number, row in enumerate(index["nodes"])]
    trace = Trace(nodes, renamed(index["outputs"], outputs), index["weights"], index["inputs"])
    trace.layers = index.get("layers", {})
    trace.stops = [_node(row, None, unread) for row in index.get("stops", ())]
    return trace, index["moves"]


class RecordedTraces:
    """Traces of a side that is not here."""

    def __init__(self, place: Path, outputs: Mapping[str, str] | None = None) -> None:
        """Traces of a recording.

        Args:
            place: its directory.
            outputs: name under which an output is compared -> its own; None: these are the same.
        """
        self.place, self.outputs = place, outputs

    def reference(self, run: Run, backward: bool) -> Traced | None:
        """The reference's trace in a run; None if it was recorded without.

        Args:
            run: the run that was recorded.
            backward: whether the trace must have gradients.
        """
        return read_trace(self.place, run.title, backward, outputs=self.outputs)

    def held(self, key: Key) -> Sketched:
        """In what precision this side holds its values.

        Args:
            key: the dtype, and whether the backward pass is traced, too.

        Raises:
            ValueError: if the recording does not say it.
        """
        return read_held(self.place, key, self.outputs)

    @property
    def in_float64(self) -> bool:
        """Whether this side is a program in float64."""
        return says_held(self.place, Key("float64", backward=False))


def _stem(title: str, backward: bool) -> str:
    """A file name for a run; titles are "", "inputs 2" and "moved weights"."""
    return f"trace-{title.replace(' ', '-') or 'first'}-{'gradients' if backward else 'forward'}"


def _row(node: Node, value: Shaped[np.ndarray, "..."] | None) -> _Row:
    """A node as JSON; its value, where it is written."""
    params = {name: plain for name, setting in node.params.items() if (plain := _plain(setting)) is not None}
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
        "complex": value is not None and value.dtype.kind == "c",
        "shape": list(node.value.shape) if value is None else None,
    }


def _value(stored: Unread, is_complex: bool) -> Unread:
    """A value of a node, given what is stored of it: of a complex one the parts."""
    if not is_complex:
        return stored
    return Unread(
        stored.shape[:-1],
        np.dtype(np.complex128),
        lambda: of_parts(stored.read()),
        lambda index: of_parts(stored.row(index)),
    )


def _node(row: _Row, value: Unread | None, unread: bool) -> Node:
    """A node with its value, its value on disk, or none."""
    held: Any = value
    if value is None:
        held = absent(np.broadcast_to(np.zeros(()), row["shape"] or ()))
    else:
        held = _value(value, row["complex"])
    return Node(
        row["operation"],
        NodeKind(row["kind"]),
        tuple(row["inputs"]),
        held if unread or value is None else held.read(),
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
