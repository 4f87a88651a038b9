"""The batches of two data pipelines: what each side would train on, compared before anything is computed."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Subject, Values, measure
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.data_causes import data_cause
from parity.pipeline.training_batches import Batches
from parity.report.partings import Parting, Phase
from parity.report.results import Quantity, Stage, Verdict

DTYPE = "float32"
"""Data are numbers of float32: that is what pipelines compute in."""


class ComparedData(NamedTuple):
    """What was found.

    Attributes:
        quantities: one for each named array, over the batches.
        parting: the first step whose batches differ, and why; None where none does.
    """

    quantities: tuple[Quantity, ...] = ()
    parting: Parting | None = None


def compare_data(
    reference: Batches, candidate: Batches, layout: Mapping[str, tuple[int, ...]]
) -> ComparedData:
    """Compare the batches of two pipelines, as numbers that have been rounded to float32 a few times.

    Args:
        reference: its batches.
        candidate: its batches, in its own layout or in the reference's.
        layout: of the candidate: per input the permutation from the reference's axes to its own.
    """
    own, other = (list(itertools.chain.from_iterable(side.steps)) for side in (reference, candidate))
    missing, own = own[len(other) :], own[: len(other)]
    other = [
        {name: _as_in(batch[name], like[name], layout.get(name)) for name in like if name in batch}
        for batch, like in zip(other, own, strict=True)
    ]
    each = len(reference.steps[0])
    shapes = [_shape_that_differs(a, b, number) for number, (a, b) in enumerate(zip(own, other, strict=True))]
    if wrong := next((one for one in shapes if one is not None), None):
        number, name, words = wrong
        blank = Quantity(Stage("forward"), "data", name, DTYPE, Verdict.FAIL, notes=(words,))
        return ComparedData((blank,), Parting(number // each, Phase.DATA, f"{name}: {words}"))
    names = list(own[0])
    rows = [{name: _rows([batch[name] for batch in side]) for name in names} for side in (own, other)]
    subjects = {
        label: Subject(_as_they_are, held)
        for label, held in zip(("reference", "candidate"), rows, strict=True)
    }
    sides = measure(subjects, {}, (DTYPE,))
    rules = {"data": Criterion("forward", over_time=True)}
    judged = judge_quantities(sides["reference"], sides["candidate"], rules)
    failed = [q for q in judged if q.verdict is not Verdict.PASS]
    if not failed and missing:
        ended = _ended(len(own), own + missing)
        blank = Quantity(Stage("forward"), "data", names[0], DTYPE, Verdict.FAIL, notes=(ended.detail,))
        return ComparedData((*judged, blank), dataclasses.replace(ended, step=len(own) // each))
    if not failed:
        return ComparedData(tuple(judged), None)
    first = {q.name: _first(rows[0][q.name], rows[1][q.name], q) for q in failed}
    number = min(first.values())
    worst = min(first, key=lambda name: (first[name], names.index(name)))
    others = f" (and {', '.join(n for n in first if n != worst)})" if len(first) > 1 else ""
    a, b = own[number][worst], other[number][worst]
    detail = f"{worst}{others} {_how_far(a, b)}"
    if each > 1:
        detail += f", in batch {number % each} of the step"
    cause = data_cause(own, other, list(first))
    return ComparedData(tuple(judged), Parting(number // each, Phase.DATA, detail, cause))


def _ended(count: int, reference: Sequence[Arrays]) -> Parting:
    """What to say of a pipeline that gives fewer batches."""
    sizes = [len(next(iter(batch.values()))) for batch in reference]
    told = f"<candidate>'s pipeline gives {count} batches, <reference>'s {len(reference)} or more"
    cause = "it ends earlier: a batch that is dropped, or fewer data"
    if len(reference) == count + 1 and sizes[-1] < sizes[0]:
        cause = f"the last has {sizes[-1]} samples for {sizes[0]}, and <candidate> drops it (drop_last)"
    return Parting(0, Phase.DATA, told, cause)


def _as_they_are(weights: Arrays, inputs: Arrays, dtype: str) -> Values:
    """A program that computes nothing: the data stand in the place of weights, so that noise reaches them."""
    del inputs, dtype
    return {"data": {name: np.asarray(array) for name, array in weights.items()}}


def _as_in(array: np.ndarray, like: np.ndarray, axes: tuple[int, ...] | None) -> np.ndarray:
    """The candidate's array in the reference's layout, if it lies in its own."""
    if axes is None or array.ndim != len(axes):
        return array
    back = array.transpose(np.argsort(axes))
    if back.shape != like.shape:
        return array
    if array.shape != like.shape:
        return back
    return min((back, array), key=lambda one: float(np.abs(one - like.astype(np.float64)).sum()))


def _shape_that_differs(a: Arrays, b: Arrays, number: int) -> tuple[int, str, str] | None:
    """The first array of a batch that has another shape, or is missing, in words."""
    for name, array in a.items():
        if name not in b:
            return number, name, "<candidate>'s batches have no such array"
        if b[name].shape != array.shape:
            return number, name, f"shape {array.shape} in <reference>, {b[name].shape} in <candidate>"
    return None


def _rows(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The numbers of all batches, a row each; a short batch is filled with zeros."""
    size = max(array.size for array in arrays)
    rows = np.zeros((len(arrays), size), np.result_type(*arrays))
    for row, array in zip(rows, arrays, strict=True):
        row[: array.size] = array.reshape(-1)
    return rows


def _first(a: np.ndarray, b: np.ndarray, quantity: Quantity) -> int:
    """The first batch that differs by more than rounding."""
    if quantity.curve is not None and quantity.curve.first_failure is not None:
        return int(quantity.curve.first_failure)
    return int(np.argmax((a != b).any(axis=1)))


def _how_far(a: np.ndarray, b: np.ndarray) -> str:
    """How far two arrays of one shape are apart, in words."""
    wide = a.astype(np.float64), b.astype(np.float64)
    away = np.abs(wide[0] - wide[1])
    share = f"in {np.count_nonzero(away)} of {away.size} numbers"
    if a.dtype.kind not in "fc":
        return f"differs {share}"
    size = max(float(np.abs(one).max(initial=0.0)) for one in wide) or 1.0
    return f"differs by {float(away.max(initial=0.0)) / size:.2g} of its size, {share}"
