"""Runs of a JAX program whose weights are read at each use: one equation at a time, no value kept.

What a run gives is what its equations give one by one. Compiled as a whole, XLA may fuse them, and round less
often in between.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn
from jax.typing import ArrayLike

from parity.frameworks.jax.jax_loops import LoopRecorder, run_recorded
from parity.frameworks.jax.jax_recorder import Argument
from parity.frameworks.jax.jax_trace import LiftedRecorder
from parity.frameworks.jax.jax_tracing import Traced
from parity.frameworks.jax.wide_dtypes import is_key, wide
from parity.frameworks.jax.wide_equations import apply
from parity.numerics.arrays import Arrays, numpy_dtype, to_numpy
from parity.numerics.noise import Values
from parity.numerics.unread import Unread, UnreadArrays
from parity.trace.graph import Function, NodeKind
from parity.trace.kept_values import Keep, forget


class WrittenRecorder(LoopRecorder):
    """Evaluates equations in the dtypes that they were traced in."""

    def held(self, value: ArrayLike) -> ArrayLike:
        """A constant as it is."""
        return value if is_key(value) else np.asarray(value)

    def dtype(self, name: str) -> "np.dtype[np.generic]":
        """The dtype itself."""
        return numpy_dtype(name)

    def evaluation(self, eqn: JaxprEqn) -> tuple[Mapping[str, object], Function]:
        """The settings of an equation, and the function from its operands to its results."""

        def function(values: Sequence[Any]) -> Sequence[Any]:
            return apply(eqn.primitive, values, eqn.params)

        return eqn.params, function


def streamed(
    program: Traced, arguments: Sequence[Argument], *, lifted: bool, rounding: bool, keep: Keep = forget
) -> Values:
    """Outputs and loss of a run that keeps nothing else.

    Args:
        program: traced in the dtype of the run, or to be lifted.
        arguments: kind, name and value of each flat argument, as `unread_arguments` gives them.
        lifted: whether to run in float64.
        rounding: as in `lift.lifted`.
        keep: told of every value.
    """
    recorder = LiftedRecorder(rounding, keep) if lifted else WrittenRecorder(keep)
    _, outs = run_recorded(recorder, program.closed, arguments, program.labels)
    values: Values = {"outputs": {}, "loss": {}, "gradients": {}}
    for (group, leaf), out in zip(program.labels, outs, strict=True):
        values[group][leaf] = to_numpy(out.read())
    return values


def unread_arguments(
    program: Traced, flat: Iterable[Argument], weights: Arrays, *, lifted: bool
) -> list[Argument]:
    """The arguments of a run, weights among them unread and converted as they are read.

    Args:
        program: whose jaxpr says the dtypes.
        flat: all arguments in its order, weights as shapes alone.
        weights: by path.
        lifted: whether the run is in float64.
    """
    unread = weights.unread if isinstance(weights, UnreadArrays) else {}
    found: list[Argument] = []
    for (kind, name, value), aval in zip(flat, program.closed.in_avals, strict=True):
        dtype: np.dtype[Any] = np.dtype(wide(aval.dtype)) if lifted else numpy_dtype(str(aval.dtype))
        if kind is NodeKind.WEIGHT and name in unread:
            found.append((kind, name, _converted(unread[name], dtype)))
        else:
            found.append((kind, name, np.asarray(value).astype(dtype)))
    return found


def _converted(array: Unread, dtype: "np.dtype[Any]") -> Unread:
    return array.changed(lambda entries: np.asarray(entries).astype(dtype), dtype)
