"""Inputs drawn again within the range that they have: a coincidence on one draw is none on another."""

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays, is_float

SMALLEST = 0.5
"""The least factor of an entry: entries keep their sign, zeros stay zero, and none leaves its range."""


def drawn_again(inputs: Arrays, *, whole: bool) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Other numbers of the same kinds: signs, zeros, ranges and the order of whole numbers stay.

    Args:
        inputs: by name.
        whole: whether whole numbers are drawn again, too; a model may read them as sizes or flags.

    Returns:
        Arrays of the same shapes and dtypes; the same for the same inputs.
    """
    found: dict[str, Shaped[np.ndarray, ...]] = {}
    for number, (name, array) in enumerate(inputs.items()):
        rng = np.random.default_rng(1000 + number)
        if array.dtype.kind in "iu" or (is_float(array) and _is_whole(array)):
            found[name] = _whole_numbers(array, rng) if whole else array
        elif is_float(array):
            factors = rng.uniform(SMALLEST, 1.0, array.shape)
            found[name] = (array * factors).astype(array.dtype)
        else:
            found[name] = array
    return found


def _is_whole(array: Shaped[np.ndarray, "..."]) -> bool:
    wide = array.astype(np.float64)
    return bool(np.isfinite(wide).all() and np.all(wide == np.round(wide)))


def _whole_numbers(array: Shaped[np.ndarray, "..."], rng: np.random.Generator) -> Shaped[np.ndarray, "..."]:
    """Some of the whole numbers that there are, in the order of the old ones; flags stay.

    None in between: -100 among labels says which do not count, and -50 would be no label.
    """
    known = np.unique(array)
    if known.size < 3:
        return array
    drawn = np.sort(rng.choice(known, array.size))
    new = np.empty(array.size, drawn.dtype)
    new[np.argsort(array.reshape(-1), kind="stable")] = drawn
    return new.reshape(array.shape).astype(array.dtype)
