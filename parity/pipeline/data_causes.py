"""Why the batches of two data pipelines differ: what explains all of them is said."""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.numerics.arrays import EPS, Arrays

AGREE = 32 * EPS["float32"]
"""Data that differ by less are the same numbers, a few roundings apart: of the largest of them."""

Data = Sequence[np.ndarray]
"""One named array in every batch."""

MOST_SHOWN = 3
"""Pairs of classes, channels or batches that a sentence shows."""


class Change(NamedTuple):
    """What may have been done to data.

    Attributes:
        words: what, "<reference>" and "<candidate>" standing for the sides.
        change: from the reference's array to the candidate's.
    """

    words: str
    change: Callable[[np.ndarray], np.ndarray]


def data_cause(reference: Sequence[Arrays], candidate: Sequence[Arrays], names: Sequence[str]) -> str:
    """Why named arrays differ, where one explanation makes all batches agree; else "".

    Args:
        reference: its batches.
        candidate: its batches, of the same shapes.
        names: the arrays that differ.
    """
    every = list(reference[0])
    if told := _another_order(reference, candidate, every, names):
        return told
    told_of = {}
    for name in names:
        a, b = ([np.asarray(batch[name]) for batch in side] for side in (reference, candidate))
        told_of[name] = _of_one(a, b)
    known = {name: words for name, words in told_of.items() if words}
    return "; ".join(f"{name}: {words}" for name, words in known.items())


def _of_one(a: Data, b: Data) -> str:
    """Why one array differs, in words."""
    if a[0].dtype.kind in "iub" and b[0].dtype.kind in "iub" and (told := _classes(a, b)):
        return told
    for one in _changes(a[0]):
        if all(_agree(one.change(x), y) for x, y in zip(a, b, strict=True)):
            return one.words
    return _scaled(a, b) or _scaled_by_channel(a, b) or _channels_before_scaling(a, b)


def _agree(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same but for some roundings."""
    if a.shape != b.shape:
        return False
    size = float(np.abs(b).max(initial=0.0)) if b.size else 0.0
    return bool(np.abs(a.astype(np.float64) - b).max(initial=0.0) <= AGREE * size)


def _changes(first: np.ndarray) -> Iterator[Change]:
    """What may have been done to arrays like this one, each its own explanation."""
    axes = range(1, first.ndim)
    for axis in axes:
        where = f"axis {axis}"
        if first.shape[axis] == 3 and first.ndim > 2:
            yield Change(
                f"the three channels of <candidate> ({where}) come in the other order: BGR against RGB",
                functools.partial(np.flip, axis=axis),
            )
        if first.shape[axis] > 1:
            yield Change(f"<candidate> is turned round along {where}", functools.partial(np.flip, axis=axis))
        for step in (1, -1):
            way = "later" if step > 0 else "earlier"
            yield Change(
                f"<candidate> is shifted by one along {where}: each number stands one place {way}",
                functools.partial(np.roll, shift=step, axis=axis),
            )
    for i, j in itertools.combinations(axes, 2):
        if first.shape[i] == first.shape[j]:
            yield Change(
                f"axes {i} and {j} of <candidate> are exchanged",
                functools.partial(np.swapaxes, axis1=i, axis2=j),
            )
    if first.dtype.kind == "f":
        yield Change(
            "<candidate> is rounded to whole levels of 1/255",
            lambda x: np.round(x * 255) / 255,
        )
        yield Change("<candidate> is rounded to whole numbers", np.round)
        yield Change("<candidate> is cut off to [0, 1]", lambda x: np.clip(x, 0, 1))
    yield Change("<candidate> is zero", np.zeros_like)


def _classes(a: Data, b: Data) -> str:
    """Whole numbers of one side that follow from the other's, in words."""
    own, other = (np.concatenate([np.ravel(x).astype(np.int64) for x in side]) for side in (a, b))
    away = np.unique(other - own)
    if len(away) == 1:
        return f"<candidate> is {away[0]:+d} off everywhere: are classes counted from 0 or from 1?"
    moved = own != other
    follows: dict[int, set[int]] = {}
    for x, y in zip(own, other, strict=True):
        follows.setdefault(int(x), set()).add(int(y))
    one_to_one = all(len(held) == 1 for held in follows.values())
    images = [next(iter(held)) for held in follows.values()]
    if one_to_one and len(set(images)) == len(images) and len(own) >= 2 * len(follows):
        pairs = [(x, next(iter(y))) for x, y in sorted(follows.items()) if x not in y]
        shown = ", ".join(f"{x} is {y}" for x, y in pairs[:MOST_SHOWN])
        more = ", ..." if len(pairs) > MOST_SHOWN else ""
        return f"the classes are numbered in another order in <candidate> ({shown}{more})"
    values = {(int(x), int(y)) for x, y in zip(own[moved], other[moved], strict=True)}
    if len(values) == 1:
        x, y = values.pop()
        return f"where <reference> has {x}, <candidate> has {y} in {np.count_nonzero(moved)} places"
    return ""


def _scaled(a: Data, b: Data) -> str:
    """One scale and one shift for all numbers, in words."""
    found = _line(np.concatenate([x.ravel() for x in a]), np.concatenate([x.ravel() for x in b]))
    if found is None:
        return ""
    scale, shift = found
    changed = _as_line(scale, shift)
    return f"<candidate> has {changed} for each x of <reference>: another range, mean or deviation"


def _scaled_by_channel(a: Data, b: Data) -> str:
    """A scale and a shift for each index of one axis, in words."""
    for axis in range(1, a[0].ndim):
        count = a[0].shape[axis]
        if not 1 < count <= 64 or a[0].size // len(a[0]) == count:
            continue
        lines = []
        for index in range(count):
            found = _line(*(np.concatenate([x.take(index, axis).ravel() for x in side]) for side in (a, b)))
            if found is None:
                break
            lines.append(found)
        else:
            shown = "; ".join(_as_line(*line) for line in lines[:MOST_SHOWN])
            return (
                f"<candidate> has a scale and shift of its own for each index of axis {axis} ({shown}"
                f"{'; ...' if count > MOST_SHOWN else ''}): means or deviations of other channels, or on "
                "another axis"
            )
    return ""


def _channels_before_scaling(a: Data, b: Data) -> str:
    """Channels turned round before each was normalised by its own mean and deviation, in words."""
    for axis in range(1, a[0].ndim):
        if a[0].ndim > 2 and a[0].shape[axis] == 3 and _scaled_by_channel([np.flip(x, axis) for x in a], b):
            return (
                f"the three channels of <candidate> (axis {axis}) come in the other order, BGR against RGB, "
                "and are normalised after that"
            )
    return ""


def _line(a: np.ndarray, b: np.ndarray) -> tuple[float, float] | None:
    """The scale and shift that make one out of the other; None where there are none."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    spread = float(np.var(a))
    if spread == 0 or float(np.var(b)) == 0:
        return None
    scale = float(np.mean((a - a.mean()) * (b - b.mean())) / spread)
    shift = float(b.mean() - scale * a.mean())
    size = max(float(np.abs(b).max()), abs(scale) * float(np.abs(a).max()))
    return (scale, shift) if np.abs(scale * a + shift - b).max() <= AGREE * size else None


def _as_line(scale: float, shift: float) -> str:
    """A scale and a shift as an expression in x; a shift that is rounding alone is none.

    >>> _as_line(255.0, 0.0), _as_line(2.0, -1.0), _as_line(1.0, 0.5)
    ('255 x', '2 x - 1', 'x + 0.5')
    """
    first = "x" if abs(scale - 1) <= AGREE else f"{scale:.6g} x"
    return (
        first if abs(shift) <= AGREE * abs(scale) else f"{first} {'-' if shift < 0 else '+'} {abs(shift):.6g}"
    )


def _another_order(
    reference: Sequence[Arrays], candidate: Sequence[Arrays], every: Sequence[str], names: Sequence[str]
) -> str:
    """The same samples in other places, in words."""
    counts = [len(batch[every[0]]) if batch[every[0]].ndim else 0 for batch in reference]
    for batch, count in zip(reference, counts, strict=True):
        if any(batch[name].ndim == 0 or len(batch[name]) != count for name in every):
            return ""
    telling = [name for name in names if _tells_samples_apart(reference, name)]
    places = {name: _places(reference, candidate, name) for name in telling}
    moved = {name: place for name, place in places.items() if place is not None}
    if not moved:
        return ""
    if stays := [name for name in every if name not in names and _varies(reference, name)]:
        return (
            f"<candidate> has the same {', '.join(moved)} in another order, and {', '.join(stays)} as in "
            "<reference>: samples and targets no longer belong together"
        )
    again, others = (_period(side, next(iter(moved))) for side in (candidate, reference))
    if again and again != others:
        return (
            f"<candidate> repeats its first {again} batches in the same order, <reference> does not: shuffle "
            "anew in each epoch (a key or seed of the epoch)"
        )
    batch_of = np.repeat(np.arange(len(counts)), counts)
    of = batch_of[next(iter(moved.values()))]
    taken = [np.unique(of[batch_of == number]) for number in range(len(counts))]
    if any(len(found) != 1 for found in taken):
        return "the samples are the same and come in another order: another shuffle (seed, key, or none)"
    away = [int(found[0]) - number for number, found in enumerate(taken)]
    if not any(away):
        return "the samples of each batch are the same and come in another order"
    if len(set(away)) == 1:
        return f"batch k of <candidate> is batch k {away[0]:+d} of <reference>: one side is ahead"
    moved_ones = [n for n in range(len(away)) if away[n]]
    shown = ", ".join(f"{n} is {n + away[n]}" for n in moved_ones[:MOST_SHOWN])
    more = ", ..." if len(moved_ones) > MOST_SHOWN else ""
    return f"the batches come in another order (number {shown}{more} of <reference>): another shuffle"


def _period(batches: Sequence[Arrays], name: str) -> int:
    """After how many batches they repeat themselves; 0 where they do not within half of them."""
    held = [batch[name].tobytes() for batch in batches]
    for length in range(1, len(held) // 2 + 1):
        if held[length:] == held[:-length]:
            return length
    return 0


def _tells_samples_apart(batches: Sequence[Arrays], name: str) -> bool:
    """Whether most samples of a batch are unlike each other in an array."""
    held = [[sample.tobytes() for sample in batch[name]] for batch in batches]
    return sum(len(set(some)) for some in held) * 2 > sum(len(some) for some in held)


def _varies(batches: Sequence[Arrays], name: str) -> bool:
    """Whether there are samples that differ in an array."""
    return len({sample.tobytes() for batch in batches for sample in batch[name]}) > 1


def _places(reference: Sequence[Arrays], candidate: Sequence[Arrays], name: str) -> np.ndarray | None:
    """For each sample of the candidate where the reference has it; None if one is not found or all stay."""
    known: dict[bytes, list[int]] = {}
    for number, sample in enumerate(itertools.chain.from_iterable(batch[name] for batch in reference)):
        known.setdefault(sample.tobytes(), []).append(number)
    found = []
    for number, sample in enumerate(itertools.chain.from_iterable(batch[name] for batch in candidate)):
        places = known.get(sample.tobytes())
        if places is None:
            return None
        nearest = min(abs(place - number) for place in places)
        found.append(number + nearest if number + nearest in places else number - nearest)
    moved = np.asarray(found)
    return None if np.array_equal(moved, np.arange(len(found))) else moved
