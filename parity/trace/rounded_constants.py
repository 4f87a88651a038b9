"""Constants that somebody rounded to float32: restored where their origin is plain, moved where it is not.

A program that is lifted to float64 still holds its literals and tables in float32: `0.7978846` for
sqrt(2 / pi). The other side may hold the exact number. A float32 number that is the rounding of a short
decimal, a small fraction or a familiar irrational becomes that number again; any other is only known to
half a float32 ulp, and noise moves it by as much.
"""

import contextlib
import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Inexact, Shaped

from parity.numerics.arrays import NARROW, significant_bits_at_most
from parity.numerics.noise import current_noise_run, is_tracing
from parity.numerics.perturbing import signs

HALF_ULP = 2.0**-24
"""Largest relative error of a number rounded to float32."""

OF_DERIVATIVES = (2 / math.sqrt(math.pi), -2 / math.sqrt(math.pi), math.sqrt(math.pi) / 2, math.log(2))
"""Numbers that JAX writes in the derivatives of erf, erfc, erf_inv and exp2."""

TABLE_LIMIT = 4096
"""Arrays larger than this are not searched for familiar numbers; their entries are moved."""


PLAIN_DIGITS = 4
"""A decimal of so few digits was written as one: of all float32 numbers one in a thousand prints so short."""

SHORT_DIGITS = 6
"""A decimal of so many digits was perhaps written as one, perhaps not: one in 25 prints so."""


FEWEST_EVEN = 4
"""Numbers of a table that may be found to lie at even distances."""

EVEN_ROOM = 4.0
"""How many half ulps of the largest such a number may be off: steps that are multiplied or added up round."""


class Restored(NamedTuple):
    """An array in float64 and which of its entries are known to float32 only."""

    value: Float[np.ndarray, "..."]
    uncertain: Bool[np.ndarray, "..."]


Key = tuple[tuple[int, ...], bytes]
"""A float32 constant by its shape and bits, wherever it stands."""


class Settled(NamedTuple):
    """What a float32 constant is taken for.

    Attributes:
        value: in float64; rounded to float32 it is the constant.
        known: whether the other side says so. Where it does not, the number is one among those that round to
            the constant, and traces, which compare single values, leave it its room.
    """

    value: Float[np.ndarray, "..."]
    known: bool


class _Knowledge(NamedTuple):
    """What is known of constants: numbers of the other side, and single constants."""

    numbers: Mapping[np.float32, float] = {}
    settled: Mapping[Key, Settled] = {}


_knowledge = _Knowledge()
_collected: "dict[Key, Shaped[np.ndarray, '...']] | None" = None


def key_of(array: Shaped[np.ndarray, "..."]) -> Key:
    """What a constant is known by.

    Args:
        array: floating.
    """
    narrow = np.asarray(array, np.float32)
    return narrow.shape, narrow.tobytes()


@contextlib.contextmanager
def knowing(numbers: Iterable[float], settled: Mapping[Key, Settled] | None = None) -> Iterator[None]:
    """Inside, a float32 constant that is the rounding of one of these numbers is taken for it.

    Args:
        numbers: those of the other side: 0.79788456 and sqrt(2 / pi) are the same float32.
        settled: what single constants are taken for, before anything else.
    """
    global _knowledge
    before = _knowledge
    with np.errstate(over="ignore"):
        _knowledge = _Knowledge({np.float32(number): float(number) for number in numbers}, settled or {})
    try:
        yield
    finally:
        _knowledge = before


@contextlib.contextmanager
def collecting() -> "Iterator[dict[Key, Shaped[np.ndarray, '...']]]":
    """Inside, every float32 constant that a lifted program meets is put into the dict that is given."""
    global _collected
    before, _collected = _collected, {}
    try:
        yield _collected
    finally:
        _collected = before


def restore(array: Shaped[np.ndarray, "..."]) -> Restored:
    """The numbers that a float32 array was probably rounded from.

    >>> restored = restore(np.float32([0.1, 0.70710677, 0.31415, 1e-05, 0.123456789]))
    >>> restored.value[:4].tolist() == [0.1, 0.5**0.5, 0.31415, 1e-05], restored.uncertain.tolist()
    (True, [False, False, False, False, True])
    >>> bool((restore(np.linspace(-10, 10, 100, dtype=np.float32)).value == np.linspace(-10, 10, 100)).all())
    True
    """
    if array.dtype.name in NARROW:
        return _restore_narrow(array)
    narrow = np.asarray(array, np.float32)
    wide = narrow.astype(np.float64)
    uncertain = ~significant_bits_at_most(wide, 8) & np.isfinite(wide)
    if uncertain.any() and (even := _evenly_spaced(wide)) is not None:
        return Restored(even, np.zeros(wide.shape, bool))
    if wide.size > TABLE_LIMIT:
        return Restored(wide, uncertain)
    flat, open_ = wide.reshape(-1).copy(), np.atleast_1d(uncertain.copy()).reshape(-1)
    for index in np.flatnonzero(open_):
        narrowed = narrow.reshape(-1)[index]
        number = _knowledge.numbers.get(narrowed)
        number = _origin(narrowed) if number is None else number
        if number is not None:
            flat[index], open_[index] = number, False
    return Restored(flat.reshape(wide.shape), open_.reshape(wide.shape))


def _evenly_spaced(wide: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."] | None:
    """The numbers at even distances that a table was rounded from, between ends that are known; else None."""
    if wide.ndim != 1 or wide.size < FEWEST_EVEN or not np.isfinite(wide).all():
        return None
    ends = [
        end if significant_bits_at_most(np.asarray(end), 8) else _origin(np.float32(end))
        for end in (wide[0], wide[-1])
    ]
    if ends[0] is None or ends[1] is None:
        return None
    even = np.linspace(ends[0], ends[1], wide.size)
    room = EVEN_ROOM * HALF_ULP * np.abs(wide).max()
    return even if np.abs(even - wide).max() <= room else None


def _restore_narrow(array: Shaped[np.ndarray, "..."]) -> Restored:
    """A number in bfloat16 or float16: the one number of the other side that rounds to it, or as it is.

    So many numbers round to one in bfloat16 that only the other side can say which was meant; or JAX's own
    rules of differentiation, which write theirs in the dtype of the operand.
    """
    wide = array.astype(np.float64)
    if wide.size == 1 and wide.reshape(()) not in _knowledge.numbers.values():
        for numbers in (_knowledge.numbers.values(), OF_DERIVATIVES):
            with np.errstate(over="ignore"):
                meant = {n for n in numbers if array.dtype.type(n) == array.reshape(())}
            if len(meant) == 1:
                wide = np.full(wide.shape, meant.pop())
                break
    return Restored(wide, np.zeros(wide.shape, bool))


@functools.lru_cache(maxsize=4096)
def _origin(number: np.float32) -> float | None:
    """The double that a float32 number was probably rounded from, or None."""
    text = f"{abs(float(str(number))):.9e}"
    digits = text.partition("e")[0].replace(".", "").rstrip("0")
    if len(digits) <= PLAIN_DIGITS:
        return float(str(number))
    known = _familiar()
    magnitude = abs(float(number))
    position = int(np.searchsorted(known, magnitude))
    for candidate in known[max(0, position - 1) : position + 1]:
        if np.float32(candidate) == np.float32(magnitude):
            return float(math.copysign(candidate, number))
    return float(str(number)) if len(digits) <= SHORT_DIGITS else None


@functools.cache
def _familiar() -> Float[np.ndarray, " numbers"]:
    """Fractions, their roots, multiples of pi, logarithms: what constants in models are made of."""
    fractions = {p / q for q in range(1, 65) for p in range(1, 65)}
    fractions |= {float(n) for n in range(1, 4097)} | {1 / n for n in range(1, 4097)}
    roots = {math.sqrt(f) for f in fractions}
    pis = {math.pi * f for f in fractions if f <= 64} | {f / math.pi for f in fractions if f <= 64}
    special = {math.sqrt(2 / math.pi), math.sqrt(math.pi / 2), math.sqrt(2 * math.pi), math.e, 1 / math.e}
    special |= {math.log(n) for n in range(2, 1025)} | {1 / math.log(n) for n in range(2, 1025)}
    special |= {
        0.5 * math.log(2 * math.pi),
        math.log(2 * math.pi),
        math.log10(math.e),
        2 / math.sqrt(math.pi),
    }
    special |= {n**power for n in range(2, 4097) for power in (-0.25, 0.25)}
    special |= {1.0507009873554804934193349852946, 1.6732632423543772848170429916717}  # selu
    special.add(1.0507009873554804934193349852946 * 1.6732632423543772848170429916717)
    return np.array(sorted(fractions | roots | pis | special))


def constant(array: Shaped[np.ndarray, "..."]) -> Inexact[np.ndarray, "..."]:
    """A float32 constant for a run in float64: settled or restored, and in a noise run moved by half an ulp.

    Args:
        array: floating, or complex: then its real and imaginary parts are constants.

    Returns:
        An array of the same shape. Noise moves only what is not known; a constant that is settled without
        being known is moved in traces alone.
    """
    if np.iscomplexobj(array):
        parts = constant(np.stack([array.real, array.imag], axis=-1))
        return parts.view(np.complex128)[..., 0]
    if array.dtype.name in NARROW:
        return restore(array).value
    key = key_of(array)
    if _collected is not None:
        _collected[key] = np.asarray(array, np.float32)
    k, settled = current_noise_run(), _knowledge.settled.get(key)
    if settled is not None:
        if k is None or settled.known or not is_tracing():
            return np.array(settled.value, np.float64)
        return np.asarray(settled.value * (1 + HALF_ULP * signs(settled.value, k)))
    value, uncertain = restore(array)
    if k is None or not uncertain.any():
        return value
    return np.asarray(np.where(uncertain, value * (1 + HALF_ULP * signs(value, k)), value))
