"""The work of `record` and `compare` where a model runs: one side measured and kept, or compared at once."""

import dataclasses
import time
from collections.abc import Collection
from pathlib import Path

from parity.frameworks.environment import environment
from parity.frameworks.outputs import pair_outputs
from parity.numerics.arrays import DTYPES
from parity.numerics.noise import SideByDtype, Subject, measure
from parity.numerics.progress import Progress, ReadingProgress
from parity.pipeline.candidate import Candidate, settle_candidate
from parity.pipeline.check import compare_sides
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.held_values import all_held, compared_in, in_float64
from parity.pipeline.measuring import measured
from parity.pipeline.outcome import Outcome
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.planning import judge_weights
from parity.pipeline.recorded_reference import (
    joined_environment,
    movable,
    recorded_settings,
    reference_of,
)
from parity.pipeline.recordings import Recording, clear, fingerprint
from parity.pipeline.reference import Reference, open_reference
from parity.pipeline.request import Request, Settings
from parity.pipeline.runs import FIRST, MOVED, runs_of
from parity.pipeline.streamed_sides import (
    judged_dtypes,
    left_in_files,
    outputs_alone,
    require_same_streaming,
    require_same_weights,
    streamed_candidate,
    streamed_reference,
    write_streamed_traces,
)
from parity.pipeline.traces import Traced, traced

TracesByRun = dict[tuple[str, bool], Traced]
"""(Title of a run, whether with the gradients) -> the reference's trace there."""


def record_reference(
    request: Request,
    trace: bool,
    progress: Progress,
    *,
    stream_to: Path | None = None,
    opened: Reference | None = None,
) -> tuple[Recording, TracesByRun]:
    """Run the reference and keep what a candidate is compared with.

    Args:
        request: with the reference.
        trace: whether to trace every run, too.
        progress: called as each phase begins.
        stream_to: the recording's directory, if weights are read at each use, values written as they come.
        opened: the reference, where it has been opened.
    """
    started = time.perf_counter()
    files: tuple[str, ...] = ()
    if stream_to is not None:
        progress = ReadingProgress(progress)
        request, files = streamed_reference(request, progress)
    settings = request.settings
    with pinned_for(request, "reference") as frameworks:
        reference = open_reference(request, progress) if opened is None else opened
        reference = _with_names(reference, request)
        program = reference.program(trainable=reference.trainable)
        # Which of these the candidate is in, too, is known when it is recorded.
        dtypes = tuple(settings.dtypes or dict.fromkeys((*DTYPES, *sorted(reference.computed))))
        if stream_to is not None:
            dtypes = judged_dtypes(settings.dtypes, reference.computed)
        moved = settings.moved_weights and settings.tolerance is None
        runs: dict[str, SideByDtype] = {}
        traces: TracesByRun = {}
        planned = list(
            runs_of(reference.inputs, reference.weights, dtypes, moved=moved, tables=reference.tables)
        )
        for run in planned:
            subject = {"reference": Subject(program, run.weights)}
            runs[run.title] = measure(subject, run.inputs, run.dtypes, progress, run.repeats)["reference"]
            if trace:
                progress("tracing the reference")
                for backward in (False, True):
                    traces[run.title, backward] = traced(program, run.weights, run.inputs, backward)
        if stream_to is not None:
            if reference.task.loss is None:
                runs = {title: outputs_alone(sides) for title, sides in runs.items()}
            write_streamed_traces(program, reference.weights, planned, clear(stream_to), progress)
        slope = None
        if settings.finite_differences and "float64" in dtypes:
            from parity.numerics.finite_differences import measure_slope

            progress("finite differences")
            forward = reference.program(trainable=())
            slope = measure_slope(
                Subject(forward, reference.weights), reference.inputs[0], list(reference.trainable)
            )
        narrow = [dtype for dtype in dtypes if dtype not in DTYPES]
        differentiable = stream_to is None and program.undifferentiable is None
        keys = compared_in(dtypes, wide=in_float64(reference.model), backward=differentiable)
        held = all_held(program, reference.weights, reference.inputs[0], keys, progress)
        weights_key = fingerprint([reference.weights])
        known = {
            "inputs": list(request.input_names),
            "own_loss": reference.task.loss is not None,
            "trainable": list(reference.trainable),
            "tables": list(reference.tables),
            "numbers": list(reference.numbers),
            "computed": sorted(reference.computed),
            "narrow": {dtype: spot.on_file() for dtype, spot in reference.narrow.items()},
            "settings": _plain(settings),
            "stream": stream_to is not None,
            "weights_key": weights_key,
            "draws": [draw._asdict() for draw in reference.draws],
            "slope": None if slope is None else slope._asdict(),
            "output_dtypes": {
                dtype: {
                    name: kind
                    for name, (kind, _) in program.output_dtypes(
                        reference.weights, reference.inputs[0], dtype
                    ).items()
                }
                for dtype in narrow
            },
        }
        notes = (*reference.notes, *reference.remarks)
        if reference.left:
            notes = (*notes, f"{reference.framework}'s outputs {', '.join(reference.left)}: not compared")
        recording = Recording(
            "reference",
            reference.framework,
            request.name,
            runs,
            environment(settings.device, frameworks),
            known,
            reference.inputs,
            reference.weights,
            reference.signatures,
            key=weights_key + fingerprint(reference.inputs),
            findings=(*notes, *left_in_files(request, reference.signatures)),
            seconds=time.perf_counter() - started,
            weights_files=files,
            held=held,
        )
        return recording, traces


def _with_names(reference: Reference, request: Request) -> Reference:
    """The reference with the outputs alone that the user names."""
    names = request.outputs.names
    if names is None:
        return reference
    kept = list(names)
    chosen = list(pair_outputs(reference.outputs, reference.outputs, kept)[0])
    every = reference.task.outputs
    task = reference.task._replace(outputs=lambda out: {name: every(out)[name] for name in chosen})
    return dataclasses.replace(
        reference, task=task, outputs={name: reference.outputs[name] for name in chosen}
    )


def record_candidate(
    recorded: Recording, request: Request, progress: Progress, *, stream_to: Path | None = None
) -> Recording:
    """Run a candidate with the weights and inputs of a recorded reference.

    Args:
        recorded: the reference.
        request: with the candidate.
        progress: called as each phase begins.
        stream_to: the recording's directory, if weights are read at each use, values written as they come.

    Raises:
        ValueError: if only one side has a loss, or is streamed; if the recorded loss is made of outputs that
            the candidate lacks; if the reference was not run in a dtype that the candidate is judged in.
    """
    started = time.perf_counter()
    require_same_streaming(recorded, stream_to is not None)
    if stream_to is not None:
        progress = ReadingProgress(progress)
        recorded, request = streamed_candidate(recorded, request, progress)
        progress("reading the weights")
        require_same_weights(recorded)
    reference = reference_of(recorded)
    settings = recorded_settings(recorded)
    require_same_kind_of_loss(recorded, request)
    with pinned_for(request, "candidate", seed=settings.seed) as frameworks:
        reference, candidate = with_equal_constants(
            reference, settle_candidate(reference, request, progress), progress
        )
        _require_all_outputs(reference, candidate)
        dtypes = tuple(settings.dtypes or candidate.dtypes)
        _require_recorded(dtypes, recorded)
        both = measured(reference, candidate)
        moved = MOVED in recorded.runs and movable(candidate.plan, reference)
        planned = list(
            runs_of(reference.inputs, reference.weights, dtypes, moved=moved, tables=reference.tables)
        )
        runs = {run.title: both.sides(run, progress)["candidate"] for run in planned}
        if stream_to is not None:
            if candidate.task.loss is None:
                runs = {title: outputs_alone(sides) for title, sides in runs.items()}
            place = clear(stream_to)
            write_streamed_traces(both.candidate_program, candidate.weights, planned, place, progress)
        given = reference.inputs[0]
        plan = candidate.plan
        differentiable = stream_to is None and both.candidate_program.undifferentiable is None
        keys = compared_in(dtypes, wide=in_float64(candidate.model), backward=differentiable)
        held = all_held(both.candidate_program, candidate.weights, given, keys, progress)
        known = {
            "names": plan.names(),
            "turned": plan.reversed,
            "outputs": dict(candidate.outputs),
            "left_out": [*plan.unused, *plan.missing],
            "partners": sorted(plan.of_reference()),
            "computed": candidate.computed,
            "misfits": [one._asdict() for one in candidate.misfits],
            "stream": stream_to is not None,
            "undifferentiable": both.candidate_program.undifferentiable,
            "output_dtypes": {
                dtype: {
                    name: (kind, None if spot is None else spot.on_file())
                    for name, (kind, spot) in both.candidate_program.output_dtypes(
                        candidate.weights, given, dtype
                    ).items()
                }
                for dtype in dtypes
                if dtype not in DTYPES
            },
        }
        return Recording(
            "candidate",
            candidate.model.framework,
            recorded.name,
            runs,
            environment(request.settings.device, frameworks),
            known,
            quantities=()
            if stream_to is not None
            else tuple(judge_weights(plan, reference.weights, candidate.weights)),
            plan=plan.rows(),
            key=recorded.key,
            findings=(*candidate.notes, *candidate.remarks),
            seconds=time.perf_counter() - started,
            held=held,
        )


def compare_live(recorded: Recording, place: Path, request: Request, progress: Progress) -> Outcome:
    """Compare a recorded reference with a candidate that runs now.

    Args:
        recorded: the reference.
        place: its directory, in which its traces lie.
        request: with the candidate.
        progress: called as each phase begins.
    """
    from parity.pipeline.trace_files import RecordedTraces

    require_same_streaming(recorded, stream=False)
    reference = reference_of(recorded)
    require_same_kind_of_loss(recorded, request)
    device, reproduce = request.settings.device, request.settings.reproduce
    settings = dataclasses.replace(recorded_settings(recorded), device=device, reproduce=reproduce)
    request = dataclasses.replace(request, settings=settings, name=recorded.name)
    with pinned_for(request, "candidate"):
        reference, candidate = with_equal_constants(
            reference, settle_candidate(reference, request, progress), progress
        )
        _require_all_outputs(reference, candidate)
        both = measured(reference, candidate, recorded=recorded.runs)
        outcome = compare_sides(both, request, progress, RecordedTraces(place, candidate.outputs))
    if outcome.environment is not None:
        live = Recording("candidate", candidate.model.framework, "", {}, outcome.environment, {})
        outcome.environment = joined_environment(recorded, live)
    return outcome


def _require_recorded(dtypes: Collection[str], recorded: Recording) -> None:
    """The reference must have been run in every dtype that the candidate is judged in."""
    known = list(recorded.runs[FIRST])
    if missing := [dtype for dtype in dtypes if dtype not in known]:
        raise ValueError(
            f"the candidate computes in {', '.join(missing)}, but the reference was recorded in "
            f"{', '.join(known)}; record the reference with dtypes={list(dtypes)!r}"
        )


def require_same_kind_of_loss(recorded: Recording, request: Request) -> None:
    """Check that both sides have a loss of their own, or neither.

    Args:
        recorded: the reference.
        request: with the candidate.

    Raises:
        ValueError: if one side alone has one.
    """
    own_loss = bool(recorded.settings["own_loss"])
    if (request.losses[1] is not None) != own_loss:
        raise ValueError(
            "the reference was recorded with its own `loss`; give the candidate's as "
            "loss=(None, candidate_loss)"
            if own_loss
            else "the reference was recorded without a `loss`; leave it out here, or record it with one"
        )


def _require_all_outputs(reference: Reference, candidate: Candidate) -> None:
    """The recorded loss, a projection of the outputs, must not be made of some that the candidate lacks."""
    recorded = list(reference.outputs)
    compared = [own for own in candidate.outputs.values() if own not in candidate.lacking]
    if reference.task.loss is None and set(recorded) != set(compared):
        raise ValueError(
            f"the reference recorded the outputs {', '.join(recorded)}, of which the candidate returns "
            f"{', '.join(compared) or 'none'}; the gradients compared are those of all of them together, so "
            f"record the reference with outputs={compared!r}"
        )


def _plain(settings: Settings) -> dict[str, object]:
    """Settings as JSON."""
    fields = dataclasses.asdict(settings)
    fields["reproduce"] = None
    fields["dtypes"] = None if settings.dtypes is None else list(settings.dtypes)
    return fields
