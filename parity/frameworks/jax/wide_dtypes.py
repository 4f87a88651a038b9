"""Dtypes narrower than float64 or complex128, and values brought from them to these."""

from typing import TypeVar

import numpy as np
from jax.typing import ArrayLike

Dtype = TypeVar("Dtype")

WIDER = {"float32": "float64", "bfloat16": "float64", "float16": "float64", "complex64": "complex128"}
"""The wide counterpart of each narrow dtype."""


def is_narrow(value: object) -> bool:
    """Whether a value is floating and narrower than float64, or complex and narrower than complex128.

    Args:
        value: of any type.
    """
    return str(getattr(value, "dtype", "")) in WIDER


def is_key(value: object) -> bool:
    """Whether a value is a random key of JAX's, which is no array of numbers.

    Args:
        value: of any type.
    """
    return "key<" in str(getattr(value, "dtype", ""))


def wide(dtype: Dtype) -> "Dtype | np.dtype[np.generic]":
    """float64 for a narrower floating dtype, complex128 for complex64, the dtype itself for all others.

    Args:
        dtype: of NumPy or JAX, or its name.
    """
    name = WIDER.get(str(dtype))
    return np.dtype(name) if name else dtype


def widen(value: ArrayLike) -> ArrayLike:
    """A value in the wide counterpart of its dtype.

    Args:
        value: an array, or a number with a dtype; one of Python's own numbers stays as it is.
    """
    dtype = getattr(value, "dtype", None)
    if dtype is None or wide(dtype) is dtype:
        return value
    if isinstance(value, int | float | complex):  # JAX's numbers with a dtype
        return np.asarray(value, wide(dtype))
    return value.astype(wide(dtype))
