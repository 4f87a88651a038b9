"""One-ulp noise on weights and inputs: the same for equal numbers, wherever they stand."""

import numpy as np
from jaxtyping import Float, Int, Shaped

from parity.numerics.arrays import Arrays, eps_of, is_float, round_to, significant_bits_at_most
from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.unread import each

BLOCK = 2**15
"""Entries that are moved at once: their intermediate values stay in the cache."""


def noisy(arrays: Arrays, k: int, dtype: str, *, inputs: bool) -> Arrays:
    """Arrays as noise run k sees them: rounded to `dtype` and moved by one ulp, each when it is asked for.

    Args:
        arrays: by name.
        k: number of the noise run, from 0.
        dtype: name of the floating dtype under test.
        inputs: whether these are inputs rather than weights; see `perturb`.
    """

    def moved(name: str, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        return perturb({name: array}, k, eps_of(dtype), inputs=inputs, dtype=dtype)[name]

    return each(arrays, moved)


def perturb(
    arrays: Arrays, k: int, eps: float, *, inputs: bool, dtype: str = "float64"
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Noise run k: every floating value times (1 + eps u), u in {-1, 0, 1} from a hash of (value, k).

    Equal values get equal noise, on both sides and anywhere in the model, so tied weights stay tied and
    exact ties (max pooling, relu at zero) survive. Integers are left alone, and so are input values that
    have at most 8 significant bits (pixels, one-hot labels, masks): nobody rounded those.

    Args:
        arrays: named arrays.
        k: number of the noise run.
        eps: machine epsilon of the dtype under test.
        inputs: whether these are inputs (the 8-bit exemption applies) rather than weights.
        dtype: what the numbers are rounded to first; the exemption goes by what they were before, since
            rounded to bfloat16 all numbers have 8 bits.

    Returns:
        Floating arrays in float64, but in float32 if `dtype` is float32: what a run in it would make of them.
    """
    return {
        name: _moved(array, k, eps, dtype, inputs=inputs) if is_float(array) else array
        for name, array in arrays.items()
    }


@np.errstate(over="ignore")
def _moved(
    array: Shaped[np.ndarray, "..."], k: int, eps: float, dtype: str, *, inputs: bool
) -> Shaped[np.ndarray, "..."]:
    """`perturb` for one array, block by block."""
    parts = real_parts(array)
    if 0 in parts.strides:  # repeated along an axis, whose order in memory is nobody's
        parts = np.ascontiguousarray(parts)
    moved = np.empty_like(parts, np.float32 if dtype == "float32" else np.float64)
    # In the order of memory: a turned weight is not turned back for this.
    given, result = parts.ravel(order="K"), moved.ravel(order="K")
    factors = 1 + eps * np.array([-1.0, 0.0, 1.0])
    for start in range(0, given.size, BLOCK):
        block = slice(start, start + BLOCK)
        part = round_to(given[block], dtype).astype(np.float64, copy=False)
        change = factors.take(_thirds(part, k))
        if inputs:
            change[significant_bits_at_most(given[block], 8)] = 1.0
        result[block] = part * change
    return of_parts(moved) if array.dtype.kind == "c" else moved


def signs(array: Float[np.ndarray, "..."], k: int) -> Float[np.ndarray, "..."]:
    """u in {-1, 0, 1} per entry: the splitmix64 finaliser of the value's bits and k, modulo 3.

    Args:
        array: float64.
        k: number of the noise run, from 0.

    Returns:
        u for each entry, float64.
    """
    return np.asarray(_thirds(array, k) - 1.0)  # of 0-d arrays NumPy makes scalars


def _thirds(array: Float[np.ndarray, "..."], k: int) -> Int[np.ndarray, "..."]:
    """`signs` plus one."""
    z = np.array(array, np.float64, order="C").view(np.uint64)  # a copy: what follows writes to it
    shifted = np.empty_like(z)
    with np.errstate(over="ignore"):
        z += np.uint64(0x9E3779B97F4A7C15) * np.uint64(k + 1)
        for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            z ^= np.right_shift(z, np.uint64(bits), out=shifted)
            z *= np.uint64(factor)
        z ^= np.right_shift(z, np.uint64(31), out=shifted)
    np.floor_divide(z, np.uint64(3), out=shifted)  # faster in NumPy than a remainder
    shifted *= np.uint64(3)
    z -= shifted
    return z.view(np.int64)
