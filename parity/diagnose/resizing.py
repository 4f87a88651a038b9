"""Resizing along axes: by which interpolation, and where the first and last entries lie."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from parity.diagnose.fault import Fault
from parity.diagnose.targets import Array, Target, difference
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind

Weights = Float[np.ndarray, "new old"]
"""What each new entry takes of each old one."""

LARGEST = 10**6
"""Size up to which a value is resized on trial."""


def _nearest(place: Float[np.ndarray, " new"], old: int) -> Weights:
    return np.asarray(np.eye(old)[np.clip(np.floor(place), 0, old - 1).astype(int)])


def _linear(place: Float[np.ndarray, " new"], old: int) -> Weights:
    inside = np.clip(place, 0, old - 1)
    return np.asarray(np.maximum(1 - np.abs(inside[:, None] - np.arange(old)), 0))


def _smoothed(place: Float[np.ndarray, " new"], old: int) -> Weights:
    """Linear, over as many old entries as one new entry covers."""
    wide = max(1.0, old / len(place))
    found = np.maximum(1 - np.abs(place[:, None] - np.arange(old)) / wide, 0)
    return np.asarray(found / found.sum(1, keepdims=True))


def _keys(distance: Float[np.ndarray, "..."], a: float) -> Float[np.ndarray, "..."]:
    """The cubic kernel of Keys (1981)."""
    x = np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _cubic_with_edges(place: Float[np.ndarray, " new"], old: int) -> Weights:
    """As PyTorch has it: a = -0.75, entries outside are those of the edge."""
    found = np.zeros((len(place), old))
    for step in range(-1, 3):
        at = np.floor(place) + step
        np.add.at(
            found, (np.arange(len(place)), np.clip(at, 0, old - 1).astype(int)), _keys(place - at, -0.75)
        )
    return found


def _cubic_without_edges(place: Float[np.ndarray, " new"], old: int) -> Weights:
    """As JAX has it: a = -0.5, entries outside are left out."""
    found = _keys(place[:, None] - np.arange(old), -0.5)
    return np.asarray(found / found.sum(1, keepdims=True))


def _area(new: int, old: int) -> Weights:
    found = np.zeros((new, old))
    for row in range(new):
        first, last = row * old // new, -(-(row + 1) * old // new)
        found[row, first:last] = 1 / (last - first)
    return found


def _middles(new: int, old: int) -> Float[np.ndarray, " new"]:
    return (np.arange(new) + 0.5) * old / new - 0.5


def _corners(new: int, old: int) -> Float[np.ndarray, " new"]:
    return np.arange(new) * ((old - 1) / max(new - 1, 1))


def _firsts(new: int, old: int) -> Float[np.ndarray, " new"]:
    return np.arange(new) * (old / new)


METHODS: Mapping[str, Callable[[int, int], Weights]] = {
    "linearly between the middles of entries (align_corners=False)": lambda n, o: _linear(_middles(n, o), o),
    "linearly from corner to corner (align_corners=True)": lambda n, o: _linear(_corners(n, o), o),
    "linearly from the first entries on": lambda n, o: _linear(_firsts(n, o), o),
    "linearly and smoothed (antialias)": lambda n, o: _smoothed(_middles(n, o), o),
    "by the nearest entry, rounded down ('nearest')": lambda n, o: _nearest(_firsts(n, o), o),
    "by the nearest middle ('nearest-exact')": lambda n, o: _nearest(_middles(n, o) + 0.5, o),
    "by cubic convolution with a = -0.75 and edges repeated (PyTorch's)": lambda n, o: _cubic_with_edges(
        _middles(n, o), o
    ),
    "by cubic convolution with a = -0.75 from corner to corner": lambda n, o: _cubic_with_edges(
        _corners(n, o), o
    ),
    "by cubic convolution with a = -0.5 (JAX's)": lambda n, o: _cubic_without_edges(_middles(n, o), o),
    "by the mean of the area": _area,
}
"""Interpolations by name: what each of so many new entries takes of so many old ones."""


def resizings(fault: Fault) -> Iterator[Change]:
    """The faulty value is a matched one resized, by another interpolation than the candidate's.

    What only picks entries is that where the reference calls a function that resizes.
    """
    called = any("upsample" in fault.reference.nodes[i].operation for i in fault.reference_scope)
    for target in fault.targets:
        if target.wanted.dtype.kind != "f" or not 4 <= target.wanted.size <= LARGEST:
            continue
        for index in fault.read_before(target.node):
            x = fault.value(index)
            axes = _resized(x.shape, target.wanted.shape)
            if x.dtype.kind != "f" or not axes:
                continue
            for name, method in METHODS.items():
                value = _along(x, target.wanted.shape, axes, method)
                if difference(value, target) is None or not (called or _mixes(x, target, axes, method)):
                    continue
                own = next((n for n in METHODS if _gives(x, target, axes, METHODS[n])), "otherwise")
                text = f"<reference> resizes {name}, <candidate> {own}"
                yield Change(CauseKind.INTERPOLATION, text, {target.node: value})


def _resized(old: Sequence[int], new: Sequence[int]) -> list[int]:
    """The axes along which one shape is another one resized; none where it is not."""
    if len(old) != len(new):
        return []
    axes = [axis for axis, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    whole = all(min(old[axis], new[axis]) > 1 for axis in axes)
    return axes if whole and len(axes) < len(old) else []


def _mixes(x: Array, target: Target, axes: Sequence[int], method: Callable[[int, int], Weights]) -> bool:
    """Whether an interpolation takes more of the old entries than one for each new one."""
    return any((method(target.wanted.shape[a], x.shape[a]) % 1 != 0).any() for a in axes)


def _gives(x: Array, target: Target, axes: Sequence[int], method: Callable[[int, int], Weights]) -> bool:
    value = _along(x, target.wanted.shape, axes, method)
    return difference(value, target._replace(wanted=target.actual)) is not None


def _along(
    x: Array, shape: Sequence[int], axes: Sequence[int], method: Callable[[int, int], Weights]
) -> Array:
    def one(value: Array, axis: int) -> Array:
        weights = method(shape[axis], x.shape[axis])
        return np.moveaxis(np.tensordot(weights, value, (1, axis)), 0, axis)

    return functools.reduce(one, axes, np.asarray(x, np.float64))
