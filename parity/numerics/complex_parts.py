"""Complex arrays as their real and imaginary parts, along a further axis that comes last.

What is done to floating numbers (rounded, moved by noise, compared) is done to both parts: a complex number
is two real ones, on either side.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped

Array = Shaped[np.ndarray, "..."]

COMPLEX_DTYPES = {"float64": "complex128", "float32": "complex64"}
"""The complex dtype of a run in a floating one; narrower ones have none, and complex64 is used."""


def complex_dtype(floating: str) -> str:
    """The dtype of complex arrays in a run in a floating dtype.

    Args:
        floating: name of the floating dtype.

    >>> complex_dtype("float64"), complex_dtype("bfloat16")
    ('complex128', 'complex64')
    """
    return COMPLEX_DTYPES.get(floating, "complex64")


def widened(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """An array in float64, or in complex128 if it is complex.

    Args:
        array: of any dtype of numbers.
    """
    return np.asarray(array, np.complex128 if array.dtype.kind == "c" else np.float64)


def real_parts(array: Shaped[np.ndarray, "..."] | np.generic) -> Shaped[np.ndarray, "..."]:
    """A complex array as floating numbers; any other as it is.

    Args:
        array: of any dtype.

    Returns:
        Real and imaginary part along a further, last axis; a view where memory allows.

    >>> real_parts(np.array([1 + 2j])).tolist()
    [[1.0, 2.0]]
    """
    array = np.asarray(array)
    if array.dtype.kind != "c":
        return array
    dense = np.ascontiguousarray(array).reshape(array.shape)
    return dense[..., None].view(dense.real.dtype)


def of_parts(parts: Shaped[np.ndarray, "... 2"]) -> Shaped[np.ndarray, "..."]:
    """The complex array that `real_parts` took apart.

    Args:
        parts: real and imaginary part along the last axis.
    """
    floating = parts if parts.dtype in (np.float32, np.float64) else parts.astype(np.float64)
    return np.asarray(np.ascontiguousarray(floating).view(complex_dtype(floating.dtype.name))[..., 0])


def by_parts(
    function: Callable[[Shaped[np.ndarray, "..."]], Shaped[np.ndarray, "..."]], array: Array
) -> Shaped[np.ndarray, "..."]:
    """A function of floating numbers applied to an array, or to both parts of a complex one.

    Args:
        function: elementwise.
        array: floating or complex.
    """
    return of_parts(function(real_parts(array))) if array.dtype.kind == "c" else function(array)
