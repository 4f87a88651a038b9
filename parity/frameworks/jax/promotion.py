"""Where a value of a traced JAX program leaves the narrow dtype of what it is computed from."""

from collections.abc import Sequence

from jax.extend.core import ClosedJaxpr, JaxprEqn

from parity.frameworks.jax.jaxpr_parts import dtype_name
from parity.frameworks.jax.jaxpr_places import TOP
from parity.frameworks.jax.jaxpr_walk import Constant, evaluate
from parity.numerics.arrays import WIDTHS
from parity.trace.graph import Spot

Origin = Spot | None
"""Where a value became wider; None where it did not."""


def origins(closed: ClosedJaxpr, dtype: str) -> list[Origin]:
    """For every result of a program traced in `dtype`: where it became wider, None if it did not.

    What is widened inside and rounded again (a softmax in float32) is no promotion.

    Args:
        closed: the jaxpr, traced with arguments of `dtype`.
        dtype: name of a floating dtype.
    """

    def step(eqn: JaxprEqn, inputs: Sequence[Origin], spot: Spot) -> list[Origin]:
        known = next((origin for origin in inputs if origin is not None), spot)
        wide = [WIDTHS.get(dtype_name(variable), 0) > WIDTHS[dtype] for variable in eqn.outvars]
        return [known if one else None for one in wide]

    def constant(value: Constant) -> Origin:
        return None  # a wide constant alone widens nothing: what it meets is converted, and that has a place

    arguments: list[Origin] = [None] * len(closed.jaxpr.invars)
    constants: list[Origin] = [None] * len(closed.consts)
    return evaluate(closed.jaxpr, constants, arguments, step, constant, TOP)
