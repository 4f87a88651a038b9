"""Shapes and dtypes in the place of arrays, for programs that are traced and not run."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import PyTree, Shaped

from parity.numerics.arrays import Arrays, dtype_in_run, is_float, is_wide_integer

Shapes = dict[str, jax.ShapeDtypeStruct]
"""Shapes and dtypes by the names of the arrays that they stand for."""


InputShapes = tuple[tuple[str, tuple[int, ...], str], ...]
"""Names, shapes and kinds of inputs: what a trace is made for."""


def input_shapes(given: Arrays) -> InputShapes:
    """What inputs have in common that can share one trace.

    Args:
        given: inputs by name.
    """
    return tuple((name, array.shape, array.dtype.kind) for name, array in sorted(given.items()))


def shape_struct(shape: Sequence[int], dtype: DTypeLike) -> jax.ShapeDtypeStruct:
    """A shape and dtype, as JAX traces with them.

    Args:
        shape: sizes of the axes.
        dtype: of NumPy or JAX.
    """
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def shapes_in_jax(arrays: Arrays, floating: str = "float32") -> Shapes:
    """Shapes in the dtypes in which JAX itself would hold these arrays.

    Args:
        arrays: by name.
        floating: name of the dtype of floating ones.
    """

    def dtype(array: Shaped[np.ndarray, "..."]) -> DTypeLike:
        if is_float(array):
            return jnp.dtype(dtype_in_run(array, floating))
        return jnp.asarray(0).dtype if is_wide_integer(array) else array.dtype

    return {name: shape_struct(array.shape, dtype(array)) for name, array in arrays.items()}


def shapes_returned(value: PyTree) -> PyTree:
    """What a model returned while it was traced, with shapes for its arrays; dicts keep their order.

    Args:
        value: what it returned.
    """
    if isinstance(value, Mapping):
        return {key: shapes_returned(child) for key, child in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(shapes_returned, value))
    if isinstance(value, tuple | list):
        return type(value)(map(shapes_returned, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return shapes_returned(
            {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        )
    return shape_struct(value.shape, value.dtype) if hasattr(value, "aval") else value
