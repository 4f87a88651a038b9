"""Running statistics compared: what both models write to their own weights in one run in training mode."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.progress import Progress
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.measuring import Measured, restricted
from parity.pipeline.statistics_causes import Update, biased, cause
from parity.pipeline.written_statistics import STATISTICS, Written, pairs_of, unwritten, written
from parity.report.results import Quantity, Verdict

MOST_NAMED = 3
"""Weights of one side that a sentence names."""


class Statistics(NamedTuple):
    """What was found.

    Attributes:
        quantities: a judged one for each weight that both sides hold whole, with the cause among its notes.
        findings: what differs and is no fault, in words.
        not_checked: what was not compared, in words.
    """

    quantities: tuple[Quantity, ...] = ()
    findings: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()


def compare_statistics(
    both: Measured, dtypes: Sequence[str], tolerance: tuple[float, float] | None, progress: Progress
) -> Statistics:
    """Compare what both models write to their weights in one run of the first inputs.

    Args:
        both: two sides that have run.
        dtypes: to be judged.
        tolerance: (rtol, atol) instead of the yardstick, or None.
        progress: called with a short description.
    """
    reference, candidate = both.reference, both.candidate
    own, other = reference.model, candidate.model
    if own is None:
        # Of a recorded reference nothing is known that it wrote.
        return Statistics(not_checked=not_compared([unwritten(other)], ()))
    models = (own, other)
    pairs = pairs_of(candidate.plan, *(model.updated for model in models))
    if not pairs or not all(unwritten(model).able for model in models):
        return Statistics(not_checked=not_compared(list(map(unwritten, models)), ()))
    progress("running statistics")
    task = restricted(reference, candidate)
    same = {name: name for name in pairs}
    given = reference.inputs[0]
    sides = (
        written(own, task, same, reference.weights, given, dtypes, progress),
        written(other, candidate.task, pairs, candidate.weights, given, dtypes, progress),
    )
    return judge_statistics(sides, pairs, reference.weights, dtypes, tolerance)


def judge_statistics(
    sides: tuple[Written, Written],
    pairs: Mapping[str, str],
    before: Arrays,
    dtypes: Sequence[str],
    tolerance: tuple[float, float] | None = None,
) -> Statistics:
    """Judge what two models wrote to their weights.

    Args:
        sides: the reference and the candidate, with values of the same names.
        pairs: the reference's and the candidate's names of what is compared.
        before: the reference's weights before the run.
        dtypes: to be judged.
        tolerance: (rtol, atol) instead of the yardstick, or None.
    """
    not_checked = not_compared(sides, {*pairs, *pairs.values()})
    rules = {STATISTICS: Criterion("forward")}
    judged = judge_quantities(sides[0].values, sides[1].values, rules, tolerance=tolerance)
    if "float64" not in dtypes or all(q.verdict is Verdict.PASS for q in judged):
        return Statistics(tuple(judged), (), not_checked)
    updates = {
        name: Update(
            np.asarray(before[name], np.float64),
            *(side.values["float64"].base[STATISTICS][name] for side in sides),
        )
        for name in pairs
    }
    excused = _biased_by_a_library(sides, updates, judged)
    kept = [_with_cause(q, updates) for q in judged if q.name not in excused]
    return Statistics(tuple(kept), biased_in_words(excused), not_checked)


def _biased_by_a_library(
    sides: tuple[Written, Written], updates: Mapping[str, Update], judged: Sequence[Quantity]
) -> dict[str, int]:
    """Variances of which a library of JAX keeps the biased one, with the number of values that tells.

    Flax and Haiku divide by n, PyTorch's running variance by n - 1; a port on their layers has no choice.
    """
    frameworks = [side.framework for side in sides]
    if sorted(frameworks) != ["JAX", "PyTorch"]:
        return {}
    at = frameworks.index("JAX")
    libraries, momenta = sides[at].libraries(), sides[1 - at].momenta
    found = {}
    for name in {q.name for q in judged if q.verdict is not Verdict.PASS}:
        momentum = momenta.get(name)
        update = updates[name] if at else updates[name].turned
        count = biased(update, momentum) if name in libraries and momentum is not None else None
        if count is not None:
            found[name] = count
    return found


def _with_cause(quantity: Quantity, updates: Mapping[str, Update]) -> Quantity:
    told = "" if quantity.verdict is Verdict.PASS else cause(updates[quantity.name])
    return dataclasses.replace(quantity, notes=(told, *quantity.notes)) if told else quantity


def biased_in_words(biased_ones: Mapping[str, int]) -> tuple[str, ...]:
    """What is to be said of variances that a library keeps biased.

    Args:
        biased_ones: by name the number of values.
    """
    if not biased_ones:
        return ()
    name, count = next(iter(biased_ones.items()))
    more = f" and {len(biased_ones) - 1} more" if len(biased_ones) > 1 else ""
    return (
        f"{name}{more}: the library on the JAX side keeps the biased variance of a batch, PyTorch the "
        f"unbiased one, {count}/{count - 1} times as large: so it is in every port on its layers",
    )


def not_compared(sides: Sequence[Written], compared: Collection[str]) -> tuple[str, ...]:
    """What to say of running statistics that are updated and were not compared.

    Args:
        sides: what both write, or one of them.
        compared: names of either side that were.
    """
    named = [f"{names} in {side.framework}" for side in sides if (names := _named(side, compared))]
    if not named:
        return ()
    told = "; ".join(dict.fromkeys(named))
    return (f"updated running statistics ({told}): a momentum that differs shows in them alone",)


def _named(side: Written, compared: Collection[str]) -> str:
    names = [name for name in side.updated if name not in compared]
    return ", ".join(names[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)
