"""Normalisation as a whole: both sides as `(x - mean) / sqrt(var + eps) * scale + bias` in some setting.

Where both sides' values are found among all settings, those in which they differ are the cause.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.naming import described
from parity.diagnose.normalising import Normalisation, normalisation_in_words, normalisations, normalised
from parity.diagnose.numbers import literals, reference_numbers
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array, Target, difference
from parity.diagnose.trials import Change
from parity.report.kinds import CauseKind
from parity.trace.graph import NodeKind
from parity.trace.vocabulary import names

LARGEST = 300_000
"""Size up to which a value is normalised in all settings."""

ROOTS = names("rsqrt sqrt div pow")
"""Operations without one of which nothing is normalised."""

LARGEST_TRIED = 0.1
"""Numbers below this are tried as eps: more than a number alone is called so for (`LARGEST_EPSILON`), because
here the whole normalised value must come out right."""

SAMPLE = 64
"""Entries looked at before whole values are compared."""


class Affine(NamedTuple):
    """What a normalised value is multiplied by, and what is added then."""

    scale: Array | None
    bias: Array | None

    def of(self, z: Array) -> Array:
        """z * scale + bias."""
        z = z if self.scale is None else z * self.scale
        return z if self.bias is None else z + self.bias


class Search:
    """Looks for a value among the normalised ones, a few entries first."""

    def __init__(self, target: Target, goal: Array, affines: Sequence[Affine]) -> None:
        self.goal = target._replace(wanted=goal)
        shape = goal.shape
        self.places = np.unique(np.linspace(0, goal.size - 1, SAMPLE).astype(int))
        self.affines = list(affines)
        self.samples = [
            Affine(*[None if p is None else self.sample(np.broadcast_to(p, shape)) for p in affine])
            for affine in affines
        ]
        self.some = self.goal._replace(wanted=self.sample(goal))

    def sample(self, value: Array) -> Array:
        """A few entries."""
        return np.asarray(value.reshape(-1)[self.places])

    def find(self, z: Array) -> Affine | None:
        """The scale and bias with which a normalised value is the one looked for."""
        few = self.sample(z)
        for affine, some in zip(self.affines, self.samples, strict=True):
            if (
                difference(some.of(few), self.some) is not None
                and difference(affine.of(z), self.goal) is not None
            ):
                return affine
        return None


def norms(fault: Fault) -> Iterator[Change]:
    """The targets as normalised values, by settings in which the two sides differ.

    Where the candidate's value is no normalised one, that says less than an operation that is changed would:
    it is kept for `other_statistics`.
    """
    later: list[Change] = []
    fault.for_later = later
    if not any(fault.operation(n) in ROOTS for n in fault.active):
        return
    wanted_eps = _small(reference_numbers(fault))
    actual_eps = _small([literal.value for literal in literals(fault)])
    for target in fault.targets:
        wanted = target.wanted
        if wanted.dtype.kind != "f" or not 8 <= wanted.size <= LARGEST or not 2 <= wanted.ndim <= 5:
            continue
        affines = _affines(fault, target)
        arguments = _arguments(fault, target)
        for index in arguments:
            yield from _computed(fault, target, index, arguments, affines, (wanted_eps, actual_eps), later)
            yield from _kept(fault, target, fault.value(index), affines, wanted_eps)


def other_statistics(fault: Fault) -> Iterator[Change]:
    """The targets as normalised values, where the candidate's are something else."""
    if fault.for_later is None:  # asked on another draw
        for _ in norms(fault):
            pass
    yield from fault.for_later or ()


def _computed(
    fault: Fault,
    target: Target,
    index: int,
    arguments: Sequence[int],
    affines: Sequence[Affine],
    epsilons: tuple[Sequence[float], Sequence[float]],
    later: list[Change],
) -> Iterator[Change]:
    """Both sides normalised by statistics of a value, or the candidate alike by those of another value."""
    x = fault.value(index)
    wanted_eps, actual_eps = epsilons

    def found(x: Array, goal: Array, epsilons: Sequence[float]) -> tuple[Normalisation, Affine] | None:
        search = Search(target, goal, affines)
        for setting in normalisations(x, epsilons):
            if fault.late:
                return None
            affine = search.find(normalised(x, setting))
            if affine is not None:
                return setting, affine
        return None

    wanted = found(x, target.wanted, wanted_eps)
    if wanted is None:
        return
    setting, affine = wanted
    new = {target.node: affine.of(normalised(x, setting))}
    actual = found(x, target.actual, [*actual_eps, *wanted_eps])
    for other in sorted(arguments) if actual is None else ():
        alike = found(fault.value(other), target.actual, [*actual_eps, *wanted_eps])
        if alike is not None and alike[0] == setting:
            read, instead = described(fault, index), described(fault, other)
            text = f"<candidate> normalises {instead} where <reference> normalises {read}, in the same way"
            yield Change(CauseKind.OPERANDS, text, new)
            return
    if actual is None and not _has_roots(fault):
        words = normalisation_in_words(x, setting)
        text = f"<reference> normalises {words}; <candidate> does not normalise here"
        later.append(Change(CauseKind.MISSING_TERM, text, new))
        return
    change = Change(*_difference(x, setting, actual[0] if actual is not None else None), new)
    if actual is None:
        later.append(change)
    else:
        yield change


def _has_roots(fault: Fault) -> bool:
    """Whether the faulty operations themselves may normalise."""
    inside = (*fault.region.candidate_nodes, fault.region.j)
    return any(fault.node(i).operation in ROOTS for i in inside)


def _kept(
    fault: Fault, target: Target, x: Array, affines: Sequence[Affine], epsilons: Sequence[float]
) -> Iterator[Change]:
    """The reference's value normalised by statistics that are kept, not computed from x."""
    kept = [n.array for n in fault.reference.nodes if n.kind is NodeKind.WEIGHT and n.floating]
    search = Search(target, target.wanted, affines)
    for axis, length in enumerate(x.shape):
        shape = [1] * x.ndim
        shape[axis] = length
        vectors = [k.reshape(shape) for k in kept if k.size == length > 1][:8]
        for mean, var in itertools.permutations(vectors, 2):
            for eps in epsilons if var.min() >= 0 else ():
                z = (x - mean) / np.sqrt(var + eps)
                affine = search.find(z)
                if affine is not None:
                    text = f"<reference> normalises by kept statistics (with eps {number(eps)})"
                    text += ", <candidate> by others"
                    yield Change(CauseKind.STATISTICS, text, {target.node: affine.of(z)})


def _small(numbers: Sequence[float]) -> list[float]:
    found = [n for n in dict.fromkeys(numbers) if 0 < n < LARGEST_TRIED]
    return [*found[:4], 0.0]


def _arguments(fault: Fault, target: Target) -> list[int]:
    """Values of the target's shape that go in, the nearest first."""
    found = []
    for index in reversed([i for i in fault.inputs if i < target.node]):
        array = fault.value(index)
        if array.shape == target.wanted.shape and array.dtype.kind == "f" and np.ptp(array) > 0:
            found.append(index)
    return found[:3]


def _affines(fault: Fault, target: Target) -> list[Affine]:
    """Scales and biases among the operands that broadcast to the target."""
    found = []
    for index in fault.inputs:
        array = fault.value(index)
        if fault.node(index).fixed and 1 < array.size < target.wanted.size and array.dtype.kind == "f":
            try:
                np.broadcast_to(array, target.wanted.shape)
            except ValueError:
                continue
            found.append(array)
    found = found[:4]
    pairs = [Affine(a, b) for a, b in itertools.permutations(found, 2)]
    return [Affine(None, None), *[Affine(a, None) for a in found], *pairs]


def _difference(x: Array, wanted: Normalisation, actual: Normalisation | None) -> tuple[CauseKind, str]:
    """The kind of cause, and the text, from the settings in which both sides differ."""
    text = f"<reference> normalises {normalisation_in_words(x, wanted)}"
    if actual is None:
        return CauseKind.STATISTICS, f"{text}; <candidate> uses other statistics"
    text += f"; <candidate> {normalisation_in_words(x, actual)}"
    if actual.grouped != wanted.grouped:
        return CauseKind.GROUPS, text
    if actual.axes != wanted.axes:
        return CauseKind.AXIS, text
    if actual.centred != wanted.centred:
        return CauseKind.MISSING_TERM, text
    if actual.correction != wanted.correction:
        return CauseKind.VARIANCE_CORRECTION, text
    return CauseKind.EPSILON, text
