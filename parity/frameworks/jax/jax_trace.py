"""The trace of a JAX program: its jaxpr evaluated equation by equation in float64, loops unrolled.

What NumPy can compute it computes, at recording and at replay; JAX is asked for the rest.
"""

import functools
import re
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.typing import ArrayLike
from jaxtyping import Shaped

from parity.frameworks.jax.jaxpr_parts import dtype_name, shape_of
from parity.frameworks.jax.jaxpr_places import TOP, Caller
from parity.frameworks.jax.jaxpr_walk import Constant, evaluate
from parity.frameworks.jax.lift import round_narrow, wide_jaxpr
from parity.frameworks.jax.lifted_constants import value_of
from parity.frameworks.jax.wide_dtypes import is_key, is_narrow, wide, widen
from parity.frameworks.jax.wide_equations import apply, keeps_dtype, own_dtype, wide_params
from parity.trace import numpy_ops
from parity.trace.graph import Evaluation, Function, Node, NodeKind, Spot, Trace
from parity.trace.rounded_constants import constant
from parity.trace.rounded_uses import written_dtype
from parity.trace.vocabulary import REARRANGING

Argument = tuple[NodeKind, str, Shaped[np.ndarray, "..."]]
"""Of a traced program: what it is, its name and its value."""


def record_trace(
    closed: ClosedJaxpr,
    arguments: Sequence[Argument],
    results: Sequence[tuple[str, str]],
    *,
    rounding: bool = False,
) -> Trace:
    """Evaluate a traced program in float64 and keep every value.

    Args:
        closed: the jaxpr, traced in the user's own dtypes.
        arguments: kind, name and value of each flat argument.
        results: group and leaf name of each flat result.
        rounding: as in `lift.lifted`.
    """
    trace = Trace([], {}, {}, {})
    recorder = _Recorder(trace, rounding)
    with jax.enable_x64(True):
        args = []
        for (kind, name, array), aval in zip(arguments, closed.in_avals, strict=True):
            value = widen(np.asarray(array))
            node = Node(name, kind, (), value, fixed=kind is NodeKind.WEIGHT, written=str(aval.dtype))
            index = recorder.add(node)
            (trace.weights if kind is NodeKind.WEIGHT else trace.inputs)[name] = index
            args.append(index)
        consts = [recorder.constant(value) for value in closed.consts]
        outs = evaluate(closed.jaxpr, consts, args, recorder.step, recorder.constant, TOP)
    for (group, leaf), index in zip(results, outs, strict=True):
        trace.outputs.setdefault(group, {})[leaf] = index
    return trace


def _on_host(value: ArrayLike) -> ArrayLike:
    """A result as a NumPy array; random keys stay what they are."""
    return value if is_key(value) else np.asarray(value)


def _row(index: int, values: Sequence[jax.Array | np.ndarray]) -> Sequence[ArrayLike]:
    return [values[0][index]]


def _stacked(values: Sequence[jax.Array | np.ndarray]) -> Sequence[ArrayLike]:
    return [np.stack(values)]


def _kept_where_done(values: Sequence[jax.Array | np.ndarray]) -> Sequence[ArrayLike]:
    """`lift.kept_where_done` in NumPy."""
    going_on, old, new = map(np.asarray, values)
    return [np.where(going_on.reshape(going_on.shape + (1,) * (new.ndim - going_on.ndim)), new, old)]


class _Recorder:
    """Evaluates equations on node indices."""

    def __init__(self, trace: Trace, rounding: bool) -> None:
        self.trace, self.rounding = trace, rounding
        self.constants: dict[int, tuple[ArrayLike, int]] = {}
        self.params: dict[int, tuple[JaxprEqn, dict[str, object]]] = {}

    def add(self, node: Node) -> int:
        self.trace.nodes.append(node)
        return len(self.trace.nodes) - 1

    def constant(self, holder: Constant) -> int:
        """The node of a constant, one for each place where it stands."""
        value = value_of(holder)
        known = self.constants.get(id(value)) if getattr(value, "ndim", 0) else None
        if known is not None:
            return known[1]
        held: ArrayLike = value
        if not is_key(value):
            held = constant(np.asarray(value)) if is_narrow(value) else np.asarray(value)
        index = self.add(Node("constant", NodeKind.CONSTANT, (), held, fixed=True))
        self.constants[id(value)] = (value, index)
        return index

    def run(
        self,
        operation: str,
        inputs: Sequence[int],
        function: Function,
        spot: Spot,
        params: Mapping[str, object],
        written: Sequence[str],
    ) -> list[int]:
        nodes = self.trace.nodes
        values = function([nodes[i].value for i in inputs])
        spot = spot._replace(module=clean(spot.module))
        fixed = operation in REARRANGING and bool(inputs) and all(nodes[i].fixed for i in inputs)
        number = len(self.trace.evaluations)
        outs = [
            self.add(
                Node(
                    operation,
                    NodeKind.OPERATION,
                    tuple(inputs),
                    value,
                    spot,
                    params,
                    self.backward,
                    fixed,
                    number,
                    dtype,
                )
            )
            for value, dtype in zip(values, written, strict=True)
        ]
        self.trace.evaluations.append(Evaluation(operation, params, tuple(inputs), tuple(outs), function))
        return outs

    backward = False

    def written(self, nodes: Sequence[int]) -> list[str]:
        """The dtypes of some nodes in the program as it was written."""
        return [written_dtype(self.trace.nodes[index]) for index in nodes]

    def step(self, eqn: JaxprEqn, inputs: Sequence[int], spot: Spot) -> list[int]:
        self.backward = "transpose(" in spot.module
        name = eqn.primitive.name
        match name:
            case "scan":
                return self._scan(eqn, list(inputs), spot)
            case "while":
                return self._while(eqn, list(inputs), spot)
            case "cond":
                return self._cond(eqn, list(inputs), spot)
        if id(eqn) not in self.params:
            own = keeps_dtype(eqn)
            self.params[id(eqn)] = (eqn, eqn.params if own else wide_params(eqn.params, wide_jaxpr))
        params = self.params[id(eqn)][1]

        def function(values: Sequence[ArrayLike]) -> Sequence[ArrayLike]:
            if numpy_ops.supports(name, values, params):
                outs: Sequence[ArrayLike] = numpy_ops.run_primitive(name, values, params)
            else:
                with jax.enable_x64(True):  # a replay may come from anywhere
                    own = keeps_dtype(eqn)
                    run = own_dtype(eqn, values) if own else apply(eqn.primitive, values, params)
                    outs = [_on_host(value) for value in run]
            return round_narrow(eqn, outs) if self.rounding else outs

        outs = self.run(name, inputs, function, spot, params, [dtype_name(v) for v in eqn.outvars])
        if name == "stop_gradient":
            self.trace.stops += [self.trace.nodes[index] for index in outs]
        return outs

    def _inside(self, closed: ClosedJaxpr, inputs: list[int], spot: Spot) -> list[int]:
        consts = [self.constant(value) for value in closed.consts]
        return evaluate(closed.jaxpr, consts, inputs, self.step, self.constant, Caller(spot))

    def _scan(self, eqn: JaxprEqn, inputs: list[int], spot: Spot) -> list[int]:
        p = eqn.params
        consts, carry = inputs[: p["num_consts"]], inputs[p["num_consts"] :][: p["num_carry"]]
        xs = inputs[p["num_consts"] + p["num_carry"] :]
        rows: list[list[int]] = []
        order = range(p["length"])
        for i in reversed(order) if p["reverse"] else order:
            inner = spot._replace(step=f"{spot.step}, scan step {i}".strip(", "))
            take: Function = functools.partial(_row, i)
            row = [self.run("scan_slice", [x], take, inner, {"index": i}, self.written([x]))[0] for x in xs]
            outs = self._inside(p["jaxpr"], consts + carry + row, inner)
            carry = outs[: p["num_carry"]]
            rows.append(outs[p["num_carry"] :])
        if p["reverse"]:
            rows.reverse()
        stacked = [
            self.run("scan_stack", list(column), _stacked, spot, {}, self.written(column[:1]))[0]
            for column in zip(*rows, strict=True)
        ]
        if not rows:
            empty = [np.zeros(shape_of(v), wide(dtype_name(v))) for v in eqn.outvars[len(carry) :]]
            stacked = [self.add(Node("constant", NodeKind.CONSTANT, (), e, spot)) for e in empty]
        return [*carry, *stacked]

    def _while(self, eqn: JaxprEqn, inputs: list[int], spot: Spot) -> list[int]:
        p = eqn.params
        a, b = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
        cond_consts, body_consts, carry = inputs[:a], inputs[a:b], inputs[b:]
        turn = 0
        while True:
            inner = spot._replace(step=f"{spot.step}, while step {turn}".strip(", "))
            (test,) = self._inside(p["cond_jaxpr"], cond_consts + carry, inner)
            going_on = np.asarray(self.trace.nodes[test].value)
            if not going_on.any():
                return carry
            new = self._inside(p["body_jaxpr"], body_consts + carry, inner)
            if going_on.ndim:  # a batch of loops: those that have ended keep their values
                kept = functools.partial(
                    self.run, "select_n", function=_kept_where_done, spot=inner, params={}
                )
                new = [
                    kept([test, old, one], written=self.written([one]))[0]
                    for one, old in zip(new, carry, strict=True)
                ]
            carry = new
            turn += 1

    def _cond(self, eqn: JaxprEqn, inputs: list[int], spot: Spot) -> list[int]:
        branches = eqn.params["branches"]
        chosen = int(np.clip(int(self.trace.nodes[inputs[0]].value), 0, len(branches) - 1))
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
