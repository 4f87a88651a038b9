"""A jaxpr evaluated equation by equation, loops unrolled, every value a node of a trace."""

import functools
from collections.abc import Sequence

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.typing import ArrayLike

from parity.frameworks.jax.jax_recorder import Argument, Live, Recorder
from parity.frameworks.jax.jaxpr_parts import dtype_name, shape_of
from parity.frameworks.jax.jaxpr_places import TOP, Caller
from parity.frameworks.jax.jaxpr_walk import evaluate
from parity.numerics.unread import Unread
from parity.trace.graph import Function, Node, NodeKind, Spot, Trace


def run_recorded(
    recorder: "LoopRecorder",
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


class LoopRecorder(Recorder):
    """Goes through loops and branches, and evaluates every other equation by itself."""

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
