"""Functions of parts of an axis: parts of a size against a number of parts, and bins that overlap.

`torch.split(x, 3)` gives parts of size 3, `jnp.split(x, 3)` gives 3 parts. Adaptive pooling has bins that
overlap where the length is no multiple of their number.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.functions import softmax
from parity.diagnose.normalising import Normalisation, normalised
from parity.diagnose.targets import Array, Target, difference
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind

OfParts = Callable[[Array], Array]

MOST_SOURCES = 10
"""Values that go in of which parts are taken."""


def _normalised(x: Array) -> Array:
    return normalised(x, Normalisation((x.ndim - 1,), None, centred=True, correction=0, eps=1e-5))


def _of_length_one(x: Array) -> Array:
    return np.asarray(x / np.sqrt(np.square(x).sum(-1, keepdims=True)))


FUNCTIONS: Mapping[str, OfParts] = {
    "softmax": lambda x: softmax(x, x.ndim - 1),
    "log-softmax": lambda x: np.log(softmax(x, x.ndim - 1)),
    "the normalisation": _normalised,
    "the length of one": _of_length_one,
    "the cumulative sum": lambda x: np.cumsum(x, -1),
    "the reversed order": lambda x: x[..., ::-1],
}
"""What is done to each part by itself, along its last axis."""


def in_parts(fault: Fault) -> Iterator[Change]:
    """A function of each part of an axis, on both sides, with parts of another size."""
    for target in fault.targets:
        shape = target.wanted.shape
        if target.wanted.dtype.kind != "f" or shape != target.actual.shape:
            continue
        for x in _sources(fault, target.node):
            for axis, length in enumerate(shape if x.shape == shape else ()):
                sizes = [size for size in range(2, length) if length % size == 0]
                for name, function in FUNCTIONS.items() if len(sizes) > 1 else ():
                    if fault.late:
                        return
                    of = {size: _by_size(function, x, axis, size) for size in sizes}
                    wanted, actual = _sizes(of, target), _sizes(of, target._replace(wanted=target.actual))
                    if len(wanted) == len(actual) == 1 and wanted != actual:
                        there, here = (f"{length // n} parts of size {n}" for n in (*wanted, *actual))
                        text = (
                            f"<reference> takes {name} of {there} along axis {axis}, <candidate> of {here}: "
                            "torch.split takes a size, jnp.split a number of parts"
                        )
                        yield Change(CauseKind.PACKED_ORDER, text, {target.node: of[wanted[0]]})


def _sizes(of: Mapping[int, Array], target: Target) -> list[int]:
    """The sizes of parts by which a target is explained."""
    return [size for size, value in of.items() if difference(value, target) is not None]


def _by_size(function: OfParts, x: Array, axis: int, size: int) -> Array:
    last = np.moveaxis(x, axis, -1)
    parts = last.reshape(*last.shape[:-1], -1, size)
    return np.moveaxis(function(parts).reshape(last.shape), -1, axis)


def bins(fault: Fault) -> Iterator[Change]:
    """The reference's value is an input pooled into bins as adaptive pooling has them."""
    for target in fault.targets:
        wanted = target.wanted
        if wanted.dtype.kind != "f" or not wanted.size:
            continue
        for x in _sources(fault, target.node):
            axes = _pooled_axes(x.shape, wanted.shape)
            for kind, reduce in (("average", np.mean), ("maximum", np.max)) if axes else ():
                value = x
                for axis in axes:
                    value = _binned(value, axis, wanted.shape[axis], reduce)
                text = (
                    f"<reference> takes the {kind} of "
                    + " and ".join(f"{wanted.shape[a]} bins of {x.shape[a]} entries" for a in axes)
                    + " as adaptive pooling has them (bin i goes from i n / bins rounded down to (i + 1) n / "
                    "bins rounded up, and they overlap), <candidate> otherwise"
                )
                yield Change(CauseKind.POOL_MODE, text, {target.node: value})


def _pooled_axes(longer: tuple[int, ...], shorter: tuple[int, ...]) -> list[int]:
    """The axes that are shorter, if one of them is no fraction of what it was; else none."""
    if len(longer) != len(shorter) or any(a < b for a, b in zip(longer, shorter, strict=True)):
        return []
    axes = [axis for axis, (a, b) in enumerate(zip(longer, shorter, strict=True)) if a != b]
    return axes if any(longer[a] % shorter[a] for a in axes if shorter[a]) else []


def _binned(x: Array, axis: int, count: int, reduce: Callable[..., Array]) -> Array:
    length = x.shape[axis]
    parts = [
        reduce(np.take(x, range(i * length // count, -(-(i + 1) * length // count)), axis), axis=axis)
        for i in range(count)
    ]
    return np.stack(parts, axis)


def _sources(fault: Fault, before: int) -> list[Array]:
    """Values that go in, the nearest first."""
    values = [fault.value(i) for i in fault.read_before(before)]
    return [v for v in values if v.dtype.kind == "f" and v.ndim][:MOST_SOURCES]
