"""Steps of one side as multiples of the other side's: the number by which all values of a step differ."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

ALIKE = 1e-6
"""Two rates, or two multiples of one update, that differ by less are the same: relative. Updates are known to
some roundings of the weights they are added to."""

SUM_OR_MEAN = "look for a sum in the place of a mean, a factor 1/2, or a mean over another axis"
"""Where a number comes from that is a multiple of the other side's."""

MOST_NAMED = 4
"""Weights that a sentence names."""

Steps = Float[np.ndarray, " steps"]


def rows_of(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> Float[np.ndarray, "steps values"]:
    """All numbers of a step in one row.

    Args:
        arrays: by name, the first axis being time.
        names: which of them.
    """
    return np.concatenate([arrays[n].reshape(len(arrays[n]), -1).astype(np.float64) for n in names], axis=1)


def largest(array: Float[np.ndarray, "steps ..."]) -> Steps:
    """The largest magnitude of each step.

    Args:
        array: the first axis being time.
    """
    return np.asarray(np.abs(array).reshape(len(array), -1).max(axis=1, initial=0.0))


def ratios_of(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> Steps:
    """The number by which all values of a step are multiplied; NaN where there is no such number.

    Args:
        reference: arrays by name, the first axis being time.
        candidate: likewise.
    """
    names = [name for name in reference if name in candidate]
    a, b = rows_of(reference, names), rows_of(candidate, names)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratios = np.sum(a * b, axis=1) / np.sum(a * a, axis=1)
        ratios = np.where(largest(a) + largest(b) > 0, ratios, 1.0)  # where both stand still
        return np.where(largest(b - ratios[:, None] * a) <= ALIKE * largest(b), ratios, np.nan)


def same(a: Steps, b: Steps | float) -> bool:
    """Whether two rates or multiples are the same in every step.

    Args:
        a: of each step.
        b: likewise, or one number.
    """
    return bool(np.all(np.abs(a - b) <= 10 * ALIKE * np.maximum(np.abs(a), np.abs(b))))


def factor_of(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> float | None:
    """The number, not 1, by which all values of all steps are multiplied; None where there is none.

    Args:
        reference: arrays by name, the first axis being time.
        candidate: likewise.
    """
    ratios = ratios_of(reference, candidate)
    if np.isnan(ratios).any() or not same(ratios, ratios[0]) or same(ratios[:1], 1.0):
        return None
    return float(ratios[0])


def in_every_step(what: str, factor: float, hint: str = SUM_OR_MEAN) -> str:
    """That a number is a multiple of the other side's, and where that comes from.

    Args:
        what: is a multiple.
        factor: of it.
        hint: what to look for.
    """
    return f"{what} of <candidate> is {factor:.6g} x that of <reference> in every step: {hint}"


def names_in_words(names: Sequence[str]) -> str:
    """Some weights by name.

    Args:
        names: all of them.
    """
    return ", ".join(names[:MOST_NAMED]) + (" and more" if len(names) > MOST_NAMED else "")
