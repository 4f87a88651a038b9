"""Programs run with and without one-ulp noise: what the yardstick is measured from.

Both sides of a comparison, and every oracle, see the same noise wherever they hold the same numbers.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from parity.numerics.arrays import Arrays
from parity.numerics.complex_parts import real_parts
from parity.numerics.perturbing import BLOCK, noisy
from parity.numerics.progress import Progress, no_progress

REPEATS = 4
"""Noise runs K. The maximum over four draws underestimates the largest move by a small factor only."""

Values = dict[str, dict[str, Shaped[np.ndarray, "..."]]]
"""What a program returns: group -> leaf -> array, floating values held in float64."""

Scales = Mapping[str, Mapping[str, Float[np.ndarray, "..."] | float]]
"""What to divide the values by: group -> leaf -> a number, or one for each entry."""

Runnable = Callable[[Arrays, Arrays, str], Values]
"""`program(weights, inputs, dtype)`: a deterministic function from named arrays to named values."""


HUGE = 1e6
"""An entry larger than this many medians (a mask's -1e9) is a world of its own: it must not set the scale
by which the others are judged."""

FILL = 1e5
"""From here on a value that all the largest entries share is a filler, even if most entries have it."""

BEYOND = 1e30
"""From here on a value is a filler even if nothing but zeros stands beside it."""


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
    >>> ordinary(np.array([0.0, -3e38, -3e38])).tolist()
    [True, False, False]
    """
    size = np.abs(array)
    top = float(np.max(size, initial=0.0))
    if not np.isfinite(top):
        top = float(np.max(size, where=np.isfinite(size), initial=0.0))
    if top == 0:
        return np.ones(np.shape(size), dtype=bool)
    high = size >= top / HUGE
    count, counted = np.count_nonzero(high), np.count_nonzero(size)
    if count == counted:  # beside zeros only what no computation comes to is a filler
        return np.asarray(~(size >= BEYOND) if counted < size.size else ~np.isinf(size))
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
        progress(f"{'both sides' if len(subjects) > 1 else 'one side'} in {dtype}")
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
                    # Not kept under a name: of large models a run's values are gigabytes.
                    _widen(
                        moves[label],
                        program(noisy(weights, k, dtype, inputs=False), moved, dtype),
                        bases[dtype][label],
                        scales[label],
                    )
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
            largest = _largest(value, held, scales[group][name])
            known = moves.setdefault(group, {}).get(name)
            moves[group][name] = np.asarray(largest if known is None else np.maximum(known, largest))


def _largest(
    value: Shaped[np.ndarray, "..."], held: Shaped[np.ndarray, "..."], scale: Float[np.ndarray, "..."] | float
) -> Float[np.ndarray, "..."]:
    """The largest difference in each entry of the first axis, by scale; of a number, its difference."""
    if value.ndim == 0:
        return np.asarray(np.abs(np.subtract(value, held, dtype=np.float64)) / scale)
    largest = np.zeros(len(value))
    rows = max(1, BLOCK * len(value) // max(value.size, 1))
    for start in range(0, len(value), rows):
        block = slice(start, start + rows)
        gap = np.subtract(value[block], held[block], dtype=np.float64)
        np.abs(gap, out=gap)
        if not isinstance(scale, float):
            gap /= scale[block]
        np.max(gap, axis=tuple(range(1, gap.ndim)), initial=0.0, out=largest[block])
    return largest


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
