"""What a traced JAX program computes from constants alone, in float64 and in float32."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import shape_of
from parity.frameworks.jax.jaxpr_places import TOP
from parity.frameworks.jax.jaxpr_walk import Constant, evaluate, inner_jaxprs
from parity.frameworks.jax.lift import wide_jaxpr
from parity.frameworks.jax.lifted_constants import value_of
from parity.frameworks.jax.wide_dtypes import is_key, is_narrow, widen
from parity.frameworks.jax.wide_equations import apply, bind_wide, wide_params
from parity.trace import numpy_ops
from parity.trace.computed_constants import LARGEST, Computed, telling
from parity.trace.graph import Spot
from parity.trace.rounded_constants import constant


class _Both(NamedTuple):
    """A value in float64 and as the program itself computes it."""

    wide: ArrayLike
    narrow: ArrayLike


def _run(eqn: JaxprEqn, known: Sequence[_Both]) -> tuple[Sequence[ArrayLike], Sequence[ArrayLike]]:
    """The results of an equation in float64 and in its own dtype; what is exact in NumPy is not compiled."""
    wide, narrow = [value.wide for value in known], [value.narrow for value in known]
    name = eqn.primitive.name
    if name in numpy_ops.EXACT and numpy_ops.supports(name, [*wide, *narrow], eqn.params):
        params = wide_params(eqn.params, wide_jaxpr)
        return numpy_ops.run_primitive(name, wide, params), numpy_ops.run_primitive(name, narrow, eqn.params)
    return bind_wide(eqn, wide, wide_jaxpr), apply(eqn.primitive, narrow, eqn.params)


def computed_from_constants(closed: ClosedJaxpr) -> list[Computed]:
    """The floating values of a program that depend on neither arguments nor random numbers, each once.

    Loops and branches are not entered.

    Args:
        closed: the jaxpr, in the user's own dtypes.
    """
    found: dict[bytes, Computed] = {}

    def keep(both: _Both) -> _Both:
        wide = np.asarray(both.wide)
        if telling(wide):
            found.setdefault(wide.tobytes(), Computed(wide, np.asarray(both.narrow, np.float32)))
        return both

    def held(holder: Constant) -> _Both | None:
        value = value_of(holder)
        if is_key(value):
            return None
        wide = constant(np.asarray(value)) if is_narrow(value) else widen(np.asarray(value))
        return keep(_Both(wide, np.asarray(value)))

    def step(eqn: JaxprEqn, inputs: Sequence[_Both | None], spot: Spot) -> Sequence[_Both | None]:
        unknown: list[_Both | None] = [None] * len(eqn.outvars)
        known = [value for value in inputs if value is not None]
        size = max((int(np.prod(shape_of(out))) for out in eqn.outvars), default=0)
        if len(known) < len(inputs) or size > LARGEST or any(True for _ in inner_jaxprs(eqn.params)):
            return unknown
        try:
            wide, narrow = _run(eqn, known)
        except Exception:  # an effect, or a primitive that cannot be run by itself
            return unknown
        if any(map(is_key, wide)):
            return unknown
        return [keep(_Both(*pair)) for pair in zip(wide, narrow, strict=True)]

    with jax.enable_x64(True):
        arguments: list[_Both | None] = [None] * len(closed.jaxpr.invars)
        evaluate(closed.jaxpr, [held(value) for value in closed.consts], arguments, step, held, TOP)
    return list(found.values())
