"""Normalisation as a whole: over which axes or groups, centred or not, with which variance and epsilon.

Both sides' values are compared with `(x - mean) / sqrt(var + eps) * scale + bias` in every setting. Where
both are found among them, the settings in which they differ are the cause.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.diagnose.bench import Bench
from parity.diagnose.numbers import literals, torch_numbers
from parity.diagnose.targets import Array, Target, difference
from parity.diagnose.trials import Change
from parity.diagnose.wording import number
from parity.trace.graph import Kind

LARGEST = 300_000
"""Size up to which a value is normalised in all settings."""


class Setting(NamedTuple):
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


def norms(bench: Bench) -> Iterator[Change]:
    """The targets as normalised values."""
    if not any(bench.operation(n) in ("rsqrt", "sqrt", "div", "pow") for n in bench.active):
        return
    theirs_eps = _small(torch_numbers(bench))
    ours_eps = _small([literal.value for literal in literals(bench)])
    for target in bench.targets:
        wanted = target.wanted
        if wanted.dtype.kind != "f" or not 8 <= wanted.size <= LARGEST or not 2 <= wanted.ndim <= 5:
            continue
        for x in _arguments(bench, target):
            for scale, bias in _affine(bench, target):
                yield from _compared(target, x, scale, bias, theirs_eps, ours_eps)
                yield from _kept(bench, target, x, (scale, bias), theirs_eps)


def _compared(
    target: Target, x: Array, scale: Array | None, bias: Array | None, theirs: list[float], ours: list[float]
) -> Iterator[Change]:
    def finish(z: Array) -> Array:
        return _finished(z, scale, bias)

    wanted = next(
        (s for s in settings(x, theirs) if _is(finish(normalised(x, s)), target, target.wanted)), None
    )
    if wanted is None:
        return
    actual = next(
        (s for s in settings(x, [*ours, *theirs]) if _is(finish(normalised(x, s)), target, target.actual)),
        None,
    )
    cause, text = _said(x, wanted, actual)
    yield Change(cause, text, {target.node: finish(normalised(x, wanted))})


def _kept(
    bench: Bench, target: Target, x: Array, affine: tuple[Array | None, Array | None], epsilons: list[float]
) -> Iterator[Change]:
    """Normalised by statistics that are kept, not computed from x."""
    weights = [n for n in bench.torch.nodes if n.kind is Kind.WEIGHT]
    kept = [n.array for n in weights if n.floating]
    for axis, length in enumerate(x.shape):
        shape = [1] * x.ndim
        shape[axis] = length
        vectors = [k.reshape(shape) for k in kept if k.size == length > 1][:8]
        for mean, var in itertools.permutations(vectors, 2):
            for eps in epsilons if var.min() >= 0 else ():
                z = (x - mean) / np.sqrt(var + eps)
                value = _finished(z, *affine)
                text = f"PyTorch normalises by kept statistics (with eps {number(eps)}), JAX by others"
                yield Change("statistics", text, {target.node: value})


def _finished(z: Array, scale: Array | None, bias: Array | None) -> Array:
    z = z if scale is None else z * scale
    return z if bias is None else z + bias


def _is(value: Array, target: Target, goal: Array) -> bool:
    return difference(value, target._replace(wanted=goal)) is not None


def _small(numbers: list[float]) -> list[float]:
    found = [n for n in dict.fromkeys(numbers) if 0 < n < 0.1]
    return [*found[:4], 0.0]


def _arguments(bench: Bench, target: Target) -> list[Array]:
    arrays = [bench.value(i) for i in reversed(bench.inputs) if i < target.node]
    fitting = [a for a in arrays if a.shape == target.wanted.shape and a.dtype.kind == "f" and np.ptp(a) > 0]
    return fitting[:3]


def _affine(bench: Bench, target: Target) -> Iterator[tuple[Array | None, Array | None]]:
    """(scale, bias) among the operands that broadcast to the target."""
    yield None, None
    found = []
    for index in bench.inputs:
        array = bench.value(index)
        if bench.node(index).fixed and 1 < array.size < target.wanted.size and array.dtype.kind == "f":
            try:
                np.broadcast_to(array, target.wanted.shape)
            except ValueError:
                continue
            found.append(array)
    for a in found[:4]:
        yield a, None
    for a, b in itertools.permutations(found[:4], 2):
        yield a, b


def settings(x: Array, epsilons: list[float]) -> Iterator[Setting]:
    """All settings that give a value of x's shape."""
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
        yield Setting(axes, grouped, centred, correction, eps)
        if eps and centred:
            yield Setting(axes, grouped, centred, correction, eps, True)


def normalised(x: Array, setting: Setting) -> Array:
    """x normalised in one setting, in its own shape."""
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


def _said(x: Array, wanted: Setting, actual: Setting | None) -> tuple[str, str]:
    """(cause, text) from the settings in which both sides differ."""
    theirs = _described(x, wanted)
    if actual is None:
        return "statistics", f"PyTorch normalises {theirs}; JAX uses other statistics"
    text = f"PyTorch normalises {theirs}; JAX {_described(x, actual)}"
    if actual.grouped != wanted.grouped:
        return "groups", text
    if actual.axes != wanted.axes:
        return "axis", text
    if actual.centred != wanted.centred:
        return "missing term", text
    if actual.correction != wanted.correction:
        return "variance correction", text
    return "epsilon", text


def _described(x: Array, setting: Setting) -> str:
    over = f"over axes {setting.axes}"
    if setting.grouped is not None:
        axis, groups, interleaved = setting.grouped
        kind = "interleaved " if interleaved else ""
        over = f"in {groups} {kind}groups of {x.shape[axis] // groups} along axis {axis}"
    parts = [over, "" if setting.centred else "without subtracting the mean"]
    parts.append("with the unbiased variance" if setting.correction else "")
    parts.append(f"with eps {number(setting.eps)}{' outside the root' if setting.outside else ''}")
    return " ".join(part for part in parts if part)
