"""What one operation of a JAX program adds to a trace: its results, or what is kept of them."""

import abc
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn
from jax.typing import ArrayLike
from jaxtyping import Shaped

from parity.frameworks.jax.jaxpr_walk import Constant
from parity.frameworks.jax.lifted_constants import value_of
from parity.numerics.unread import Unread
from parity.trace.graph import Evaluation, Function, Node, NodeKind, Spot, Trace
from parity.trace.kept_values import Keep, absent
from parity.trace.rounded_uses import written_dtype
from parity.trace.vocabulary import REARRANGING

Argument = tuple[NodeKind, str, Shaped[np.ndarray, "..."] | Unread]
"""Of a traced program: what it is, its name and its value."""


class Live(int):
    """Index of a node, with its value for as long as something is still to be computed from it."""

    value: Any

    @classmethod
    def of(cls, index: int, value: Any) -> "Live":
        """An index with a value.

        Args:
            index: of a node.
            value: of the node; an unread one is read by each operation that takes it.
        """
        live = cls(index)
        live.value = value
        return live

    def read(self) -> Any:
        """The value, in memory."""
        return self.value.read() if isinstance(self.value, Unread) else self.value


class Recorder(abc.ABC):
    """Evaluates operations on nodes; in which dtypes, a subclass says."""

    def __init__(self, keep: Keep | None) -> None:
        """A recorder with an empty trace.

        Args:
            keep: what the trace holds of each value; None: the value, and how it was computed.
        """
        self.trace, self.keep = Trace([], {}, {}, {}), keep
        self.constants: dict[int, tuple[ArrayLike, Live]] = {}

    def add(self, node: Node) -> Live:
        """Add a node to the trace, which holds its value or what is kept of it."""
        live = Live.of(len(self.trace.nodes), node.value)
        if self.keep is not None:
            if isinstance(node.value, Unread):
                node.value = absent(node.value)
            node.value = self.keep(node)
        self.trace.nodes.append(node)
        return live

    @abc.abstractmethod
    def held(self, value: ArrayLike) -> ArrayLike:
        """A constant as the run takes it.

        Args:
            value: in the dtype that the program holds it in.
        """

    @abc.abstractmethod
    def dtype(self, name: str) -> "np.dtype[np.generic]":
        """The dtype in which the run holds what the program holds in another.

        Args:
            name: of the program's dtype.
        """

    def constant(self, holder: Constant) -> Live:
        """The node of a constant, one for each place where it stands."""
        value = value_of(holder)
        known = self.constants.get(id(value)) if getattr(value, "ndim", 0) else None
        if known is not None:
            return known[1]
        live = self.add(Node("constant", NodeKind.CONSTANT, (), self.held(value), fixed=True))
        self.constants[id(value)] = (value, live)
        return live

    def _run(
        self,
        operation: str,
        inputs: Sequence[Live],
        function: Function,
        spot: Spot,
        params: Mapping[str, object],
        written: Sequence[str],
    ) -> list[Live]:
        """Evaluate an operation, and add its results."""
        values = function([i.read() for i in inputs])
        return self._result(operation, inputs, values, function, spot, params, written)

    def _result(
        self,
        operation: str,
        inputs: Sequence[Live],
        values: Sequence[Any],
        function: Function,
        spot: Spot,
        params: Mapping[str, object],
        written: Sequence[str],
    ) -> list[Live]:
        """Add the results of an operation."""
        nodes = self.trace.nodes
        spot = spot._replace(module=clean(spot.module))
        fixed = operation in REARRANGING and bool(inputs) and all(nodes[i].fixed for i in inputs)
        number, read = len(self.trace.evaluations), tuple(map(int, inputs))
        kind, backward = NodeKind.OPERATION, self.backward
        outs = [
            self.add(Node(operation, kind, read, value, spot, params, backward, fixed, number, dtype))
            for value, dtype in zip(values, written, strict=True)
        ]
        if self.keep is None:
            made = tuple(int(out) for out in outs)
            self.trace.evaluations.append(Evaluation(operation, params, read, made, function))
        return outs

    backward = False

    def written(self, nodes: Sequence[Live]) -> list[str]:
        """The dtypes of some nodes in the program as it was written."""
        return [written_dtype(self.trace.nodes[index]) for index in nodes]

    @abc.abstractmethod
    def evaluation(self, eqn: JaxprEqn) -> tuple[Mapping[str, object], Function]:
        """How the run evaluates an equation.

        Args:
            eqn: one that is no loop and no branch.

        Returns:
            Its settings, and the function from its operands to its results.
        """


_TRANSFORMS = re.compile(r"(?:jvp|transpose|vmap|jit|pjit|remat|checkpoint|rematted_computation)\(([^()]*)\)")


def clean(names: str) -> str:
    """A name stack without the names of transformations.

    Args:
        names: parts joined by `/`.

    >>> clean("transpose(jvp(Encoder))/layers_0/jvp()")
    'Encoder/layers_0'
    """
    while (shorter := _TRANSFORMS.sub(r"\1", names)) != names:
        names = shorter
    return "/".join(part for part in names.split("/") if part and part != "rematted_computation")
