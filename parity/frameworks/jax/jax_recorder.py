"""A jaxpr evaluated equation by equation, loops unrolled, every value a node of a trace."""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.typing import ArrayLike
from jaxtyping import Shaped

from parity.frameworks.jax.jaxpr_parts import dtype_name, shape_of
from parity.frameworks.jax.jaxpr_places import TOP, Caller
from parity.frameworks.jax.jaxpr_walk import Constant, evaluate
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


def run_recorded(
    recorder: "Recorder",
    closed: ClosedJaxpr,
    arguments: Sequence[Argument],
    results: Sequence[tuple[str, str]],
) -> tuple[Trace, list[Live]]:
    """Evaluate a traced program equation by equation.

    Args:
        recorder: evaluates an equation and keeps what is to be kept.
        closed: the jaxpr.
        arguments: kind, name and value of each flat argument.
        results: group and leaf name of each flat result.

    Returns:
        The trace, and the flat results with their values.
    """
    trace = recorder.trace
    args = []
    for (kind, name, value), aval in zip(arguments, closed.in_avals, strict=True):
        node = Node(name, kind, (), value, fixed=kind is NodeKind.WEIGHT, written=str(aval.dtype))
        live = recorder.add(node)
        (trace.weights if kind is NodeKind.WEIGHT else trace.inputs)[name] = int(live)
        args.append(live)
    consts = [recorder.constant(value) for value in closed.consts]
    outs = evaluate(closed.jaxpr, consts, args, recorder.step, recorder.constant, TOP)
    for (group, leaf), index in zip(results, outs, strict=True):
        trace.outputs.setdefault(group, {})[leaf] = int(index)
    return trace, outs


def _row(index: int, values: Sequence[jax.Array | np.ndarray]) -> Sequence[ArrayLike]:
    return [values[0][index]]


def _stacked(values: Sequence[jax.Array | np.ndarray]) -> Sequence[ArrayLike]:
    return [np.stack(values)]


def _kept_where_done(values: Sequence[jax.Array | np.ndarray]) -> Sequence[ArrayLike]:
    """`lift.kept_where_done` in NumPy."""
    going_on, old, new = map(np.asarray, values)
    return [np.where(going_on.reshape(going_on.shape + (1,) * (new.ndim - going_on.ndim)), new, old)]


class Recorder:
    """Evaluates equations on nodes; in which dtypes, a subclass says."""

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

    def held(self, value: ArrayLike) -> ArrayLike:
        """A constant as the run takes it.

        Args:
            value: in the dtype that the program holds it in.
        """
        raise NotImplementedError

    def dtype(self, name: str) -> "np.dtype[np.generic]":
        """The dtype in which the run holds what the program holds in another.

        Args:
            name: of the program's dtype.
        """
        raise NotImplementedError

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

    def step(self, eqn: JaxprEqn, inputs: Sequence[Live], spot: Spot) -> list[Live]:
        """Evaluate an equation; loops are unrolled.

        Args:
            eqn: the equation.
            inputs: its operands.
            spot: where it stands in the author's code.

        Returns:
            Its results.
        """
        self.backward = "transpose(" in spot.module
        name = eqn.primitive.name
        match name:
            case "scan":
                return self._scan(eqn, list(inputs), spot)
            case "while":
                return self._while(eqn, list(inputs), spot)
            case "cond":
                return self._cond(eqn, list(inputs), spot)
        params, function = self.evaluation(eqn)
        outs = self._run(name, inputs, function, spot, params, [dtype_name(v) for v in eqn.outvars])
        if name == "stop_gradient":
            self.trace.stops += [self.trace.nodes[index] for index in outs]
        return outs

    def evaluation(self, eqn: JaxprEqn) -> tuple[Mapping[str, object], Function]:
        """How the run evaluates an equation.

        Args:
            eqn: one that is no loop and no branch.

        Returns:
            Its settings, and the function from its operands to its results.
        """
        raise NotImplementedError

    def _inside(self, closed: ClosedJaxpr, inputs: list[Live], spot: Spot) -> list[Live]:
        consts = [self.constant(value) for value in closed.consts]
        return evaluate(closed.jaxpr, consts, inputs, self.step, self.constant, Caller(spot))

    def _row_of(self, stack: Live, index: int, spot: Spot) -> Live:
        """One entry of the first axis; of unread weights one as unread."""
        take: Function = functools.partial(_row, index)
        values = [stack.value.at(index)] if isinstance(stack.value, Unread) else take([stack.value])
        return self._result(
            "scan_slice", [stack], values, take, spot, {"index": index}, self.written([stack])
        )[0]

    def _scan(self, eqn: JaxprEqn, inputs: list[Live], spot: Spot) -> list[Live]:
        p = eqn.params
        consts, carry = inputs[: p["num_consts"]], inputs[p["num_consts"] :][: p["num_carry"]]
        xs = inputs[p["num_consts"] + p["num_carry"] :]
        rows: list[list[Live]] = []
        order = range(p["length"])
        for i in reversed(order) if p["reverse"] else order:
            inner = spot._replace(step=f"{spot.step}, scan step {i}".strip(", "))
            row = [self._row_of(x, i, inner) for x in xs]
            outs = self._inside(p["jaxpr"], consts + carry + row, inner)
            carry = outs[: p["num_carry"]]
            rows.append(outs[p["num_carry"] :])
        if p["reverse"]:
            rows.reverse()
        stacked = [
            self._run("scan_stack", list(column), _stacked, spot, {}, self.written(column[:1]))[0]
            for column in zip(*rows, strict=True)
        ]
        if not rows:
            empty = [np.zeros(shape_of(v), self.dtype(dtype_name(v))) for v in eqn.outvars[len(carry) :]]
            stacked = [self.add(Node("constant", NodeKind.CONSTANT, (), e, spot)) for e in empty]
        return [*carry, *stacked]

    def _while(self, eqn: JaxprEqn, inputs: list[Live], spot: Spot) -> list[Live]:
        p = eqn.params
        a, b = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
        cond_consts, body_consts, carry = inputs[:a], inputs[a:b], inputs[b:]
        turn = 0
        while True:
            inner = spot._replace(step=f"{spot.step}, while step {turn}".strip(", "))
            (test,) = self._inside(p["cond_jaxpr"], cond_consts + carry, inner)
            going_on = np.asarray(test.read())
            if not going_on.any():
                return carry
            new = self._inside(p["body_jaxpr"], body_consts + carry, inner)
            if going_on.ndim:  # a batch of loops: those that have ended keep their values
                kept = functools.partial(
                    self._run, "select_n", function=_kept_where_done, spot=inner, params={}
                )
                new = [
                    kept([test, old, one], written=self.written([one]))[0]
                    for one, old in zip(new, carry, strict=True)
                ]
            carry = new
            turn += 1

    def _cond(self, eqn: JaxprEqn, inputs: list[Live], spot: Spot) -> list[Live]:
        branches = eqn.params["branches"]
        chosen = int(np.clip(int(inputs[0].read()), 0, len(branches) - 1))
        return self._inside(branches[chosen], inputs[1:], spot)


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
