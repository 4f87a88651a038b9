"""What a model in training mode writes to its own weights when it runs: running statistics, compared.

Neither outputs nor gradients of that run depend on the numbers that are written, or on the momentum: they
show when the model is evaluated.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.frameworks.model import Model, Program
from parity.frameworks.task import Task
from parity.numerics.arrays import Arrays
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Subject, Values, measure
from parity.numerics.progress import Progress
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.measuring import Measured, restricted
from parity.pipeline.statistics_causes import Update, biased, cause
from parity.report.results import Quantity, Verdict
from parity.weights import Plan

STATISTICS = "statistics"
"""The group of the values of weights that a run wrote to."""

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
    models = [model for model in (own, other) if model is not None]
    able = len(models) == 2 and all(model.keeps_state or model.updated for model in models)
    pairs = _pairs(candidate.plan, [model.updated for model in models]) if able else {}
    not_checked = _not_checked(models, {*pairs, *pairs.values()})
    if own is None or not pairs:
        return Statistics(not_checked=not_checked)
    progress("running statistics")
    tasks = (restricted(reference, candidate), candidate.task)
    names = ({name: name for name in pairs}, pairs)
    programs = [_program(*one) for one in zip((own, other), tasks, names, strict=True)]
    weights = (reference.weights, candidate.weights)
    subjects = {
        label: Subject(_Written(program, own).run, start)
        for label, program, own, start in zip(
            ("reference", "candidate"), programs, names, weights, strict=True
        )
    }
    given = reference.inputs[0]
    sides = measure(subjects, given, dtypes, progress)
    rules = {STATISTICS: Criterion("forward")}
    judged = judge_quantities(sides["reference"], sides["candidate"], rules, tolerance=tolerance)
    if "float64" not in dtypes or all(q.verdict is Verdict.PASS for q in judged):
        return Statistics(tuple(judged), (), not_checked)
    updates = {
        name: Update(
            np.asarray(reference.weights[name], np.float64),
            *(sides[label]["float64"].base[STATISTICS][name] for label in subjects),
        )
        for name in pairs
    }
    excused = _biased_by_a_library(models, programs, weights, given, updates, judged)
    kept = [_with_cause(q, updates) for q in judged if q.name not in excused]
    return Statistics(tuple(kept), biased_in_words(excused), not_checked)


class _Written(NamedTuple):
    """A program of what a run writes, as one of what the weights are behind it: those not written to stay.

    Attributes:
        program: its outputs are the weights written to.
        names: common name -> the side's own.
    """

    program: Program
    names: Mapping[str, str]

    def run(self, weights: Arrays, inputs: Arrays, dtype: str) -> Values:
        """Run once.

        Args:
            weights: by the side's own names.
            inputs: by name.
            dtype: to run in.
        """
        found = self.program(weights, inputs, dtype)["outputs"]
        return {STATISTICS: {name: found.get(name, weights[own]) for name, own in self.names.items()}}


def _program(model: Model, task: Task, names: Mapping[str, str]) -> Program:
    """A program whose outputs are the weights that a run of the model writes to."""

    def outputs(written: Mapping[str, Any]) -> dict[str, Any]:
        return {name: written[own] for name, own in names.items() if own in written}

    writing: Model = model._replace(call=model.updates)  # type: ignore[attr-defined]
    return writing.program(task._replace(outputs=outputs, loss=None), trainable=())


def _pairs(plan: Plan, updated: Sequence[Collection[str]]) -> dict[str, str]:
    """The reference's and the candidate's names of weights that are the same whole array on both sides."""
    whole = [t for t in plan.transfers if t.is_whole and tuple(t.tensor_shape) == tuple(t.leaf_shape)]
    ends = [(t.leaf_path, t.tensor_name) if plan.reversed else (t.tensor_name, t.leaf_path) for t in whole]
    return {first: second for first, second in ends if first in updated[0] or second in updated[1]}


def _biased_by_a_library(
    models: Sequence[Model],
    programs: Sequence[Program],
    weights: Sequence[Arrays],
    inputs: Arrays,
    updates: Mapping[str, Update],
    judged: Sequence[Quantity],
) -> dict[str, int]:
    """Variances of which a library of JAX keeps the biased one, with the number of values that tells.

    Flax and Haiku divide by n, PyTorch's running variance by n - 1; a port on their layers has no choice.
    """
    frameworks = [model.framework for model in models]
    if sorted(frameworks) != ["JAX", "PyTorch"]:
        return {}
    at = frameworks.index("JAX")
    packages = programs[at].packages(weights[at], inputs)  # type: ignore[attr-defined]
    torch = models[1 - at]
    found = {}
    for name in {q.name for q in judged if q.verdict is not Verdict.PASS}:
        momentum = _momentum(torch, name)
        update = updates[name] if at else updates[name].turned
        count = biased(update, momentum) if packages.get(name) and momentum is not None else None
        if count is not None:
            found[name] = count
    return found


def _momentum(model: Model, name: str) -> float | None:
    """The momentum of the PyTorch layer that holds a buffer, if it has one."""
    module = getattr(model, "module", None)
    try:
        layer = None if module is None else module.get_submodule(name.rpartition(".")[0])
    except AttributeError:
        return None
    momentum = getattr(layer, "momentum", None)
    return momentum if isinstance(momentum, float) else None


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


def _not_checked(models: Sequence[Model], compared: Collection[str]) -> tuple[str, ...]:
    """What to say of running statistics that are updated and were not compared."""
    sides = [f"{names} in {model.framework}" for model in models if (names := _named(model, compared))]
    if not sides:
        return ()
    told = "; ".join(dict.fromkeys(sides))
    return (f"updated running statistics ({told}): a momentum that differs shows in them alone",)


def _named(model: Model, compared: Collection[str]) -> str:
    names = [name for name in model.weights if name in model.updated and name not in compared]
    return ", ".join(names[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)
