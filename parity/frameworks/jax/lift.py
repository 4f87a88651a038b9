"""JAX programs lifted to float64: traced in the user's own dtypes, evaluated with float32 as float64.

Casting the params is not enough: modules carry `dtype=float32`, code upcasts to float32 by name, constants
are float32. All of that stands in the jaxpr, where it can be replaced. Works through jit, custom
derivatives, remat, scan, while and cond; what a primitive does not allow is run in its own dtype.
"""

from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import AnyJaxpr, dtype_name
from parity.frameworks.jax.jaxpr_places import TOP, Caller
from parity.frameworks.jax.jaxpr_walk import Constant, Step, evaluate
from parity.frameworks.jax.lifted_constants import constants_of, holders, value_of
from parity.frameworks.jax.shapes import shape_struct
from parity.frameworks.jax.wide_dtypes import wide, widen
from parity.frameworks.jax.wide_equations import bind_wide
from parity.numerics.arrays import NARROW, numpy_dtype
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
            return widen(value_of(holder))

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

        batched = bool(params["cond_jaxpr"].out_avals[0].shape)

        def going_on(carry: Iterable[ArrayLike]) -> ArrayLike:
            return test([*cond_consts, *carry])[0]

        def any_going_on(carry: Iterable[ArrayLike]) -> ArrayLike:
            return jnp.any(going_on(carry)) if batched else going_on(carry)

        def once_more(carry: Iterable[ArrayLike]) -> Carry:
            new = turn([*body_consts, *carry])
            if not batched:
                return new
            return [kept_where_done(going_on(carry), n, o) for n, o in zip(new, carry, strict=True)]

        return list(lax.while_loop(any_going_on, once_more, list(inputs[sum(split) :])))

    def step(eqn: JaxprEqn, inputs: Sequence[ArrayLike], spot: Spot) -> Sequence[ArrayLike]:
        match eqn.primitive.name:
            case "scan":
                return scan(eqn, inputs, spot)
            case "while":
                return while_loop(eqn, inputs, spot)
            case "cond":
                branches = [inside(branch, spot) for branch in eqn.params["branches"]]
                return list(lax.switch(inputs[0], branches, list(inputs[1:])))
        outs = bind_wide(eqn, inputs, wide_jaxpr)
        return round_narrow(eqn, outs) if rounding else outs

    return step


def kept_where_done(going_on: ArrayLike, new: ArrayLike, old: ArrayLike) -> ArrayLike:
    """One value of a batch of loops after one more turn, as `while` means it under `vmap`.

    Args:
        going_on: which loops of the batch have not ended, a boolean for each.
        new: the value after the turn, the batch's axes first.
        old: the value before it: that of a loop that has ended.
    """
    axes = range(jnp.ndim(going_on))
    where = lax.broadcast_in_dim(going_on, jnp.shape(new), tuple(axes))
    return lax.select(where, jnp.asarray(new), jnp.asarray(old))


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
