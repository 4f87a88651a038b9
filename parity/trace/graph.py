"""One trace type for both frameworks: a list of operations, each with its producers, place and value.

Weights, inputs and constants are nodes too, so that everything an operation reads has a name and can be
replaced. Loops are unrolled: a layer inside a scan is one node per iteration.

A trace that holds its evaluations can be replayed with some values replaced: what would the program compute
if this operation had given that result, or if this constant were another?
"""

import dataclasses
import enum
import linecache
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.unread import Unread
from parity.report.results import Place


class NodeKind(enum.Enum):
    """What a node is."""

    WEIGHT = "weight"
    INPUT = "input"
    CONSTANT = "constant"
    OPERATION = "operation"


class Frame(NamedTuple):
    """A line of a function that was running."""

    file: str
    line: int
    function: str


class Spot(NamedTuple):
    """Where an operation was called from, cheap to keep for every one of them.

    `code` is the line of source, of a trace that comes from another machine; else it is read when asked for.
    `function` is the author's function that the line is of, and `callers` are those that called it, each with
    its file and line, the innermost first; neither is kept on file.
    """

    module: str = ""
    file: str = ""
    line: int = 0
    step: str = ""
    code: str = ""
    function: str = ""
    callers: "tuple[Frame, ...]" = ()

    @property
    def at(self) -> tuple[str, int]:
        """The file and the line."""
        return self.file, self.line

    @property
    def stack(self) -> "list[Frame]":
        """The author's functions that were running, each with its line, the outermost first."""
        return [*reversed(self.callers), Frame(self.file, self.line, self.function)]

    def on_file(self) -> dict[str, str | int]:
        """What is kept of it on file, by name."""
        return {name: value for name, value in self._asdict().items() if name not in ("function", "callers")}


NOWHERE = Spot()


@dataclasses.dataclass(slots=True)
class Node:
    """One value of a program.

    Attributes:
        operation: the framework's name of what computed it; of a weight or input, its own name.
        kind: weight, input, constant or operation.
        inputs: indices of the nodes it was computed from.
        value: the array, of NumPy or of the framework that ran; floating ones in the precision of the run.
            Of a run that does not fit into memory what was kept of it (`parity.trace.kept_values`).
        spot: where it was called.
        params: settings of the operation (axes, strides, padding, scalars).
        backward: whether it belongs to the gradient and not to the forward pass.
        fixed: whether it depends on no input and no computation but a rearrangement of weights and
            constants: a transposed kernel is still a kernel.
        step: index of the evaluation that made it (an equation may have several results).
        written: name of its dtype in the program as its author wrote it; "" where that is the value's own.
    """

    operation: str
    kind: NodeKind
    inputs: tuple[int, ...]
    value: Any
    spot: Spot = NOWHERE
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backward: bool = False
    fixed: bool = False
    step: int = -1
    written: str = ""

    @property
    def array(self) -> Shaped[np.ndarray, "..."]:
        """The value as a NumPy array."""
        value = self.value
        if isinstance(value, Unread):
            return value.read()
        if "key<" in str(value.dtype):  # a random key holds no numbers
            return np.zeros(0)
        if hasattr(value, "detach"):
            value = value.detach()
            value = (value.double() if "bfloat16" in str(value.dtype) else value).numpy(force=True)
        return np.asarray(value)

    @property
    def floating(self) -> bool:
        """Whether the value is a floating or complex array."""
        return "float" in str(self.value.dtype) or "complex" in str(self.value.dtype)

    @property
    def place(self) -> Place:
        """Where it stands, with the line of source."""
        spot = self.spot
        code = spot.code or (linecache.getline(spot.file, spot.line).strip() if spot.file else "")
        return Place(self.operation, spot.module, spot.file, spot.line, code, spot.step)

    def called_from(self, frame: Frame) -> Place:
        """Its place, on a line that it is called from.

        Args:
            frame: the line.
        """
        code = linecache.getline(frame.file, frame.line).strip()
        return dataclasses.replace(self.place, file=frame.file, line=frame.line, code=code)


class Held(NamedTuple):
    """In what precision a program holds a value that it computes.

    Attributes:
        wide: whether the operation itself gives it in a wide dtype.
        rounded: whether it is rounded before it is used; both, where one use is of the rounded value and
            another is not; empty where nothing uses it.
        terms: how many terms the operation adds up in the narrow dtype, as it was written; 1 if it adds up
            nothing, or in a wide dtype.
    """

    wide: bool
    rounded: frozenset[bool]
    terms: int = 1


Function = Callable[[Sequence[Any]], Sequence[Any]]
"""From the values that an operation reads to those that it computes."""


@dataclasses.dataclass(slots=True)
class Evaluation:
    """One evaluated operation, to be repeated with other values.

    Attributes:
        operation: name of the operation, as LAX calls it where it knows it.
        params: its settings; dtypes widened.
        inputs: indices of the nodes that it read.
        outputs: indices of the nodes that it made.
        function: from the input values to the output values.
    """

    operation: str
    params: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    function: Function


@dataclasses.dataclass(slots=True)
class Trace:
    """The operations of one run in the order of computation.

    Attributes:
        nodes: all values.
        outputs: group ("outputs", "loss", "gradients") -> leaf -> index of the node.
        weights: index of each weight by name.
        inputs: index of each input by name.
        evaluations: what computed the nodes, in order; none in a trace that cannot be replayed.
        layers: module path -> its class, of a library's module with its settings, where they are known.
        stops: where gradients are stopped, each with the value that they are stopped at as its operand.
        held: node -> in what precision a run in a given dtype holds its value, of a trace that was asked.
    """

    nodes: list[Node]
    outputs: dict[str, dict[str, int]]
    weights: dict[str, int]
    inputs: dict[str, int]
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)
    layers: dict[str, str] = dataclasses.field(default_factory=dict)
    stops: list[Node] = dataclasses.field(default_factory=list)
    held: Mapping[int, Held] = dataclasses.field(default_factory=dict)

    def replay(
        self,
        values: Mapping[int, Any],
        *,
        changes: Mapping[int, Function] | None = None,
        until: int | None = None,
    ) -> dict[int, Any]:
        """What changes downstream when some nodes have other values.

        Args:
            values: node -> its value instead.
            changes: index of an evaluation -> a function to compute it by instead.
            until: stop after this node.

        Returns:
            The new values of all nodes that were computed again, the given ones included. An operation that
            does not take the new values (a mask that lets another number of entries through) ends the
            replay: what follows keeps its values.
        """
        changes = changes or {}
        new: dict[int, Any] = dict(values)
        for number, evaluation in enumerate(self.evaluations):
            if until is not None and evaluation.outputs and evaluation.outputs[0] > until:
                break
            if number not in changes and not any(i in new for i in evaluation.inputs):
                continue
            if all(i in values for i in evaluation.outputs):
                continue
            given = [new[i] if i in new else self.nodes[i].value for i in evaluation.inputs]
            function = changes.get(number, evaluation.function)
            try:
                results = function(given)
            except Exception:  # shapes of a recording hold for the recorded values alone
                break
            for index, value in zip(evaluation.outputs, results, strict=True):
                if index not in values:
                    new[index] = value
        return new

    def consumers(self) -> list[list[int]]:
        """Per node the nodes that read it."""
        readers: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for producer in node.inputs:
                readers[producer].append(index)
        return readers

    def numbers(self) -> tuple[float, ...]:
        """The floating numbers among the settings of the operations, and constants of a single entry."""
        found: dict[float, None] = {}

        def take(value: object) -> None:
            if isinstance(value, float) and math.isfinite(value):
                found[value] = None
            elif isinstance(value, tuple | list):
                for item in value:
                    take(item)

        for node in self.nodes:
            if node.kind is NodeKind.CONSTANT and node.array.dtype.kind == "f" and node.array.size == 1:
                take(float(node.array.reshape(())))
            for value in node.params.values():
                take(value)
        return tuple(found)

    def ancestors(self, starts: Sequence[int], stop: Container[int] = ()) -> set[int]:
        """All nodes that the given ones were computed from, themselves included, not beyond `stop`."""
        seen: set[int] = set()
        stack = list(starts)
        while stack:
            index = stack.pop()
            if index not in seen:
                seen.add(index)
                if index not in stop:
                    stack += self.nodes[index].inputs
        return seen
