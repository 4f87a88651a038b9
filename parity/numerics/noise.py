"""Programs run with and without one-ulp noise: what the yardstick is measured from.

Both sides of a comparison, and every oracle, see the same noise wherever they hold the same numbers.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.numerics.arrays import Arrays, eps_of, is_float, round_to, significant_bits_at_most
from parity.numerics.complex_parts import of_parts, real_parts
from parity.numerics.progress import Progress, no_progress
from parity.numerics.unread import each

REPEATS = 4
"""Noise runs K. The maximum over four draws underestimates the largest move by a small factor only."""

Values = dict[str, dict[str, Shaped[np.ndarray, "..."]]]
"""What a program returns: group -> leaf -> array, floating values held in float64."""

Scales = Mapping[str, Mapping[str, Float[np.ndarray, "..."] | float]]
"""What to divide the values by: group -> leaf -> a number, or one for each entry."""

Runnable = Callable[[Arrays, Arrays, str], Values]
"""`program(weights, inputs, dtype)`: a deterministic function from named arrays to named values."""


def perturb(
    arrays: Arrays, k: int, eps: float, *, inputs: bool, given: Arrays | None = None
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Noise run k: every floating value times (1 + eps u), u in {-1, 0, 1} from a hash of (value, k).

    Equal values get equal noise, on both sides and anywhere in the model, so tied weights stay tied and
    exact ties (max pooling, relu at zero) survive. Integers are left alone, and so are input values that
    have at most 8 significant bits (pixels, one-hot labels, masks): nobody rounded those.

    Args:
        arrays: named arrays; floating ones held in float64.
        k: number of the noise run.
        eps: machine epsilon of the dtype under test.
        inputs: whether these are inputs (the 8-bit exemption applies) rather than weights.
        given: the same arrays as the user gave them, by which the exemption goes: rounded to bfloat16 all
            numbers have 8 bits.
    """

    def move(array: Shaped[np.ndarray, "..."], own: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        held = np.array(array, np.float64, order="C" if inputs else "K")  # a copy: what follows writes to it
        flat = held.ravel(order="K")  # a view, in the order of memory: a turned weight is not turned back
        own = own.reshape(-1) if inputs else own
        for start in range(0, flat.size, BLOCK):
            part = flat[start : start + BLOCK]
            moved = part * (1 + eps * signs(part, k))
            exact = significant_bits_at_most(own[start : start + BLOCK], 8) if inputs else False
            part[:] = np.where(exact, part, moved)
        return held

    noisy = {}
    for name, array in arrays.items():
        if is_float(array):
            moved = move(real_parts(array), real_parts((given or arrays)[name]))
            array = of_parts(moved) if array.dtype.kind == "c" else moved
        noisy[name] = np.asarray(array)
    return noisy


BLOCK = 2**15
"""Entries that are moved at once: their intermediate values stay in the cache."""


def signs(array: Float[np.ndarray, "..."], k: int) -> Float[np.ndarray, "..."]:
    """u in {-1, 0, 1} per entry: the splitmix64 finaliser of the value's bits and k, modulo 3.

    Args:
        array: float64.
        k: number of the noise run, from 0.

    Returns:
        u for each entry, float64.
    """
    with np.errstate(over="ignore"):
        z = np.asarray(array, np.float64, order="C").view(np.uint64) + np.uint64(
            0x9E3779B97F4A7C15
        ) * np.uint64(k + 1)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    z %= np.uint64(3)
    return np.asarray(z.astype(np.float64) - 1.0)  # of 0-d arrays NumPy makes scalars


HUGE = 1e6
"""An entry larger than this many medians (a mask's -1e9) is a world of its own: it must not set the scale
by which the others are judged."""

FILL = 1e5
"""From here on a value that all the largest entries share is a filler, even if most entries have it."""


@np.errstate(invalid="ignore", over="ignore")
def ordinary(array: Shaped[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
    """Which entries are not huge beside the others: at most 1e6 times the median magnitude, zeros left out.

    Where a mask fills most entries, the median is the filler; it is known by being the same everywhere.

    Args:
        array: numbers of any dtype and shape.

    Returns:
        Booleans of the same shape.

    >>> ordinary(np.array([0.5, 0.0, -1.0, -1e9])).tolist()
    [True, True, True, False]
    >>> ordinary(np.array([0.5, -1e9, -1e9, -1e9, -1e9])).tolist()
    [True, False, False, False, False]
    """
    size = np.abs(array)
    top = float(np.max(size, initial=0.0))
    if not np.isfinite(top):
        top = float(np.max(size, where=np.isfinite(size), initial=0.0))
    if top == 0:
        return np.ones(np.shape(size), dtype=bool)
    high = size >= top / HUGE
    count, counted = np.count_nonzero(high), np.count_nonzero(size)
    if count == counted:
        return np.asarray(~np.isinf(size))
    if top >= FILL and np.min(size, where=high, initial=np.inf) >= 0.99 * top:
        return np.asarray(~high)
    if 2 * count > counted:  # then the median, too, is no less than a millionth of the largest
        return np.asarray(~np.isinf(size))
    return np.asarray(~(size > HUGE * np.median(size[(size > 0) & np.isfinite(size)])))


class Side(NamedTuple):
    """One framework's values.

    Attributes:
        base: unperturbed.
        moves: group -> leaf -> largest move of each entry of the first axis under noise; scalars as they are.
        other: unperturbed in the other precision: float32 for float64, float64 for all others.
    """

    base: Values
    moves: Values
    other: Values


SideByDtype = Mapping[str, Side]
"""One program's values by the name of the dtype that they were computed in."""


class Subject(NamedTuple):
    """A program and the weights it runs with: the same numbers on both sides, each in its own layout.

    Attributes:
        program: what to run.
        weights: by the names that the program knows.
    """

    program: Runnable
    weights: Arrays


class _Running(NamedTuple):
    """The noise run in force, and whether single values are recorded in it."""

    run: int | None = None
    tracing: bool = False


_running = _Running()


@contextlib.contextmanager
def noise_run(k: int | None, *, tracing: bool = False) -> Iterator[None]:
    """Declare that what runs inside is noise run k, for constants that a program holds itself.

    Args:
        k: number of the noise run, from 0; None for no noise.
        tracing: whether single values are recorded, not only outputs and gradients.
    """
    global _running
    before, _running = _running, _Running(k, tracing)
    try:
        yield
    finally:
        _running = before


def current_noise_run() -> int | None:
    """The noise run in force, or None."""
    return _running.run


def is_tracing() -> bool:
    """Whether single values are recorded in the noise run in force."""
    return _running.tracing


def measure(
    subjects: Mapping[str, Subject],
    inputs: Arrays,
    dtypes: Sequence[str],
    progress: Progress = no_progress,
    repeats: int = REPEATS,
) -> dict[str, dict[str, Side]]:
    """Run every program with and without noise in every dtype; equal numbers see equal noise.

    float64 is always run unperturbed (it is the judge of the narrower dtypes), and float32 too (the
    float64 yardstick needs it for P). Of the noisy runs only the moves are kept.

    Args:
        subjects: the programs by label, with weights best representable in float32.
        inputs: named inputs of all programs.
        dtypes: names of the floating dtypes to judge.
        progress: called with a short description as each run begins.
        repeats: noise runs.

    Returns:
        label -> dtype -> `Side`.
    """
    bases: dict[str, dict[str, Values]] = {}
    for dtype in dict.fromkeys(["float64", *dtypes, "float32"]):
        progress(f"both sides in {dtype}")
        bases[dtype] = {
            label: program(weights, inputs, dtype) for label, (program, weights) in subjects.items()
        }
    sides: dict[str, dict[str, Side]] = {label: {} for label in subjects}
    for dtype in dtypes:
        moves: dict[str, Values] = {label: {} for label in subjects}
        scales = {label: _scales(bases[dtype][label]) for label in subjects}
        for k in range(repeats):
            progress(f"noise in {dtype}, {k + 1} of {repeats}")
            moved = noisy(inputs, k, dtype, inputs=True)
            for label, (program, weights) in subjects.items():
                with noise_run(k):
                    values = program(noisy(weights, k, dtype, inputs=False), moved, dtype)
                _widen(moves[label], values, bases[dtype][label], scales[label])
        other = "float32" if dtype == "float64" else "float64"
        for label in subjects:
            sides[label][dtype] = Side(bases[dtype][label], moves[label], bases[other][label])
    return sides


@np.errstate(invalid="ignore", over="ignore")
def _widen(moves: Values, values: Values, base: Values, scales: Scales) -> None:
    """Take one noisy run into the largest moves, each in its leaf's own scale."""
    for group, leaves in values.items():
        for name, value in leaves.items():
            held, value = real_parts(base[group][name]), real_parts(value)
            # Of a shape that noise changes nothing can be said; compare says so.
            if value.shape != held.shape or not np.issubdtype(held.dtype, np.number):
                value = held
            move = np.abs(value.astype(np.float64) - held) / scales[group][name]
            largest = np.max(move, axis=tuple(range(1, move.ndim)), initial=0.0) if move.ndim else move
            known = moves.setdefault(group, {}).get(name)
            moves[group][name] = np.asarray(largest if known is None else np.maximum(known, largest))


def _scales(base: Values) -> Scales:
    return {
        group: {name: relative_scale(real_parts(held)) for name, held in leaves.items()}
        for group, leaves in base.items()
    }


def relative_scale(array: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."] | float:
    """What to divide values by so that huge entries count in their own scale.

    Args:
        array: numbers of any dtype and shape.

    Returns:
        1 where all entries are ordinary; else one divisor per entry, at least 1.
    """
    usual = ordinary(array)
    if usual.all():
        return 1.0
    size = np.abs(np.where(np.isfinite(array), array, 0.0))
    largest = float(size[usual].max(initial=0.0))
    return np.asarray(np.where(usual, 1.0, np.maximum(size, largest) / (largest or 1.0)))


def noisy(arrays: Arrays, k: int, dtype: str, *, inputs: bool) -> Arrays:
    """Arrays as noise run k sees them: rounded to `dtype` and moved by one ulp.

    Args:
        arrays: by name; of unread ones, what is read is moved then.
        k: number of the noise run, from 0.
        dtype: name of the floating dtype under test.
        inputs: whether these are inputs rather than weights; see `perturb`.
    """
    eps = eps_of(dtype)

    def moved(name: str, array: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "..."]:
        return perturb({name: round_to(array, dtype)}, k, eps, inputs=inputs, given={name: array})[name]

    return each(arrays, moved)
