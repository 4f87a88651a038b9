"""The floating and complex constants of a traced JAX program: literals, and arrays that are closed over.

A program lifted to float64 takes them as arguments, so that noise can move them without compiling again.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jax.typing import ArrayLike
from jaxtyping import Inexact

from parity.frameworks.jax.jaxpr_parts import body_of, consts_of
from parity.frameworks.jax.jaxpr_walk import Constant, inner_jaxprs
from parity.frameworks.jax.wide_dtypes import is_key, is_narrow
from parity.trace.rounded_constants import constant


def constants_of(closed: ClosedJaxpr) -> list[Inexact[np.ndarray, "..."]]:
    """The floating and complex constants of a traced program, restored or moved by the noise run in force.

    Args:
        closed: the jaxpr.

    Returns:
        Arrays in the order in which `lift.lifted` takes them.
    """
    return [constant(np.asarray(value_of(holder))) for holder in holders(closed)]


def holders(closed: ClosedJaxpr) -> Iterator[Constant]:
    """Floating literals and constants of a jaxpr and of all inside it, each once, in a fixed order.

    Args:
        closed: the jaxpr.
    """
    seen: set[int] = set()

    def new(holder: Constant) -> bool:
        if not is_narrow(value_of(holder)) or id(holder) in seen:
            return False
        seen.add(id(holder))
        return True

    def inside(jaxpr: Jaxpr, consts: Sequence[ArrayLike]) -> Iterator[Constant]:
        yield from filter(new, consts)
        for eqn in jaxpr.eqns:
            yield from (atom for atom in eqn.invars if isinstance(atom, Literal) and new(atom))
            for inner in inner_jaxprs(eqn.params):
                yield from inside(body_of(inner), consts_of(inner))
        yield from (atom for atom in jaxpr.outvars if isinstance(atom, Literal) and new(atom))

    yield from inside(closed.jaxpr, closed.consts)


def value_of(holder: Constant) -> ArrayLike:
    """The value of a constant, in the dtype that the program holds it in.

    Literals are numbers of Python's, or of JAX's with a dtype; NumPy alone would make an int64 of an int32.

    Args:
        holder: a literal, or the constant itself.
    """
    value: ArrayLike = holder.val if isinstance(holder, Literal) else holder
    if not isinstance(holder, Literal) or is_key(value):
        return value
    return np.asarray(value, getattr(holder.aval, "dtype", None))
