"""JAX programs lifted to float64: traced in the user's own dtypes, evaluated with float32 as float64.

Casting the params is not enough: modules carry `dtype=float32`, code upcasts to float32 by name, constants
are float32. All of that stands in the jaxpr, where it can be replaced. Works through jit, custom
derivatives, remat, scan, while and cond; what a primitive does not allow is run in its own dtype.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn, Primitive
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import AnyJaxpr, dtype_name, is_jaxpr
from parity.frameworks.jax.jaxpr_places import TOP, Caller
from parity.frameworks.jax.jaxpr_walk import Constant, Step, evaluate
from parity.frameworks.jax.lifted_constants import constants_of, holders, value_of
from parity.frameworks.jax.shapes import shape_struct
from parity.frameworks.jax.wide_dtypes import NARROW, wide, widen
from parity.numerics.arrays import numpy_dtype
from parity.trace.graph import Spot

Lifted = Callable[..., list[ArrayLike]]
"""`run(constants, *args) -> outputs`."""

Carry = list[ArrayLike]
"""What a loop hands from one step to the next, or collects in each."""


def lifted(closed: ClosedJaxpr, *, rounding: bool = False) -> Lifted:
    """A traced program with every float32 made a float64: `run(constants, *args) -> outputs`.

    Args:
        closed: the jaxpr.
        rounding: whether values that the program holds in bfloat16 or float16 keep being rounded to them:
            they are part of what it computes, if the other side knows nothing of them.

    `constants` are those of `constants_of(closed)`, in that order, so that noise can move them without
    compiling again.
    """

    def run(constants: Sequence[ArrayLike], *args: ArrayLike) -> list[ArrayLike]:
        values = {id(holder): value for holder, value in zip(holders(closed), constants, strict=True)}

        def constant(holder: Constant) -> ArrayLike:
            if id(holder) in values:
                return values[id(holder)]
            value = value_of(holder)
            return widen(np.asarray(value) if isinstance(value, np.generic | np.ndarray) else value)

        step = _lifted_step(constant, rounding)
        consts = [constant(value) for value in closed.consts]
        return evaluate(closed.jaxpr, consts, args, step, constant, TOP)

    return run


def _lifted_step(constant: Callable[[Constant], ArrayLike], rounding: bool) -> Step[ArrayLike]:
    """Loops and branches by JAX's own functions, so that constants inside stay arguments."""

    def inside(closed: ClosedJaxpr, spot: Spot) -> Callable[[Sequence[ArrayLike]], list[ArrayLike]]:
        consts = [constant(value) for value in closed.consts]
        return lambda args: evaluate(closed.jaxpr, consts, args, step, constant, Caller(spot))

    def scan(eqn: JaxprEqn, inputs: Sequence[ArrayLike], spot: Spot) -> list[ArrayLike]:
        params = eqn.params
        fixed, carried = params["num_consts"], params["num_carry"]
        consts, carry = list(inputs[:fixed]), list(inputs[fixed : fixed + carried])
        run = inside(params["jaxpr"], spot)

        def body(carry: Carry, xs: Carry) -> tuple[Carry, Carry]:
            outs = run([*consts, *carry, *xs])
            return outs[:carried], outs[carried:]

        last, ys = lax.scan(
            body,
            carry,
            list(inputs[fixed + carried :]),
            length=params["length"],
            reverse=params["reverse"],
            unroll=params["unroll"],
        )
        return [*last, *ys]

    def while_loop(eqn: JaxprEqn, inputs: Sequence[ArrayLike], spot: Spot) -> list[ArrayLike]:
        params = eqn.params
        split = (params["cond_nconsts"], params["body_nconsts"])
        cond_consts, body_consts = list(inputs[: split[0]]), list(inputs[split[0] : sum(split)])
        test, turn = inside(params["cond_jaxpr"], spot), inside(params["body_jaxpr"], spot)
        return list(
            lax.while_loop(
                lambda c: test([*cond_consts, *c])[0],
                lambda c: turn([*body_consts, *c]),
                list(inputs[sum(split) :]),
            )
        )

    def step(eqn: JaxprEqn, inputs: Sequence[ArrayLike], spot: Spot) -> Sequence[ArrayLike]:
        match eqn.primitive.name:
            case "scan":
                return scan(eqn, inputs, spot)
            case "while":
                return while_loop(eqn, inputs, spot)
            case "cond":
                branches = [inside(branch, spot) for branch in eqn.params["branches"]]
                return list(lax.switch(inputs[0], branches, list(inputs[1:])))
        outs = bind_wide(eqn, inputs)
        return round_narrow(eqn, outs) if rounding else outs

    return step


def bind_wide(eqn: JaxprEqn, inputs: Sequence[ArrayLike]) -> list[ArrayLike]:
    """Evaluate one equation on float64 values; in its own dtype where it allows no other.

    Args:
        eqn: the equation.
        inputs: its operands.
    """
    primitive, name = eqn.primitive, eqn.primitive.name
    if name == "reduce_precision" or (name == "bitcast_convert_type" and _mixes_bits(eqn)):
        return own_dtype(eqn, inputs)
    return apply(primitive, inputs, wide_params(eqn.params))


def apply(primitive: Primitive, inputs: Sequence[ArrayLike], params: Mapping[str, object]) -> list[ArrayLike]:
    """Evaluate a primitive.

    Args:
        primitive: which one.
        inputs: its operands.
        params: its parameters.

    Returns:
        Its results, also a single one, in a list.
    """
    bound = primitive.get_bind_params(dict(params))  # type: ignore[no-untyped-call]
    functions, bound = bound if isinstance(bound, tuple) else ((), bound)  # a pair up to jax 0.9
    out = primitive.bind(*functions, *inputs, **bound)  # type: ignore[no-untyped-call]
    return list(out) if primitive.multiple_results else [out]


def wide_params(params: Mapping[str, object]) -> dict[str, object]:
    """Parameters of a primitive with dtypes widened, also inside jaxprs (reducers, scatter updates).

    Args:
        params: of an equation.
    """
    widened: dict[str, object] = {}
    for name, value in params.items():
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
            widened[name] = wide(np.dtype(value))
        elif is_jaxpr(value):
            widened[name] = wide_jaxpr(value)
        elif isinstance(value, tuple) and any(isinstance(one, ClosedJaxpr) for one in value):
            widened[name] = tuple(wide_jaxpr(one) if isinstance(one, ClosedJaxpr) else one for one in value)
        else:
            widened[name] = value
    return widened


def wide_jaxpr(jaxpr: AnyJaxpr) -> AnyJaxpr:
    """The same jaxpr, traced again for float64 arguments.

    Args:
        jaxpr: open or closed; the result is the same.
    """
    closed = jaxpr if isinstance(jaxpr, ClosedJaxpr) else ClosedJaxpr(jaxpr, ())
    if not all(map(dtype_name, closed.jaxpr.invars)):
        return jaxpr
    avals = [shape_struct(aval.shape, wide(aval.dtype)) for aval in closed.in_avals]
    run = lifted(closed)
    again = jax.make_jaxpr(lambda *args: run(constants_of(closed), *args))(*avals)
    return again if isinstance(jaxpr, ClosedJaxpr) else again.jaxpr


def own_dtype(eqn: JaxprEqn, inputs: Sequence[ArrayLike]) -> list[ArrayLike]:
    """Evaluate one equation in the dtypes it was traced with; its results are widened.

    Args:
        eqn: the equation.
        inputs: its operands, float64 where they are floating.
    """
    narrow = [
        jnp.asarray(value, dtype_name(atom)) if "float" in str(getattr(value, "dtype", "")) else value
        for atom, value in zip(eqn.invars, inputs, strict=True)
    ]
    return [widen(value) for value in apply(eqn.primitive, narrow, eqn.params)]


def _mixes_bits(eqn: JaxprEqn) -> bool:
    new_dtype: np.dtype[np.generic] = np.dtype(eqn.params["new_dtype"])
    return numpy_dtype(dtype_name(eqn.invars[0])).kind != new_dtype.kind


def round_narrow(eqn: JaxprEqn, outs: Sequence[ArrayLike]) -> list[ArrayLike]:
    """Round results to the narrow dtypes in which the program itself holds them.

    Args:
        eqn: the equation.
        outs: its results, float64 where they are floating.

    Returns:
        The results, still float64.
    """
    kept: list[ArrayLike] = []
    for variable, value in zip(eqn.outvars, outs, strict=True):
        dtype = dtype_name(variable)
        if dtype in NARROW and isinstance(value, jax.Array | np.ndarray) and value.dtype == np.float64:
            value = value.astype(numpy_dtype(dtype)).astype(np.float64)
        kept.append(value)
    return kept
