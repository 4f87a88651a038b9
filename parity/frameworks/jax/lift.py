"""JAX programs lifted to float64: traced in the user's own dtypes, evaluated with float32 as float64.

Casting the params is not enough: modules carry `dtype=float32`, code upcasts to float32 by name, constants
are float32. All of that stands in the jaxpr, where it can be replaced. Works through jit, custom
derivatives, remat, scan, while and cond; what a primitive does not allow is run in its own dtype.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.frameworks.jax.jaxpr_walk import Step, evaluate, inner_jaxprs
from parity.trace.graph import Spot
from parity.trace.rounded_constants import constant

NARROW = ("bfloat16", "float16")
"""Dtypes in which rounding is a decision of the model's author."""


def lifted(closed: Any, *, rounding: bool = False) -> Callable[..., list[Any]]:
    """A traced program with every float32 made a float64: `run(constants, *args) -> outputs`.

    Args:
        closed: the jaxpr.
        rounding: whether values that the program holds in bfloat16 or float16 keep being rounded to them:
            they are part of what it computes, if the other side knows nothing of them.

    `constants` are those of `constants_of(closed)`, in that order, so that noise can move them without
    compiling again.
    """

    def run(constants: Sequence[Any], *args: Any) -> list[Any]:
        pool = iter(constants)
        values = {id(holder): next(pool) for holder in _holders(closed)}
        step = _lifted_step(values, rounding)

        def literal(atom: Any) -> Any:
            return values[id(atom)] if id(atom) in values else _plain(atom.val)

        consts = [values.get(id(value), value) for value in closed.consts]
        return evaluate(closed.jaxpr, [widen(c) for c in consts], args, step, literal, Spot())

    return run


def constants_of(closed: Any) -> list[np.ndarray]:
    """The floating constants of a traced program, restored or moved by the noise run in force.

    Args:
        closed: the jaxpr.

    Returns:
        Arrays in the order in which `lifted` takes them.
    """
    return [constant(np.asarray(getattr(holder, "val", holder))) for holder in _holders(closed)]


def _holders(closed: Any) -> Iterator[Any]:
    """Floating literals and constants of a jaxpr and of all inside it, each once, in a fixed order."""
    seen: set[int] = set()

    def go(jaxpr: Any, consts: Sequence[Any]) -> Iterator[Any]:
        for value in consts:
            if is_narrow(value) and id(value) not in seen:
                seen.add(id(value))
                yield value
        for eqn in jaxpr.eqns:
            for atom in eqn.invars:
                if hasattr(atom, "val") and is_narrow(atom.val) and id(atom) not in seen:
                    seen.add(id(atom))
                    yield atom
            for inner in inner_jaxprs(eqn.params):
                yield from go(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()))
        for atom in jaxpr.outvars:
            if hasattr(atom, "val") and is_narrow(atom.val) and id(atom) not in seen:
                seen.add(id(atom))
                yield atom

    yield from go(closed.jaxpr, closed.consts)


def is_narrow(value: Any) -> bool:
    """Whether a value is floating and narrower than float64.

    Args:
        value: of any type.
    """
    return str(getattr(value, "dtype", "")) in ("float32", "bfloat16", "float16")


def wide(dtype: Any) -> Any:
    """float64 for a narrower floating dtype, complex128 for complex64, the dtype itself for all others.

    Args:
        dtype: of NumPy or JAX.
    """
    names = {"float32": "float64", "bfloat16": "float64", "float16": "float64", "complex64": "complex128"}
    name = names.get(str(dtype))
    return np.dtype(name) if name else dtype


def widen(value: Any) -> Any:
    """A value in the wide counterpart of its dtype.

    Args:
        value: an array; anything else stays as it is.
    """
    dtype = getattr(value, "dtype", None)
    if dtype is None or wide(dtype) is dtype:
        return value
    return value.astype(wide(dtype))


def _plain(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.generic | np.ndarray) else value


def is_key(value: Any) -> bool:
    """Whether a value is a random key of JAX's, which is no array of numbers.

    Args:
        value: of any type.
    """
    return "key<" in str(getattr(value, "dtype", ""))


def wide_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a primitive with dtypes widened, also inside jaxprs (reducers, scatter updates).

    Args:
        params: of an equation.
    """
    widened = {}
    for name, value in params.items():
        if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
            widened[name] = wide(np.dtype(value))
        elif hasattr(value, "eqns") or hasattr(value, "jaxpr"):
            widened[name] = wide_jaxpr(value)
        elif isinstance(value, tuple) and any(hasattr(v, "jaxpr") for v in value):
            widened[name] = tuple(wide_jaxpr(v) if hasattr(v, "jaxpr") else v for v in value)
        else:
            widened[name] = value
    return widened


def wide_jaxpr(jaxpr: Any) -> Any:
    """The same jaxpr, traced again for float64 arguments.

    Args:
        jaxpr: open or closed.
    """
    import jax
    from jax.extend import core

    closed = jaxpr if hasattr(jaxpr, "jaxpr") else core.ClosedJaxpr(jaxpr, ())
    if not all(hasattr(v.aval, "dtype") for v in closed.jaxpr.invars):
        return jaxpr
    shaped: Any = jax.ShapeDtypeStruct
    avals = [shaped(v.aval.shape, wide(v.aval.dtype)) for v in closed.jaxpr.invars]
    run = lifted(closed)
    again = jax.make_jaxpr(lambda *args: run(constants_of(closed), *args))(*avals)
    return again if hasattr(jaxpr, "jaxpr") else again.jaxpr


def bind_wide(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate one equation on float64 values; in its own dtype where it allows no other.

    Args:
        eqn: the equation.
        inputs: its operands.
    """
    primitive, name = eqn.primitive, eqn.primitive.name
    if name == "reduce_precision" or (name == "bitcast_convert_type" and _mixes_bits(eqn)):
        return own_dtype(eqn, inputs)
    return apply(primitive, inputs, wide_params(eqn.params))


def apply(primitive: Any, inputs: Sequence[Any], params: Mapping[str, Any]) -> list[Any]:
    """Evaluate a primitive.

    Args:
        primitive: which one.
        inputs: its operands.
        params: its parameters.

    Returns:
        Its results, also a single one, in a list.
    """
    bound = primitive.get_bind_params(dict(params))
    functions, bound = bound if isinstance(bound, tuple) else ((), bound)  # a pair up to jax 0.9
    out = primitive.bind(*functions, *inputs, **bound)
    return list(out) if primitive.multiple_results else [out]


def _mixes_bits(eqn: Any) -> bool:
    return bool(np.dtype(eqn.params["new_dtype"]).kind != np.dtype(eqn.invars[0].aval.dtype).kind)


def own_dtype(eqn: Any, inputs: Sequence[Any]) -> list[Any]:
    """Evaluate one equation in the dtypes it was traced with; its results are widened.

    Args:
        eqn: the equation.
        inputs: its operands, float64 where they are floating.
    """
    import jax.numpy as jnp

    narrow = [
        jnp.asarray(value, atom.aval.dtype) if str(getattr(value, "dtype", "")).startswith("float") else value
        for atom, value in zip(eqn.invars, inputs, strict=True)
    ]
    return [widen(value) for value in apply(eqn.primitive, narrow, eqn.params)]


def _lifted_step(values: Mapping[int, Any], rounding: bool) -> Step:
    """Loops and branches by JAX's own functions, so that constants inside stay arguments."""

    def literal(atom: Any) -> Any:
        return values[id(atom)] if id(atom) in values else _plain(atom.val)

    def inside(closed: Any, spot: Spot) -> Callable[..., list[Any]]:
        consts = [widen(values.get(id(value), value)) for value in closed.consts]
        return lambda args: evaluate(closed.jaxpr, consts, args, step, literal, spot)

    def step(eqn: Any, inputs: Sequence[Any], spot: Spot) -> Sequence[Any]:
        from jax import lax

        params = eqn.params
        if eqn.primitive.name == "scan":
            fixed, carried = params["num_consts"], params["num_carry"]
            consts, carry = list(inputs[:fixed]), list(inputs[fixed : fixed + carried])
            run = inside(params["jaxpr"], spot)

            def body(carry: Any, xs: Any) -> Any:
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
        if eqn.primitive.name == "while":
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
        if eqn.primitive.name == "cond":
            branches = [inside(branch, spot) for branch in params["branches"]]
            return list(lax.switch(inputs[0], branches, list(inputs[1:])))
        outs = bind_wide(eqn, inputs)
        return round_narrow(eqn, outs) if rounding else outs

    return step


def round_narrow(eqn: Any, outs: Sequence[Any]) -> list[Any]:
    """Round results to the narrow dtypes in which the program itself holds them.

    Args:
        eqn: the equation.
        outs: its results, float64 where they are floating.

    Returns:
        The results, still float64.
    """
    kept = []
    for atom, value in zip(eqn.outvars, outs, strict=True):
        dtype = getattr(atom.aval, "dtype", None)
        narrow = str(dtype) in NARROW and getattr(value, "dtype", None) == np.float64
        kept.append(value.astype(dtype).astype(np.float64) if narrow else value)
    return kept
