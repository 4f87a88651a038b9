"""One equation of a JAX program on float64 values: its primitive, with parameters that say float64, too.

What knows one dtype alone (a callback, a foreign function, a kernel, a rounding) is run in its own.
"""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import ShapedArray
from jax.extend.core import JaxprEqn, Primitive
from jax.typing import ArrayLike

from parity.frameworks.jax.jaxpr_parts import AnyJaxpr, dtype_name, is_jaxpr
from parity.frameworks.jax.wide_dtypes import WIDER, wide, widen
from parity.numerics.arrays import numpy_dtype

Widened = Callable[[AnyJaxpr], AnyJaxpr]
"""From a jaxpr to the same one for float64 arguments."""

FOREIGN = frozenset({"io_callback", "debug_callback", "ffi_call", "pallas_call", "tpu_custom_call"})
"""Primitives that run code of another's, written for the dtypes that the program has."""

ASKED = frozenset({"io_callback", "ffi_call", "pallas_call", "tpu_custom_call"})
"""Those among them whose results the program goes on with."""

OWN_DTYPE = FOREIGN | {"reduce_precision"}
"""Primitives that are run in the dtypes that they were traced with."""


def bind_wide(eqn: JaxprEqn, inputs: Sequence[ArrayLike], widened: Widened) -> list[ArrayLike]:
    """Evaluate one equation on float64 values; in its own dtype where it allows no other.

    Args:
        eqn: the equation.
        inputs: its operands.
        widened: for jaxprs among its parameters.
    """
    if keeps_dtype(eqn):
        return own_dtype(eqn, inputs)
    return apply(eqn.primitive, inputs, wide_params(eqn.params, widened))


def keeps_dtype(eqn: JaxprEqn) -> bool:
    """Whether an equation means its own dtype and no other.

    Args:
        eqn: the equation.
    """
    name = eqn.primitive.name
    return name in OWN_DTYPE or (name == "bitcast_convert_type" and _mixes_bits(eqn))


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


def wide_params(params: Mapping[str, object], widened: Widened) -> dict[str, object]:
    """Parameters of a primitive with dtypes widened, also inside jaxprs (reducers, scatter updates).

    Args:
        params: of an equation.
        widened: for the jaxprs among them.
    """
    wider = {name: _wide_param(value, widened) for name, value in params.items()}
    if "precision" in wider:  # an algorithm is one of float32 products
        wider["precision"] = _plain_precision(wider["precision"])
    callback = params.get("callback")
    if callable(callback):
        wider["callback"] = _Widening(callback, params["result_avals"])  # type: ignore[arg-type]
    return wider


def _wide_param(value: object, widened: Widened) -> object:
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return wide(np.dtype(value))
    if is_jaxpr(value):
        return widened(value)
    if isinstance(value, ShapedArray) and str(value.dtype) in WIDER:
        return value.update(dtype=wide(value.dtype))  # type: ignore[no-untyped-call]
    if isinstance(value, np.ndarray | jax.Array):
        return widen(value)
    if not isinstance(value, tuple):
        return value
    items = [_wide_param(item, widened) for item in value]
    if all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return tuple(items) if type(value) is tuple else type(value)._make(items)  # type: ignore[attr-defined]


def _plain_precision(precision: object) -> object:
    if isinstance(precision, lax.DotAlgorithm | lax.DotAlgorithmPreset):
        return None
    return precision


class _Widening:
    """A pure callback that is asked in float64; one that takes float32 alone is asked in that."""

    def __init__(self, callback: Callable[..., Sequence[ArrayLike]], results: Sequence[ShapedArray]) -> None:
        self.callback, self.results = callback, results

    def __call__(self, *args: ArrayLike) -> list[np.ndarray]:
        try:
            found = self.callback(*args)
        except Exception:  # whatever it says of float64; what it says of float32 is the user's to read
            found = self.callback(*map(_narrowed, args))
        dtypes = [wide(aval.dtype) for aval in self.results]
        return [np.asarray(value, dtype) for value, dtype in zip(found, dtypes, strict=True)]


def _narrowed(value: ArrayLike) -> ArrayLike:
    narrow = {"float64": "float32", "complex128": "complex64"}.get(str(getattr(value, "dtype", "")))
    return np.asarray(value, narrow) if narrow else value


def own_dtype(eqn: JaxprEqn, inputs: Sequence[ArrayLike]) -> list[ArrayLike]:
    """Evaluate one equation in the dtypes it was traced with; its results are widened.

    Args:
        eqn: the equation.
        inputs: its operands, float64 or complex128 where they are floating.
    """
    narrow = [
        jnp.asarray(value, dtype_name(atom)) if dtype_name(atom) in WIDER else value
        for atom, value in zip(eqn.invars, inputs, strict=True)
    ]
    return [widen(value) for value in apply(eqn.primitive, narrow, eqn.params)]


def _mixes_bits(eqn: JaxprEqn) -> bool:
    new_dtype: np.dtype[np.generic] = np.dtype(eqn.params["new_dtype"])
    return numpy_dtype(dtype_name(eqn.invars[0])).kind != new_dtype.kind
