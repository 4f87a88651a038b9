"""Ways of normalising: over which axes or groups, centred or not, with which variance and epsilon."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.diagnose.phrases import number

Array = Shaped[np.ndarray, "..."]


class Normalisation(NamedTuple):
    """One way of normalising.

    Attributes:
        axes: over which the statistics go; with groups, the axes beside the grouped one.
        grouped: (axis, number of groups, interleaved) or None.
        centred: whether the mean is subtracted.
        correction: 1 for the unbiased variance.
        eps: added to the variance.
        outside: whether eps is added to the root instead.
    """

    axes: tuple[int, ...]
    grouped: tuple[int, int, bool] | None
    centred: bool
    correction: int
    eps: float
    outside: bool = False


def normalisations(x: Array, epsilons: Sequence[float]) -> Iterator[Normalisation]:
    """All settings that give a value of x's shape.

    Args:
        x: an array of one to five axes, the first of them the batch.
        epsilons: those that are tried.

    Yields:
        Settings, first for the first epsilon.
    """
    ways: list[tuple[tuple[int, ...], tuple[int, int, bool] | None]] = []
    for count in range(1, x.ndim + 1):
        ways += [(axes, None) for axes in itertools.combinations(range(x.ndim), count)]
    for axis in range(1, x.ndim):
        rest = tuple(i for i in range(1, x.ndim) if i != axis)
        for groups in range(2, x.shape[axis]):
            if x.shape[axis] % groups == 0:
                ways += [(rest, (axis, groups, swapped)) for swapped in (False, True)]
                ways += [((), (axis, groups, swapped)) for swapped in (False, True) if rest]
    for eps, (axes, grouped), centred, correction in itertools.product(epsilons, ways, (True, False), (0, 1)):
        yield Normalisation(axes, grouped, centred, correction, eps)
        if eps and centred:
            yield Normalisation(axes, grouped, centred, correction, eps, True)


def normalised(x: Array, setting: Normalisation) -> Array:
    """x normalised in one setting, in its own shape.

    Args:
        x: an array.
        setting: over what and how.

    Returns:
        An array of the shape of `x`.
    """
    shape, axes = x.shape, setting.axes
    view = x
    if setting.grouped is not None:
        axis, groups, interleaved = setting.grouped
        parts = (shape[axis] // groups, groups) if interleaved else (groups, shape[axis] // groups)
        view = x.reshape(shape[:axis] + parts + shape[axis + 1 :])
        inner = axis if interleaved else axis + 1
        axes = (*(a if a < axis else a + 1 for a in axes if a != axis), inner)
    count = int(np.prod([view.shape[a] for a in axes]))
    with np.errstate(all="ignore"):
        mean = view.mean(axes, keepdims=True) if setting.centred else 0.0
        square = ((view - mean) ** 2).sum(axes, keepdims=True) / max(count - setting.correction, 1)
        root = np.sqrt(square) + setting.eps if setting.outside else np.sqrt(square + setting.eps)
        return np.asarray((view - mean) / root).reshape(shape)


def normalisation_in_words(x: Array, setting: Normalisation) -> str:
    """A setting in words.

    Args:
        x: the array that is normalised.
        setting: over what and how.

    Returns:
        The words that follow "normalises".
    """
    over = f"over axes {setting.axes}"
    if setting.grouped is not None:
        axis, groups, interleaved = setting.grouped
        kind = "interleaved " if interleaved else ""
        over = f"in {groups} {kind}groups of {x.shape[axis] // groups} along axis {axis}"
    parts = [over, "" if setting.centred else "without subtracting the mean"]
    parts.append("with the unbiased variance" if setting.correction else "")
    parts.append(f"with eps {number(setting.eps)}{' outside the root' if setting.outside else ''}")
    return " ".join(part for part in parts if part)
