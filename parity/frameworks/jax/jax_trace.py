"""The trace of a JAX program: its jaxpr evaluated equation by equation in float64, loops unrolled.

What NumPy can compute it computes, at recording and at replay; JAX is asked for the rest.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn
from jax.typing import ArrayLike

from parity.frameworks.jax.jax_loops import LoopRecorder, run_recorded
from parity.frameworks.jax.jax_recorder import Argument
from parity.frameworks.jax.lift import round_narrow, wide_jaxpr
from parity.frameworks.jax.wide_dtypes import is_key, is_narrow, wide, widen
from parity.frameworks.jax.wide_equations import apply, keeps_dtype, own_dtype, wide_params
from parity.numerics.unread import Unread
from parity.trace import numpy_ops
from parity.trace.graph import Function, Trace
from parity.trace.kept_values import Keep
from parity.trace.rounded_constants import constant


def record_trace(
    closed: ClosedJaxpr,
    arguments: Sequence[Argument],
    results: Sequence[tuple[str, str]],
    *,
    rounding: bool = False,
    keep: Keep | None = None,
) -> Trace:
    """Evaluate a traced program in float64 and keep every value, or of each what `keep` makes of it.

    Args:
        closed: the jaxpr, traced in the user's own dtypes.
        arguments: kind, name and value of each flat argument.
        results: group and leaf name of each flat result.
        rounding: as in `lift.lifted`.
        keep: what the trace holds of each value; such a trace cannot be replayed.
    """
    with jax.enable_x64(True):
        wider: list[Argument] = [
            (kind, name, value if isinstance(value, Unread) else np.asarray(widen(np.asarray(value))))
            for kind, name, value in arguments
        ]
        return run_recorded(LiftedRecorder(rounding, keep), closed, wider, results)[0]


def _on_host(value: ArrayLike) -> ArrayLike:
    """A result as a NumPy array; random keys stay what they are."""
    return value if is_key(value) else np.asarray(value)


class LiftedRecorder(LoopRecorder):
    """Evaluates equations in float64."""

    def __init__(self, rounding: bool, keep: Keep | None) -> None:
        """A recorder with an empty trace.

        Args:
            rounding: as in `lift.lifted`.
            keep: what the trace holds of each value; None: the value, and how it was computed.
        """
        super().__init__(keep)
        self.rounding = rounding
        self.params: dict[int, tuple[JaxprEqn, Mapping[str, object]]] = {}

    def held(self, value: ArrayLike) -> ArrayLike:
        """A constant as the run takes it."""
        if is_key(value):
            return value
        return constant(np.asarray(value)) if is_narrow(value) else np.asarray(value)

    def dtype(self, name: str) -> "np.dtype[np.generic]":
        """The wide counterpart of a dtype."""
        return np.dtype(wide(name))

    def evaluation(self, eqn: JaxprEqn) -> tuple[Mapping[str, object], Function]:
        """The settings of an equation, and the function from its operands to its results."""
        name = eqn.primitive.name
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

        return params, function
