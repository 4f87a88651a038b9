"""A tape on which one PyTorch operation is written down as LAX evaluations, each with its value."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import DTypeLike

from parity.frameworks.torch import lax_numpy
from parity.frameworks.torch.torch_memory import dtype_of
from parity.trace.graph import Evaluation, Function, Node, NodeKind, Spot, Trace
from parity.trace.vocabulary import REARRANGING

Array = Shaped[np.ndarray, "..."]


class Ref(int):
    """Index of a node; an int of its own type, because operations have plain ints among their arguments."""


Operand = torch.Tensor | Ref | complex
"""What is computed with: a tensor, a node, or a number (to a type checker, float is complex)."""

Rule = Callable[..., Ref | Sequence[Ref]]
"""`rule(tape, *args, **kwargs) -> results`, with the arguments of the aten operation's schema."""


class UntranslatedError(Exception):
    """Raised by a rule that does not cover these arguments."""


class Tape:
    """Writes evaluations of one operation to a trace; rules are written in terms of it."""

    def __init__(
        self,
        trace: Trace,
        known: Mapping[int, int],
        out: Sequence[torch.Tensor],
        spot: Spot,
        backward: bool,
        shares: Callable[[int, Sequence[int]], None],
    ) -> None:
        """A tape for one operation.

        Args:
            trace: what is written to.
            known: node of each tensor among the arguments, by its id.
            out: what the operation gave.
            spot: where it was called.
            backward: whether it belongs to the gradient.
            shares: told which nodes hold views of the values of others.
        """
        self.trace, self.known, self.out = trace, known, out
        self.spot, self.backward, self.shares = spot, backward, shares

    def value(self, index: int) -> Array:
        """The value of a node."""
        return np.asarray(self.trace.nodes[index].value)

    def shape(self, index: int) -> tuple[int, ...]:
        """The shape of a node's value."""
        return self.value(index).shape

    @property
    def dtype(self) -> "np.dtype[np.generic]":
        """The dtype of the operation's first result."""
        return dtype_of(self.out[0].dtype)

    def common(self, first: torch.Tensor | complex, second: torch.Tensor | complex) -> "np.dtype[np.generic]":
        """The dtype in which PyTorch computes with two operands.

        Args:
            first: a tensor or a number.
            second: a tensor or a number.
        """
        return dtype_of(torch.result_type(first, second))

    def constant(self, value: Array | complex, dtype: DTypeLike | None) -> Ref:
        """A number as a node of its own.

        Args:
            value: a number or array.
            dtype: NumPy dtype of the node.
        """
        held = np.asarray(value).astype(dtype)
        self.trace.nodes.append(Node("constant", NodeKind.CONSTANT, (), held, fixed=True))
        return Ref(len(self.trace.nodes) - 1)

    def read(self, operand: Operand, dtype: DTypeLike | None = None) -> Ref:
        """The node of an operand, which is a tensor, a node or a number; converted to `dtype`."""
        if isinstance(operand, torch.Tensor):
            index = Ref(self.known[id(operand)])
        elif isinstance(operand, Ref):
            index = operand
        else:
            return self.constant(operand, dtype)
        return index if dtype is None else self.convert(index, dtype)

    def run(self, operation: str, *inputs: int, **params: object) -> Ref:
        """One evaluation with one result, computed by NumPy."""

        def function(values: Sequence[Array]) -> list[Array]:
            return [lax_numpy.run_lax(operation, values, params)]

        return self.emit(operation, params, inputs, function)[0]

    def emit(
        self, operation: str, params: Mapping[str, object], inputs: Sequence[int], function: Function
    ) -> list[Ref]:
        """One evaluation, computed by a function of its own.

        Args:
            operation: its name.
            params: its parameters, as a jaxpr has them.
            inputs: the nodes of its operands.
            function: from the operands' values to the results.
        """
        nodes = self.trace.nodes
        values = function([nodes[i].value for i in inputs])
        return self.record(operation, params, inputs, values, function)

    def record(
        self,
        operation: str,
        params: Mapping[str, object],
        inputs: Sequence[int],
        values: Sequence[Array],
        function: Function,
    ) -> list[Ref]:
        """One evaluation whose results are known.

        Args:
            operation: its name.
            params: its parameters, as a jaxpr has them.
            inputs: the nodes of its operands.
            values: its results.
            function: from the operands' values to the results, for a replay.
        """
        nodes = self.trace.nodes
        inputs = tuple(int(i) for i in inputs)
        fixed = operation in REARRANGING and bool(inputs) and all(nodes[i].fixed for i in inputs)
        number = len(self.trace.evaluations)
        outs = []
        for value in values:
            node = Node(
                operation, NodeKind.OPERATION, inputs, value, self.spot, params, self.backward, fixed, number
            )
            nodes.append(node)
            outs.append(Ref(len(nodes) - 1))
            if value.base is not None:
                self.shares(outs[-1], inputs)
        held = tuple(int(i) for i in outs)
        self.trace.evaluations.append(Evaluation(operation, params, inputs, held, function))
        return outs

    def convert(self, x: Ref, dtype: DTypeLike) -> Ref:
        """x in another dtype.

        Args:
            x: a node.
            dtype: a NumPy dtype.
        """
        dtype = np.dtype(dtype)
        if self.value(x).dtype == dtype:
            return x
        return self.run("convert_element_type", x, new_dtype=dtype, weak_type=False, sharding=None)

    def reshape(self, x: Ref, shape: Sequence[int]) -> Ref:
        """x in another shape.

        Args:
            x: a node.
            shape: with as many entries as x has.
        """
        shape = tuple(int(n) for n in shape)
        if self.shape(x) == shape:
            return x
        return self.run("reshape", x, new_sizes=shape, dimensions=None, sharding=None)

    def transpose(self, x: Ref, axes: Sequence[int]) -> Ref:
        """x with its axes in another order.

        Args:
            x: a node.
            axes: for each axis of the result, which axis of x it is.
        """
        axes = tuple(int(a) for a in axes)
        return x if axes == tuple(range(len(axes))) else self.run("transpose", x, permutation=axes)

    def broadcast(self, x: Ref, shape: Sequence[int], axes: Sequence[int] | None = None) -> Ref:
        """x repeated to a shape; its axes are the last ones of it, or those given.

        Args:
            x: a node.
            shape: shape of the result.
            axes: for each axis of x, which axis of the result it is; None: the last ones.
        """
        shape = tuple(int(n) for n in shape)
        rank = len(self.shape(x))
        axes = tuple(range(len(shape) - rank, len(shape))) if axes is None else tuple(axes)
        if self.shape(x) == shape:
            return x
        return self.run("broadcast_in_dim", x, shape=shape, broadcast_dimensions=axes, sharding=None)

    def slice(self, x: Ref, axis: int, start: int, stop: int, step: int = 1) -> Ref:
        """x from start to stop along one axis.

        Args:
            x: a node.
            axis: counted from the front.
            start: index of the first entry.
            stop: index after the last entry.
            step: distance of two entries, at least 1.
        """
        shape = self.shape(x)
        if (start, stop, step) == (0, shape[axis], 1):
            return x
        starts, limits, strides = [0] * len(shape), list(shape), [1] * len(shape)
        starts[axis], limits[axis], strides[axis] = start, stop, step
        return self.run(
            "slice",
            x,
            start_indices=tuple(starts),
            limit_indices=tuple(limits),
            strides=None if step == 1 else tuple(strides),
        )

    def squeeze(self, x: Ref, axes: Sequence[int]) -> Ref:
        """x without some axes of length one.

        Args:
            x: a node.
            axes: counted from the front.
        """
        return self.run("squeeze", x, dimensions=tuple(axes)) if axes else x
