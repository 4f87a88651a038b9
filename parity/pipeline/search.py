"""From two programs that differ to places and causes: both traced, compared, walked back, explained."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parity.diagnose import OF_SEVERAL, Diagnosis, Family, diagnose
from parity.diagnose.trials import Change
from parity.localise import Comparison, Region, candidate_places, failing, find_regions, mended, wider
from parity.localise.comparison import Value
from parity.numerics.progress import Progress
from parity.pipeline.found_faults import (
    again_in,
    confirmed,
    divergence_at,
    growth_of,
    in_another_step,
    of_weight,
)
from parity.pipeline.judging import GROUPS, Failed
from parity.pipeline.known_constants import KnownConstants
from parity.pipeline.measuring import Measured
from parity.pipeline.never_read import never_read
from parity.pipeline.planning import wrong_weights
from parity.pipeline.runs import program_weights
from parity.pipeline.second_draw import SecondDraw
from parity.pipeline.traced_gradients import under_tensor_names
from parity.pipeline.traces import Traces, traced
from parity.report.errors import in_one_line, why_unplaced
from parity.report.results import CauseKind, Divergence, Growth, Stage, once_each
from parity.report.sides import Sides
from parity.trace.executions import executions

MOST_SHOWN = 6
"""Different faults listed; each is mended before the next is looked for."""


PERHAPS_ONE_OF_SEVERAL = frozenset({CauseKind.MISSING_TERM, CauseKind.EXTRA_TERM, CauseKind.SCALE})
"""Causes that may be half of one: what is missing at this place may be too many at another."""

Reproducer = Callable[[Comparison, Region, int], Path]
"""Writes what reproduces a fault, given its number, and says where."""


class Found(NamedTuple):
    """What the traces tell.

    Attributes:
        divergences: the places.
        growth: the difference along the computation.
        findings: what else is to be said.
        unplaced: why no place was looked for, or none was found; "" where that did not happen.
    """

    divergences: tuple[Divergence, ...] = ()
    growth: tuple[Growth, ...] = ()
    findings: tuple[str, ...] = ()
    unplaced: str = ""


def search(
    both: Measured,
    failed: Failed,
    traces: Traces | None,
    reproduce: str | os.PathLike[str] | None,
    progress: Progress,
) -> Found:
    """Trace both sides in float64 and find the places where they part and what causes it.

    That a place cannot be found must not cost the verdict: an error on the way becomes a finding that says
    so. With PARITY_DEBUG set it is raised.

    Args:
        both: the two sides.
        failed: the run in which they differ, and the groups of values that do. Where outputs do, gradients
            differ because of that, and only the forward passes are traced.
        traces: where the reference's trace comes from.
        reproduce: directory for reproducers.
        progress: called as each phase begins.
    """
    wrong: tuple[Divergence, ...] = ()
    try:
        wrong = _wrong_weights(both)
        return _searched(both, failed, wrong, traces, reproduce, progress)
    except Exception as error:
        if os.environ.get("PARITY_DEBUG"):
            raise
        return Found(wrong, unplaced=why_unplaced(error))


def _wrong_weights(both: Measured) -> tuple[Divergence, ...]:
    """The weights that the candidate does not hold: known without any trace."""
    own = both.candidate.weights
    wrong = wrong_weights(both.candidate.plan, both.reference.weights, own)
    return tuple(of_weight(name, partners, why) for name, (partners, why) in wrong.items())


def _searched(
    both: Measured,
    failed: Failed,
    divergences: tuple[Divergence, ...],
    traces: Traces | None,
    reproduce: str | os.PathLike[str] | None,
    progress: Progress,
) -> Found:
    plan, run = both.candidate.plan, failed.run
    own = program_weights(run, plan, both.reference.weights, both.candidate.weights)["candidate"]
    if divergences:  # mended, to see what else there is
        own = {**own, **plan.to_candidate(run.weights, exact=True)}
    passes = [False, True] if "outputs" in failed.groups else [True]
    if both.candidate.lacking:  # what those outputs add to the loss is missing in every gradient
        passes = [False]
    reproducer = None if reproduce is None else _reproducer(both, reproduce)
    found = Found(divergences)
    for backward in passes:
        progress("tracing both sides")
        first = traces.reference(run, backward) if traces is not None else None
        if first is None:
            missing = "the place was not looked for: the reference's recording has no trace (record --trace)"
            return found._replace(unplaced=missing)
        second = traced(both.candidate_program, own, run.inputs, backward, replayable=True)
        (reference, there), (candidate, here) = first, second
        if plan.reversed:
            there = under_tensor_names(reference, plan, there)
        else:
            here = under_tensor_names(candidate, plan, here)
        if both.candidate.task.loss is None:  # the harness's own projection is no place of the user's
            for trace in (reference, candidate):
                trace.outputs.pop("loss", None)
        progress("comparing the traces")
        comparison = Comparison(reference, candidate, there, here)
        again = SecondDraw(both, run, own, backward, comparison)
        found = _walked(comparison, divergences, reproducer, again, progress)
        if any(divergence.stage is not Stage.WEIGHTS for divergence in found.divergences):
            break
    return found._replace(findings=(*never_read(both.candidate.plan, reference, candidate), *found.findings))


def _walked(
    comparison: Comparison,
    known: Sequence[Divergence],
    reproducer: Reproducer | None,
    again: SecondDraw,
    progress: Progress,
) -> Found:
    """What walking back from the outputs finds, and from the gradients if the outputs agree."""
    divergences = list(known)
    growth = tuple(growth_of(comparison))
    findings: list[str] = []
    met_again: set[int] = set()
    found_at: dict[int, Region] = {}
    constants = KnownConstants()

    def diagnosed(region: Region, families: Sequence[Family] | None = None) -> Diagnosis | None:
        problems: list[str] = []
        found = diagnose(comparison, region, problems, again.at, families)
        findings.extend(f"a bug of the harness, which may have cost a cause: {text}" for text in problems)
        return found

    for group, kind in GROUPS.items():
        if kind is Stage.LOSS and failing(comparison, "outputs"):
            continue  # it differs because they do
        if kind is Stage.GRADIENTS and len(divergences) > len(known):
            break  # they differ because the forward pass does
        region, before = None, len(divergences)
        errors: list[Exception] | None = None if os.environ.get("PARITY_DEBUG") else []
        for region in find_regions(comparison, group, errors):
            same = in_another_step(divergences, candidate_places(comparison, region))
            if same is not None:
                if same not in met_again and _is_same_code(comparison, found_at.get(same), region):
                    met_again.add(same)
                    divergences[same] = confirmed(divergences[same], diagnosed(region))
                divergences[same] = again_in(
                    divergences[same], comparison.candidate.nodes[region.j].spot.step
                )
                again.note(region)
                continue
            if len(once_each(divergences)) >= MOST_SHOWN:
                findings.append(f"{MOST_SHOWN} different faults are listed; there are more")
                break
            progress(f"place {len(divergences) + 1}: looking for the cause")
            found = diagnosed(region)
            first = len(divergences) == before
            if first and (found is None or found.cause.name in PERHAPS_ONE_OF_SEVERAL):
                whole = wider(comparison, group, region)
                as_one = diagnosed(whole, OF_SEVERAL) if whole is not None else None
                if whole is not None and as_one is not None:
                    region, found = whole, as_one
                    comparison.put(region.placed)
            if found is None and (known_one := constants.mend(comparison, region, again)) is not None:
                same_fault = divergence_at(comparison, region, kind, known_one)
                divergences += [same_fault] if any(map(same_fault.repeats, divergences)) else []
                continue
            constants.note(comparison, found)
            found_at[len(divergences)] = region
            divergences.append(divergence_at(comparison, region, kind, found))
            again.note(region)
            if reproducer is not None:
                where = reproducer(comparison, region, len(divergences))
                findings.append(f"reproducer of divergence {len(divergences)}: {where}")
            if found is not None and (outputs := _all_mended(comparison, group, found.change)):
                comparison.put(outputs)
                break
        else:
            names = {j: name for name, j in comparison.candidate.outputs.get(group, {}).items()}
            left = [names[j] for _, j in failing(comparison, group)]
            if left and region is not None and region.settled:
                findings.append(
                    f"{', '.join(left)}: still different with what is listed mended; look again then"
                )
        cost = "a bug of the harness, which may have cost places"
        findings += [f"{cost}: {in_one_line(error)}" for error in errors or ()]
    return Found(tuple(divergences), growth, tuple(findings))


def _is_same_code(comparison: Comparison, first: Region | None, again: Region) -> bool:
    """Whether a fault is the same operation as an earlier one, run once more, and not one next to it."""
    trace = comparison.candidate
    if first is None or min(step := [trace.nodes[region.j].step for region in (first, again)]) < 0:
        return False
    return step[1] in executions(trace, step[0])


def _all_mended(comparison: Comparison, group: str, change: Change) -> Mapping[int, Value]:
    """The failed outputs with what a cause is about put right everywhere; none if one still fails."""
    fit = all(np.shape(v) == comparison.array(i).shape for i, v in change.values.items())
    failed = failing(comparison, group)
    return (mended(comparison, failed, change.values, change.functions) or {}) if fit else {}


def _reproducer(both: Measured, directory: str | os.PathLike[str]) -> Reproducer:
    """Writes the reproducer of a fault: a script in JAX where the candidate is JAX's."""
    from parity.localise.jax_code import expression
    from parity.localise.reproducer import write_reproducer

    frameworks = both.reference.framework, both.candidate.model.framework
    writer = expression if frameworks[1] == "JAX" else None

    def write(comparison: Comparison, region: Region, number: int) -> Path:
        return write_reproducer(
            comparison, region, directory, number, sides=Sides.of(*frameworks), writer=writer
        )

    return write
