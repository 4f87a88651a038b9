"""Where a value of a traced JAX program leaves the narrow dtype of what it is computed from."""

from collections.abc import Sequence
from typing import Any

from parity.frameworks.jax import jaxpr_walk
from parity.trace.graph import Spot

_WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}


def origins(closed: Any, dtype: str) -> list[Spot | None]:
    """For every result of a program traced in `dtype`: where it became wider, None if it did not.

    What is widened inside and rounded again (a softmax in float32) is no promotion.

    Args:
        closed: the jaxpr, traced with arguments of `dtype`.
        dtype: name of a floating dtype.
    """

    def wide(variable: Any) -> bool:
        return _WIDTHS.get(str(getattr(variable.aval, "dtype", "")), 0) > _WIDTHS[dtype]

    def step(eqn: Any, inputs: Sequence[Any], spot: Spot) -> list[Spot | None]:
        known = next((origin for origin in inputs if origin is not None), spot)
        return [known if wide(variable) else None for variable in eqn.outvars]

    def literal(atom: Any) -> None:
        """A wide constant alone widens nothing: what it meets is converted, and that has a place."""

    arguments = [None] * len(closed.jaxpr.invars)
    constants = [None] * len(closed.consts)
    return jaxpr_walk.evaluate(closed.jaxpr, constants, arguments, step, literal, Spot())
