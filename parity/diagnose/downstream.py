"""Values behind a fault by which a trial is judged: those that everything behind it goes through."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from parity.diagnose.targets import Target, same, target_of
from parity.diagnose.trials import recompute
from parity.localise.comparison import Comparison, Region, Value

BEHIND = 40
"""Evaluations behind the fault among which targets are looked for."""

FEWEST_WHOLE = 8
"""Whole numbers or truth values that must differ in a target behind a fault of other numbers."""

TARGETS = 6
"""Targets at most, the faulty value itself among them."""


def targets_behind(
    comparison: Comparison, region: Region, relevant: Collection[int], consumers: Sequence[Sequence[int]]
) -> list[Target]:
    """The faulty value and what follows from the reference's value in its place.

    Args:
        comparison: both traces.
        region: the fault.
        relevant: nodes of the candidate that the compared outputs depend on.
        consumers: per node of the candidate the nodes that read it.

    Returns:
        The targets that the candidate misses, in order of computation; the faulty value alone if it misses
        none.
    """
    changed = _follow(comparison, region, relevant)
    outputs = {i for group in comparison.candidate.outputs.values() for i in group.values()}
    order = sorted(changed)
    read = {i: [k for k in consumers[i] if k in relevant] for i in order}
    found = [_target(comparison, region.j, region.value)]
    for index in order[1:]:
        before = [i for i in order if i < index]
        if any(i in outputs for i in before) or len(found) >= TARGETS:
            break
        through = all(all(c <= index for c in read[i]) for i in before)
        if through and (read[index] or index in outputs):
            target = _target(comparison, index, changed[index])
            found += [target] if _tells_enough(target, found[0]) else []
    return [t for t in found if not same(t.wanted, t.actual, t.allowed)] or found[:1]


def _tells_enough(target: Target, first: Target) -> bool:
    """Whether agreeing with a target is no chance; with a few whole numbers that follow it may be one."""
    if target.wanted.dtype.kind not in "iub" or first.wanted.dtype.kind in "iub":
        return True
    return target.wanted.shape != target.actual.shape or bool(
        np.count_nonzero(target.wanted != target.actual) >= FEWEST_WHOLE
    )


def _follow(comparison: Comparison, region: Region, relevant: Collection[int]) -> Mapping[int, Value]:
    """What the candidate computes next with the reference's value in place, by node."""
    changed: dict[int, Value] = {region.j: region.value}
    count = 0
    for number, evaluation in enumerate(comparison.candidate.evaluations):
        if count >= BEHIND:
            break
        if not any(i in changed for i in evaluation.inputs) or evaluation.outputs[0] <= region.j:
            continue
        if not any(o in relevant for o in evaluation.outputs):
            continue
        new = recompute(comparison, number, changed, {})
        if new is None:
            break
        changed.update(new)
        count += 1
    return changed


def _target(comparison: Comparison, index: int, wanted: Value) -> Target:
    return target_of(index, np.asarray(wanted), comparison.array(index), comparison.candidate_moves[index])
