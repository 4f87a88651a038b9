"""Arrays between NumPy, PyTorch and JAX, and the numbers of each floating dtype.

Inside the harness every value is a NumPy array: floating values are held in float64 (which represents
every narrower dtype exactly) and cast where a program runs.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.numerics.complex_parts import by_parts, complex_dtype

if TYPE_CHECKING:
    import jax
    import torch

Arrays = Mapping[str, Shaped[np.ndarray, "..."]]
"""Named arrays: weights by the names of one side, inputs by the names of the model's arguments."""

EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "bfloat16": 2.0**-7, "float16": 2.0**-10}
"""Spacing of the numbers just above one, by dtype."""

WIDTHS = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8}
"""Bytes of one number, by floating dtype."""

NARROW = ("bfloat16", "float16")
"""Dtypes in which rounding is a decision of the model's author."""

DTYPES = ("float64", "float32")
"""Judged by default: float64 decides structure, float32 shows the accuracy people train with."""


def smallest_normal(dtype: str) -> float:
    """The smallest number of a floating dtype below which a machine may take numbers for zero.

    Args:
        dtype: name of a floating dtype.

    >>> smallest_normal("float32")
    1.1754943508222875e-38
    """
    import ml_dtypes  # comes with JAX and does not need it

    return float(ml_dtypes.finfo(numpy_dtype(dtype)).smallest_normal)  # type: ignore[no-untyped-call]


def eps_of(dtype: str) -> float:
    """Machine epsilon of a floating dtype given by name.

    Args:
        dtype: name of a floating dtype.

    Returns:
        The distance from 1 to the next larger number.

    Raises:
        ValueError: if `dtype` is not one the harness can judge.
    """
    if dtype not in EPS:
        raise ValueError(f"`dtype` is {dtype!r}; it must be one of {', '.join(EPS)}")
    return EPS[dtype]


def require_dtypes(dtypes: Sequence[str]) -> None:
    """Check the dtypes of a comparison.

    Args:
        dtypes: names of floating dtypes, at least one.

    Raises:
        ValueError: saying what they must be.
    """
    if isinstance(dtypes, str) or not dtypes:
        raise ValueError(f"`dtypes` is {dtypes!r}; it must be a list of at least one of {', '.join(EPS)}")
    for dtype in dtypes:
        eps_of(dtype)


def is_float(array: Shaped[np.ndarray, "..."]) -> bool:
    """Whether an array is floating or complex (only those are cast and perturbed).

    Args:
        array: of any dtype.
    """
    return bool(np.issubdtype(array.dtype, np.inexact))


def is_wide_integer(array: Shaped[np.ndarray, "..."]) -> bool:
    """Whether an array holds integers of 32 or 64 bits, which a framework may hold in its own default.

    Narrower ones (pixels in uint8) stay what they are: their arithmetic wraps, and that is part of a program.

    Args:
        array: of any dtype.
    """
    return bool(np.issubdtype(array.dtype, np.integer)) and array.dtype.itemsize >= 4


def to_numpy(value: Any) -> Shaped[np.ndarray, "..."]:
    """Convert any array, tensor or number to a NumPy array.

    Args:
        value: of NumPy, PyTorch, JAX or Python, on any device.

    Returns:
        An array of the same shape: floating values exactly, as float64, complex ones as complex128; other
        dtypes as they are.
    """
    if hasattr(value, "detach"):  # a torch tensor; bfloat16 has no NumPy dtype of its own
        value = value.detach().cpu()
        value = value.double().numpy() if value.is_floating_point() else value.numpy(force=True)
    array = np.asarray(value)
    if array.dtype.kind == "c":
        return array.astype(np.complex128)
    if array.dtype.kind == "V" or array.dtype.name in EPS:  # ml_dtypes' bfloat16 has kind V
        return array.astype(np.float64)
    return array


def to_numpy_narrow(value: Any) -> Shaped[np.ndarray, "..."]:
    """Convert like `to_numpy`, but keep numbers in float32 where that loses nothing, to save memory.

    Args:
        value: any array, tensor or number.

    Returns:
        An array of the same shape: float32 or float64, complex likewise; of other dtypes as it is.
    """
    if str(getattr(value, "dtype", "")).removeprefix("torch.") == "float32":
        plain = value.numpy(force=True) if hasattr(value, "detach") else np.asarray(value)
        return plain.copy()  # the model's own memory may change
    array = to_numpy(value)
    if not is_float(array):
        return array
    with np.errstate(over="ignore"):
        narrow = in_float32(array)
    return narrow if np.array_equal(narrow, array, equal_nan=True) else array


def round_to(array: Shaped[np.ndarray, "..."], dtype: str) -> Shaped[np.ndarray, "..."]:
    """Round floating values to what `dtype` can represent; they stay float64.

    Args:
        array: of any dtype; integers stay as they are.
        dtype: name of a floating dtype.

    Returns:
        An array of the same shape.
    """
    if not is_float(array) or dtype == "float64":
        return array
    return by_parts(lambda part: part.astype(numpy_dtype(dtype)).astype(np.float64), array)


def in_float32(array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
    """Cast floating values to float32, complex ones to complex64; integers stay as they are.

    Args:
        array: of any dtype; what overflows becomes infinite.

    Returns:
        An array of the same shape.
    """
    if not is_float(array):
        return array
    with np.errstate(over="ignore"):
        return np.asarray(array.astype(dtype_in_run(array, "float32"), copy=False))


def dtype_in_run(array: Shaped[np.ndarray, "..."], dtype: str) -> str:
    """The name of the dtype that an array is given in to a program that runs in a floating dtype.

    Args:
        array: floating or complex.
        dtype: of the run.
    """
    return complex_dtype(dtype) if array.dtype.kind == "c" else dtype


def numpy_dtype(name: str) -> "np.dtype[Any]":
    """NumPy's dtype of a name, also of one that NumPy does not know by itself.

    Args:
        name: e.g. "float32" or "bfloat16".

    >>> numpy_dtype("bfloat16").itemsize, numpy_dtype("float32")
    (2, dtype('float32'))
    """
    import ml_dtypes  # comes with JAX and does not need it

    return np.dtype(getattr(ml_dtypes, name, name))


def to_torch(array: Shaped[np.ndarray, "..."], dtype: str, device: str = "cpu") -> "torch.Tensor":
    """Convert a NumPy array to a new torch tensor.

    Args:
        array: of any dtype.
        dtype: of floating values; integers become int64, those of fewer than 32 bits stay as they are.
        device: "cpu" or "cuda".

    Returns:
        A tensor of the same shape that shares no memory with the array.
    """
    import torch

    target: torch.dtype | None = None
    if is_float(array):
        target = getattr(torch, dtype_in_run(array, dtype))
    elif is_wide_integer(array):
        target = torch.int64
    # One copy, already as wide as the tensor where NumPy has its dtype: from_numpy shares memory.
    with np.errstate(over="ignore"):
        own = np.array(array, dtype_in_run(array, dtype) if is_float(array) and dtype in DTYPES else None)
    return torch.from_numpy(own).to(device=device, dtype=target)


def to_jax(array: Shaped[np.ndarray, "..."], dtype: str, device: "jax.Device | None" = None) -> "jax.Array":
    """Convert a NumPy array to a JAX array.

    Args:
        array: of any dtype.
        dtype: of floating values; integers become JAX's default, those of fewer than 32 bits stay as they
            are.
        device: where to put it; None for JAX's default device.

    Returns:
        An array of the same shape.
    """
    import jax
    import jax.numpy as jnp

    if is_float(array):
        # Round on the host: without x64, JAX would see float64 data and warn.
        array = array.astype(numpy_dtype(dtype_in_run(array, dtype)), copy=False)
    elif is_wide_integer(array):
        array = array.astype(jnp.asarray(0).dtype)
    placed: jax.Array = jax.device_put(array, device)
    return placed


def significant_bits_at_most(array: Float[np.ndarray, "..."], bits: int) -> Bool[np.ndarray, "..."]:
    """Whether each number is exact in `bits` significant bits (0, 1, 0.5 and 255 are in 8).

    Args:
        array: floating.
        bits: at least 1.

    Returns:
        Booleans of the same shape.
    """
    mantissa, _ = np.frexp(array)
    scaled = mantissa * 2.0**bits
    return np.asarray(scaled == np.round(scaled))


Params = Any
"""Weights as a user gives them: a pytree of arrays or of their shapes, or tensors by name."""
