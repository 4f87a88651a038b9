"""`check`: do a reference and a candidate compute the same outputs and gradients?"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from parity.frameworks.environment import environment
from parity.numerics.arrays import DTYPES
from parity.numerics.progress import Progress
from parity.pipeline import held_precision, promotions
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.conversions import judge_misfits, not_planned
from parity.pipeline.draw_sentences import told
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.held_values import compared_in, in_float64
from parity.pipeline.judging import GROUPS, Failed, judge_runs, named_on_both_sides, not_checked
from parity.pipeline.measuring import Measured, Oracle, measured
from parity.pipeline.outcome import Outcome
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.planning import judge_weights
from parity.pipeline.recorded_reference import movable
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request, Settings, Weights
from parity.pipeline.runs import MOVED, runs_of
from parity.pipeline.traces import LiveTraces, Traces
from parity.pipeline.updated_statistics import compare_statistics
from parity.report.results import ParityError, Report, Verdict
from parity.report.sides import Sides


def check(
    reference: object,
    candidate: object,
    inputs: object,
    *,
    targets: object = None,
    loss: tuple[Any, Any] | None = None,
    outputs: object = None,
    layout: Mapping[str, tuple[int, ...]] | None = None,
    weights: Weights | None = None,
    settings: Settings | None = None,
    oracles: Mapping[str, Oracle] | None = None,
    name: str = "check",
    progress: Progress = lambda text: None,
) -> Report:
    """Compare weights, outputs, loss and gradients of two models.

    Either may be a PyTorch `nn.Module`; a PyTorch function `f(params, *inputs)`; a Flax NNX, Flax Linen or
    Equinox module; a pair of functions `init` and `apply` (Haiku); or a JAX function `f(params, *inputs)`.
    The reference's weights are loaded into the candidate by a plan, or the user's own conversion is checked
    against that plan and then used. Both sides run with and without one-ulp noise in every dtype, and once
    more in float64 with every weight moved, and are judged by the yardstick. Where they differ, both
    computations are traced and the place, and if possible the cause, is named. Neither model is changed,
    and global precision settings and random states are restored.

    Args:
        reference: what is taken as right.
        candidate: what is compared with it.
        inputs: arrays by argument name, or in order, in the reference's layout; both models get the same
            numbers. A list of such dicts is several inputs in one check (another batch size, an odd length).
        targets: array or dict of arrays for the losses.
        loss: (reference's loss, candidate's loss), each `loss(outputs, targets)`; by default a fixed random
            projection of the outputs, so that no gradient vanishes by symmetry.
        outputs: which outputs to compare where the two return different structures: names to keep, a
            mapping from the reference's names to the candidate's, or a pair of functions of the return
            values.
        layout: input or output name -> permutation from the reference's axes to the candidate's, e.g.
            {"x": (0, 2, 3, 1)}; images that lie channels last in JAX are recognised where the shapes tell.
        weights: where the weights come from; see `parity.Weights`.
        settings: dtypes, finite differences, moved weights, tolerance, device; see `parity.Settings`.
        oracles: further candidates to compare with the reference, by label.
        name: of the report.
        progress: called with a short description as each phase begins.

    Returns:
        The report; its `verdict` is pass, fail or inconclusive.

    Raises:
        TypeError, ValueError: if an argument cannot be used, or the weights do not pair up.
        HarnessError: if the harness itself fails where the models run.
        Exception: what a model raises, with a note that names the side and what it was doing.
    """
    started = time.perf_counter()
    request = Request.of(
        reference,
        candidate,
        inputs,
        targets=targets,
        loss=loss,
        outputs=outputs,
        layout=layout,
        weights=weights,
        settings=settings,
        name=name,
    )
    with pinned_for(request):
        known = open_reference(request, progress)
        known, candidate_side = with_equal_constants(
            known, settle_candidate(known, request, progress), progress
        )
        both = measured(known, candidate_side, oracles)
        outcome = compare_sides(both, request, progress, LiveTraces(both))
    return outcome.report(time.perf_counter() - started)


def compare_sides(both: Measured, request: Request, progress: Progress, traces: Traces) -> Outcome:
    """Judge both sides, and look for the place where they differ.

    Args:
        both: the two sides; the reference may be a recording.
        request: what was asked for.
        progress: called as each phase begins.
        traces: of the reference, where they can be had.
    """
    reference, candidate, settings = both.reference, both.candidate, request.settings
    plan = candidate.plan
    if both.recorded and not movable(plan, reference):
        settings = dataclasses.replace(settings, moved_weights=False)
    dtypes = tuple(settings.dtypes) if settings.dtypes is not None else candidate.dtypes
    sides = Sides.of(reference.framework, candidate.model.framework)
    outcome = Outcome(request.name, sides=sides)
    outcome.plan, outcome.doubts = plan.rows(), plan.doubts()
    outcome.environment = environment(settings.device, _running(both))
    outcome.findings = (
        *reference.notes,
        *candidate.notes,
        *reference.remarks,
        *candidate.remarks,
    )
    outcome.conditions = candidate.conditions
    unused = plan.missing if plan.reversed else plan.unused
    runs = runs_of(
        reference.inputs,
        reference.weights,
        dtypes,
        moved=settings.moved_weights and settings.tolerance is None,
        tables=[name for name in unused if name in reference.weights],
    )
    judged = judge_runs(
        runs,
        both.sides,
        settings,
        progress,
        slope=both.slope,
        differentiable=lambda: both.candidate_program.undifferentiable is None,
        by_hand=both.by_hand,
    )
    if judged.probed is not None:
        where = _stopped(both) if judged.probed.shared else ()
        outcome.findings = (*outcome.findings, *judged.probed.findings, *where)
    weights = [
        *judge_weights(plan, reference.weights, candidate.weights),
        *judge_misfits(candidate.misfits, bool(judged.failed), turned=plan.reversed),
    ]
    apart = [one for dtype in dtypes if dtype not in DTYPES for one in _apart(both, dtype)]
    quantities = [promotions.judge(q, apart) for q in judged.quantities]
    promoted = {one.dtype for one in apart}  # what follows a promotion is rounded otherwise because of it
    rest = [] if judged.failed else [dtype for dtype in dtypes if dtype not in promoted]
    keys = compared_in(
        rest,
        wide=in_float64(candidate.model) and traces.in_float64,
        backward=both.candidate_program.undifferentiable is None,
    )
    held, unheld = held_precision.compared(traces.held, both.candidate_held, keys, progress)
    for roundings in held:
        quantities = [held_precision.judge(q, roundings) for q in quantities]
        outcome.findings = (*outcome.findings, *held_precision.remarks(roundings))
    statistics = compare_statistics(both, dtypes, settings.tolerance, progress)
    quantities = [*quantities, *statistics.quantities]
    outcome.findings = (*outcome.findings, *statistics.findings)
    outcome.quantities = [*weights, *named_on_both_sides(quantities, plan.names(), turned=plan.reversed)]
    left_out, by_result = not_planned((*plan.unused, *plan.missing), candidate.computed)
    own_loss = reference.task.loss is not None
    outcome.not_checked = (
        *not_checked(settings, dtypes, left_out, judged, own_loss=own_loss),
        *by_result,
        *unheld,
        *statistics.not_checked,
    )
    if (why := both.candidate_program.undifferentiable) is not None:
        line = f"gradients: the {candidate.model.framework} model cannot be differentiated ({why})"
        outcome.not_checked = (line, *outcome.not_checked)
    if settings.localise:
        outcome.divergences = tuple(promotions.places(apart))
        for roundings in held:
            outcome.divergences += tuple(held_precision.places(roundings))
    explained = promoted | {roundings.key.dtype for roundings in held if roundings.telling}
    narrow = [failed for failed in judged.narrow if failed.dtype not in explained]
    # Where float64 is not judged, it is not known yet whether the two are the same function in it.
    different = judged.failed or ([] if "float64" in dtypes else narrow)
    if settings.localise and different:
        from parity.pipeline.search import search  # needs both frameworks' rooms, which a pass does not

        progress("looking for the place")
        telling = _telling(different)
        found = search(both, telling, traces, settings.reproduce, progress)
        placed = told(found.divergences, candidate.draw_faults)
        outcome.divergences = (*placed, *outcome.divergences)
        outcome.growth, outcome.unplaced = found.growth, found.unplaced
        outcome.findings = (*outcome.findings, *found.findings)
        narrow = [] if found.divergences else narrow
    if settings.localise and narrow:
        from parity.pipeline.accuracy_search import accuracy_search  # as above

        lost, remarks = accuracy_search(both, narrow[0], progress)
        outcome.divergences = (*outcome.divergences, *lost)
        outcome.findings = (*outcome.findings, *remarks)
        outcome.unplaced = "" if lost else outcome.unplaced
    outcome.findings = (*outcome.findings, *filter(None, (outcome.unplaced,)))
    return outcome


def _telling(different: Sequence[Failed]) -> Failed:
    """The run in which a place is looked for: that of the moved weights, if the same groups part there.

    Zeros and ones, as at initialisation, make values agree that have nothing to do with each other.
    """
    first = different[0]
    moved = [failed for failed in different if failed.run.title == MOVED]
    return next((f for f in moved if f.groups >= first.groups & GROUPS.keys()), first)


def _stopped(both: Measured) -> tuple[str, ...]:
    """Where the two sides stop gradients, in words."""
    reference, candidate = both.reference, both.candidate
    given = reference.inputs[0]
    traces = {candidate.model.framework: both.candidate_program.trace(candidate.weights, given, False)}
    if reference.trace is not None:
        traces = {reference.framework: reference.trace, **traces}
    lines = []
    for framework, trace in traces.items():
        places = [stop.place for stop in trace.stops]
        found = dict.fromkeys(f"{place.file}:{place.line}" for place in places if place.file)
        if found:
            lines.append(f"the {framework} model stops gradients at {', '.join(list(found)[:4])}")
    return tuple(lines)


def _running(both: Measured) -> tuple[str, ...]:
    """The frameworks that run here, as `parity.numerics.precision` knows them."""
    running = [both.candidate.model.framework]
    if both.reference.model is not None:
        running.append(both.reference.framework)
    return tuple(name for name, title in (("torch", "PyTorch"), ("jax", "JAX")) if title in running)


def _apart(both: Measured, dtype: str) -> list[promotions.Apart]:
    """The outputs that the two sides return in different dtypes in a run in `dtype`."""
    reference, candidate = both.reference, both.candidate
    given = reference.inputs[0]
    own = both.candidate_program.output_dtypes(candidate.weights, given, dtype)
    return promotions.differing_dtypes(both.reference_dtypes(dtype), own, dtype)


def assert_parity(*args: Any, **kwargs: Any) -> Report:
    """`check`, raising `ParityError` with the whole report unless the verdict is pass.

    Args:
        *args: of `check`.
        **kwargs: of `check`.

    Returns:
        The report, which passed.

    Raises:
        ParityError: an AssertionError; its `report` has the evidence.
    """
    report = check(*args, **kwargs)
    if report.verdict is not Verdict.PASS:
        raise ParityError(report)
    return report
