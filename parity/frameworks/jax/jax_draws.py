"""The random numbers of a JAX program, read from a stream that both sides share.

In the jaxpr, the equations that draw are given another body: the same arguments, the numbers of the stream.
All around them, places included, stays as it was traced. In a loop the key says which numbers are meant.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.typing import ArrayLike
from jaxtyping import Shaped

from parity.frameworks.jax.jax_drawn import Call, Drawn, Identity, Path
from parity.frameworks.jax.jaxpr_parts import AnyJaxpr, body_of, consts_of, is_jaxpr, shape_of
from parity.frameworks.jax.jaxpr_places import TOP
from parity.frameworks.jax.jaxpr_walk import Constant, callee, evaluate
from parity.frameworks.jax.lifted_constants import value_of
from parity.frameworks.jax.shapes import shape_struct
from parity.frameworks.jax.wide_dtypes import is_key
from parity.frameworks.jax.wide_equations import apply
from parity.numerics import draws
from parity.numerics.draws import Distribution, Share, share_of
from parity.trace.graph import Spot

Shares = Mapping[Identity, Share]
"""Where each draw reads the stream."""


def shares_by_key(drawn: Drawn, shares: Sequence[Share]) -> Shares:
    """Where each draw reads the stream, by what it is known by wherever it is met again.

    Args:
        drawn: of the forward pass.
        shares: of its draws, in order; of one that repeats an earlier one the earlier one's holds.
    """
    found: dict[Identity, Share] = {}
    for index, call in enumerate(drawn.calls):
        if call.identity is not None:
            found.setdefault(call.identity, share_of(shares, index))
    return found


def sharing(closed: ClosedJaxpr, drawn: Drawn, shares: Shares) -> ClosedJaxpr:
    """The same program with the numbers of the stream in the place of its own.

    Args:
        closed: the jaxpr.
        drawn: what it draws.
        shares: where each draw reads the stream; one that is not there keeps its own numbers.
    """
    bodies = {
        path: [drawn.calls[index] for index in indices]
        for path, indices in drawn.sites.items()
        if all(drawn.calls[index].identity in shares for index in indices)
    }
    leading = {path[:length] for path in bodies for length in range(1, len(path))}

    def rewritten(jaxpr: Any, path: Path) -> Any:
        return jaxpr.replace(eqns=[equation(eqn, (*path, id(eqn))) for eqn in jaxpr.eqns])

    def equation(eqn: Any, path: Path) -> Any:
        if path in bodies:
            return eqn.replace(params={**eqn.params, "jaxpr": _body(eqn, bodies[path], shares)})
        if path not in leading:
            return eqn
        return eqn.replace(params={name: parameter(value, path) for name, value in eqn.params.items()})

    def parameter(value: Any, path: Path) -> Any:
        if is_jaxpr(value):
            inner = rewritten(body_of(value), path)
            return _holding(value, inner) if isinstance(value, ClosedJaxpr) else inner
        if isinstance(value, tuple | list):
            return type(value)(parameter(item, path) for item in value)
        return value

    return _holding(closed, rewritten(closed.jaxpr, ()))


def _holding(closed: ClosedJaxpr, jaxpr: Jaxpr) -> ClosedJaxpr:
    """A jaxpr closed over the constants of another."""
    return ClosedJaxpr(jaxpr, closed.consts)


def _dtype_of(atom: Any) -> np.dtype[np.generic]:
    """The dtype of a variable or literal, of a key, too."""
    dtype: np.dtype[np.generic] = atom.aval.dtype
    return dtype


def _body(eqn: JaxprEqn, calls: Sequence[Call], shares: Shares) -> ClosedJaxpr:
    """What an equation that draws calls instead."""
    inner = callee(eqn)
    if inner is None:
        raise TypeError(f"the equation {eqn.primitive.name} calls nothing; it must be a call of jax.random")
    source, dtype = calls[0].source, _dtype_of(eqn.outvars[0])
    tables = {call.identity: (call, shares[call.identity]) for call in calls if call.identity is not None}
    keys = np.stack([call.key for call, _ in tables.values() if call.key is not None])
    table = np.stack([_numbers(call, share) for call, share in tables.values()])

    def run(*args: ArrayLike) -> list[ArrayLike]:
        key = next(value for value in args if is_key(value))
        numbers = _looked_up(key, keys, table)
        match source:
            case Distribution.INTEGERS:
                return [lax.convert_element_type(numbers, dtype)]
            case Distribution.NORMAL:
                return [_scaled(numbers, draws.NORMAL_BITS, dtype)]
            case _ if (
                all(call.standard for call in calls) and shape_of(eqn.outvars[0]) == calls[0].draw.shape
            ):
                return [_scaled(numbers, draws.UNIFORM_BITS, dtype)]
        return _with_uniform(inner, args, numbers)

    avals = [shape_struct(shape_of(atom), _dtype_of(atom)) for atom in eqn.invars]
    return jax.make_jaxpr(run)(*avals)


def _numbers(call: Call, share: Share) -> Shaped[np.ndarray, "..."]:
    """The integers that a call reads: they are the same in every precision."""
    shape = call.draw.shape
    match call.source:
        case Distribution.INTEGERS:
            low, high = map(int, call.draw.parameters)
            return draws.integers(share, shape, low, high).astype(np.int32)
        case Distribution.NORMAL:
            return draws.normal_multiples(share, shape)
    return draws.fractions(share, shape)


def _looked_up(
    key: ArrayLike, keys: Shaped[np.ndarray, "calls words"], table: Shaped[np.ndarray, "calls *shape"]
) -> jax.Array:
    """The numbers that belong to a key."""
    if len(table) == 1:
        return jnp.asarray(table[0])
    words = jax.random.key_data(key).reshape(-1)
    same = jnp.all(jnp.asarray(keys) == words[None, :], axis=1)
    return jnp.asarray(lax.dynamic_index_in_dim(jnp.asarray(table), jnp.argmax(same), keepdims=False))


def _scaled(numbers: jax.Array, bits: int, dtype: np.dtype[np.generic]) -> jax.Array:
    """Numerators over a power of two, which float32 holds exactly."""
    fraction = lax.convert_element_type(numbers, np.float32) * np.float32(2.0**-bits)
    return lax.convert_element_type(fraction, dtype)


def _with_uniform(inner: AnyJaxpr, args: Sequence[ArrayLike], numbers: jax.Array) -> list[ArrayLike]:
    """The body of `_uniform`, which scales numbers in (0, 1), with these numbers."""
    body = body_of(inner)
    subtracted = next(eqn for eqn in body.eqns if eqn.primitive.name == "sub" and _is_of_bits(body, eqn))

    def step(eqn: JaxprEqn, inputs: Sequence[Any], spot: Spot) -> Sequence[Any]:
        if eqn.primitive.name == "random_bits" or (eqn is not subtracted and any(i is None for i in inputs)):
            return [None] * len(eqn.outvars)  # what leads to the number that is replaced
        if eqn is subtracted:
            return [_scaled(numbers, draws.UNIFORM_BITS, _dtype_of(eqn.outvars[0]))]
        return apply(eqn.primitive, inputs, eqn.params)

    def constant(holder: Constant) -> ArrayLike:
        return value_of(holder)

    return evaluate(body, list(consts_of(inner)), list(args), step, constant, TOP)


def _is_of_bits(body: Jaxpr, eqn: JaxprEqn) -> bool:
    """Whether a subtraction is that of 1 from a number in [1, 2) whose bits were drawn."""
    bits = next(one for one in body.eqns if one.primitive.name == "random_bits")
    return shape_of(eqn.outvars[0]) == shape_of(bits.outvars[0]) and body.eqns.index(eqn) > body.eqns.index(
        bits
    )
