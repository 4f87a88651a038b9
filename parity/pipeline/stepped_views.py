"""Two loops of users' own, run once: what of their states and metrics is which of the other's."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.frameworks.kept_steps import KeptStep
from parity.frameworks.stepping import Role, SteppedSide
from parity.numerics.arrays import Arrays, round_to
from parity.pipeline.paired_numbers import NOT_YET, paired_numbers
from parity.pipeline.paired_slots import paired_slots
from parity.pipeline.paired_states import paired_states
from parity.pipeline.slot_views import SlotView
from parity.pipeline.stepped_runs import Tried, Viewed, tried
from parity.weights import Plan


class Views(NamedTuple):
    """Both sides by common names.

    Attributes:
        sides: the reference, PyTorch's, and the candidate, JAX's.
        start: the weights that both start from, by tensor.
        plan: which tensor is which leaf.
        statistics: tensors that are no parameters.
        trained: tensors that an optimiser steps over.
        slots: what the optimisers keep, by common names.
        steps: how many are compared.
        findings: what is to be said of the run, in sentences.
        not_checked: what has no partner, in sentences.
    """

    sides: tuple[Viewed, Viewed]
    start: Arrays
    plan: Plan
    statistics: frozenset[str]
    trained: frozenset[str]
    slots: SlotView
    steps: int
    findings: tuple[str, ...]
    not_checked: tuple[str, ...]

    @property
    def weights(self) -> tuple[Arrays, Arrays]:
        """The weights that both start from, by their own names."""
        return self.start, self.sides[1].own(self.start)

    def with_candidate(self, side: SteppedSide) -> "Views":
        """The same with another run of the candidate.

        Args:
            side: of the same state.
        """
        return self._replace(sides=(self.sides[0], self.sides[1]._replace(side=side)))


def views_of(
    reference: SteppedSide,
    candidate: SteppedSide,
    batches: Sequence[Arrays],
    kept: tuple[KeptStep, KeptStep],
) -> Views:
    """Run both loops once and pair what they hold.

    Args:
        reference: PyTorch's side.
        candidate: JAX's side.
        batches: of all steps.
        kept: what the step functions may change besides their states.

    Raises:
        WeightError: if the states do not start from the same weights.
    """
    before = reference.begin("float64").read(), candidate.begin("float64").read()
    paired_states(before[:1], before[1:])  # it complains before anything runs
    runs = [tried(side, batches, own) for side, own in zip((reference, candidate), kept, strict=True)]
    behind = [run.states for run in runs]
    paired = paired_states([before[0], *behind[0]], [before[1], *behind[1]])
    plan = paired.plan
    slots = paired_slots(behind[0], behind[1], paired)
    metrics, metric_lines = _metrics(*runs)
    planned = {t.tensor_name for t in plan.transfers}
    leaves = {t.leaf_path for t in plan.transfers}
    numbers = paired_numbers(
        [{n: h for n, h in state.items() if n not in planned} for state in (before[0], *behind[0])],
        [{n: h for n, h in state.items() if n not in leaves} for state in (before[1], *behind[1])],
    )
    view = SlotView.of(paired, slots, behind[0][-1], behind[1][-1])
    start = {name: round_to(np.asarray(before[0][name].value), "float32") for name in sorted(planned)}

    sides = (
        Viewed(
            reference,
            {name: name for name in metrics},
            lambda state: {name: state[name].value for name in start},
            lambda arrays: arrays,
            view.read_torch,
            view.own_torch if view.is_whole else None,
            lambda state: {name: state.get(name, NOT_YET).value for name in numbers},
            kept[0],
        ),
        Viewed(
            candidate,
            metrics,
            lambda state: plan.to_tensors({path: state[path].value for path in leaves}),
            lambda arrays: plan.to_leaves(arrays, exact=True),
            view.read_jax,
            view.own_jax if view.is_whole else None,
            lambda state: {name: state[path].value for name, path in numbers.items()},
            kept[1],
        ),
    )
    steps = min(run.ends for run in runs)
    findings = tuple(
        f"a weight of {word} is not finite after step {run.ends - 1}: training diverges, and steps behind it "
        "are not compared"
        for run, word in zip(runs, ("<reference>", "<candidate>"), strict=True)
        if run.diverged
    )
    statistics = frozenset(name for name in start if before[0][name].role is Role.STATISTIC)
    not_checked = (*metric_lines, *paired.not_checked, *slots.not_checked)
    trained = frozenset(name for name in start if before[0][name].is_trained)
    return Views(sides, start, plan, statistics, trained, view, steps, findings, not_checked)


def _metrics(reference: Tried, candidate: Tried) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The candidate's name of each metric that both return in every step; what is to be said of others."""
    always = [set.intersection(*(set(step) for step in run.metrics)) for run in (reference, candidate)]
    ever = [set.union(*(set(step) for step in run.metrics)) for run in (reference, candidate)]
    if len(ever[0]) == len(ever[1]) == len(always[0]) == len(always[1]) == 1:
        return {next(iter(always[0])): next(iter(always[1]))}, ()
    lines = []
    for own, other, word in ((0, 1, "<reference>"), (1, 0, "<candidate>")):
        if alone := sorted(ever[own] - ever[other]):
            lines.append(f"metrics that only {word} returns: {', '.join(alone)}")
    common = sorted(always[0] & always[1])
    if rare := sorted((ever[0] & ever[1]) - set(common)):
        lines.append(f"metrics that are not returned in every step: {', '.join(rare)}")
    return {name: name for name in common}, tuple(lines)


def largest(arrays: Arrays) -> dict[str, float]:
    """The largest magnitude of each array.

    Args:
        arrays: by name.
    """
    return {n: float(np.max(np.abs(a), initial=0.0, where=np.isfinite(a))) for n, a in arrays.items()}
