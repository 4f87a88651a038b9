"""Where a candidate loses accuracy in a run in a dtype narrower than float64."""

import os
from math import nan

from parity.frameworks.model import Program
from parity.localise.lost_places import LostPlaces
from parity.localise.rounding_errors import RoundedRun
from parity.localise.rounding_words import what_happens
from parity.numerics.arrays import Arrays
from parity.numerics.progress import Progress
from parity.pipeline.judging import GROUPS, Failed
from parity.pipeline.measuring import Measured
from parity.pipeline.noisy_traces import largest_move, noisy_trace
from parity.pipeline.runs import program_weights
from parity.report.errors import in_one_line
from parity.report.results import Divergence, Kind, Stage

MOST_SHOWN = 3
"""Places that are told; who mends the first looks again."""


def accuracy_search(
    both: Measured, failed: Failed, progress: Progress
) -> tuple[tuple[Divergence, ...], tuple[str, ...]]:
    """Trace the run that fails in its own dtype and in float64, and find where digits are lost.

    That a place cannot be found must not cost the verdict: an error on the way becomes a finding. With
    PARITY_DEBUG set it is raised.

    Args:
        both: the two sides.
        failed: the run in which they differ, its dtype, and the groups of values that do.
        progress: called as each phase begins.

    Returns:
        The places, and what else is to be said.
    """
    progress(f"looking for the place in {failed.dtype}")
    try:
        return _searched(both, failed), ()
    except Exception as error:
        if os.environ.get("PARITY_DEBUG"):
            raise
        return (), (f"the place in {failed.dtype} was not found: {in_one_line(error)}",)


def _searched(both: Measured, failed: Failed) -> tuple[Divergence, ...]:
    run, plan = failed.run, both.candidate.plan
    own = program_weights(run, plan, both.reference.weights, both.candidate.weights)["candidate"]
    groups = failed.groups
    if both.candidate.task.loss is None and "loss" in groups:  # the harness's own projection of the outputs
        groups |= {"outputs"}
    group = next(group for group in GROUPS if group in groups)
    backward = group == "gradients"
    candidate = rounded_run(both.candidate_program, own, run.inputs, failed.dtype, backward, replayable=True)
    reference = None
    if both.reference_program is not None:
        reference = rounded_run(both.reference_program, run.weights, run.inputs, failed.dtype, backward)
    lost = LostPlaces(candidate, reference)
    starts = candidate.trace.outputs.get(group, {}).values()
    return tuple(_divergence(lost, index, GROUPS[group]) for index in lost.found(starts)[:MOST_SHOWN])


def rounded_run(
    program: Program,
    weights: Arrays,
    inputs: Arrays,
    dtype: str,
    backward: bool,
    *,
    replayable: bool = False,
) -> RoundedRun:
    """One run of a program in a narrow dtype, beside the same in float64.

    Args:
        program: of either framework.
        weights: by its own names.
        inputs: in the reference's layout.
        dtype: the narrow one.
        backward: whether the backward pass is run, too.
        replayable: whether exact values will be put in place of its own.

    Raises:
        ValueError: if noise changes which operations run, so that it cannot be said how far it moves a value.
    """
    exact = program.trace(weights, inputs, backward, replayable=replayable)
    moved = noisy_trace(program, weights, inputs, backward, dtype=dtype, replayable=replayable)
    if len(moved.nodes) != len(exact.nodes):
        raise ValueError("noise changes which operations run")
    moves = [
        largest_move(one.array, other.array) if one.floating else 0.0
        for one, other in zip(exact.nodes, moved.nodes, strict=True)
    ]
    written = program.trace(weights, inputs, backward, replayable=replayable, dtype=dtype)
    return RoundedRun(written, exact, moves, dtype)


def _divergence(lost: LostPlaces, index: int, stage: Stage) -> Divergence:
    run, allowed = lost.run, lost.allowed(index)
    error = run.error(index)
    relative = error is not None and not error.broken.any() and error.scale > 0
    of, honest = (error.largest / error.scale, allowed / error.scale) if error and relative else (nan, nan)
    detail = f"in {run.dtype}: {what_happens(run, index, allowed=allowed)}"
    place = run.trace.nodes[index].place
    return Divergence(stage, lost.reference_places(index), (place,), Kind.ACCURACY, detail, of, honest)
