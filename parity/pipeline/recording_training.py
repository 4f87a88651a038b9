"""The work of `record` and `compare` for training: one side trained and kept, or compared with the other.

The steps are those of `training_pairs`, with a directory between the two sides.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.frameworks.environment import environment
from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.noise import Side, Values
from parity.numerics.progress import Progress
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.check import compare_sides
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.measuring import Measured, measured
from parity.pipeline.model_partings import look_into_the_models
from parity.pipeline.outcome import Outcome
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.planning import judge_weights
from parity.pipeline.recorded_reference import joined_environment, recorded_settings, reference_of
from parity.pipeline.recorded_training import TrainingRecord
from parity.pipeline.recording_sides import TracesByRun, record_reference, require_same_kind_of_loss
from parity.pipeline.recordings import Recording, fingerprint
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request, Settings
from parity.pipeline.runs import compared_tensors
from parity.pipeline.step_rows import Entries, numbered
from parity.pipeline.trace_files import RecordedTraces
from parity.pipeline.training_batches import read_batches
from parity.pipeline.training_causes import can_explain
from parity.pipeline.training_contexts import module_within, within
from parity.pipeline.training_data import ComparedData, compare_data
from parity.pipeline.training_measured import Compared, Training, compared, steps_before
from parity.pipeline.training_optimizers import (
    Described,
    described,
    names_of,
    read_candidate_optimizers,
    read_reference_optimizers,
    require_pair,
)
from parity.pipeline.training_outcome import Shared, add_before, add_divergence, add_trained
from parity.pipeline.training_pairs import request_for
from parity.pipeline.training_sides import jax_side, moved_tensors, narrow_in, never_reached, torch_side
from parity.pipeline.undetermined import undetermined
from parity.pipeline.updated_statistics import Statistics, judge_statistics, not_compared
from parity.pipeline.written_statistics import STATISTICS, Written, pairs_of, unwritten, written
from parity.report.partings import Phase
from parity.report.sides import Sides

Given = Mapping[str, Any]
"""Arguments of `parity.check_training` by name, with `weights` and `settings` gathered."""


def train_reference(
    given: Given, trace: bool, progress: Progress
) -> tuple[Recording, TracesByRun, TrainingRecord]:
    """Train the reference and keep what a candidate is compared with.

    Args:
        given: arguments of `parity.check_training`; the candidate's part may be missing.
        trace: whether to trace the first batch, so that the place of a difference is found.
        progress: called as each phase begins.

    Raises:
        TypeError, ValueError: if an argument cannot be used.
    """
    module: Any = given.get("reference")
    loss, autocast = given.get("loss"), given.get("autocast")
    require_pair(module, loss, given.get("optimizer"))
    assert loss is not None
    accumulate = given.get("accumulate", 1)
    drawn = read_batches(given.get("batches", ()), given.get("steps"), accumulate)
    options = {name: given[name] for name in ("outputs", "layout", "weights") if name in given}
    options["name"] = given.get("name", "training")
    settings = given.get("settings") or Settings()
    # One batch is checked for the place alone.
    checked = dataclasses.replace(settings, finite_differences=False, moved_weights=False)
    own = within(autocast, loss[0])
    request = request_for(drawn, (own, own), module, None, settings=checked, **options)
    optimizers = read_reference_optimizers(given, module)
    with pinned_for(request, "reference"), module_within(autocast, module):
        reference = open_reference(request, progress)
        recording, traces = record_reference(request, trace, progress, opened=reference)
        model = reference.model
        assert model is not None
        names = names_of(module, optimizers, reference.weights)
        known = described(optimizers, module, names)
        program = reference.program(trainable=reference.trainable)
        side = torch_side(reference, program, optimizers, names)
        moved = {*reference.trainable, *known.parameters} & set(reference.weights)
        side = side.restricted(reference.trainable, moved)
        side = side._replace(narrow=narrow_in(sorted(reference.computed)))
        unused = never_reached(side, reference.weights, drawn.steps)
        _, unreached = side.program(reference.weights, drawn.steps[0][0], "float32")
        dtypes = tuple(settings.dtypes or DTYPES)
        training = Training(side, reference.weights, drawn.steps, dtypes, progress)
        divergence = training.divergence("<reference>")
        training = training.first(steps_before(len(drawn.steps), divergence))
        start = side.tensors(reference.weights)
        trained = training.trained(start)
        level = undetermined((trained.equal, trained.equal))
        levelled = training.trained(start, level=level) if level else None
        statistics = unwritten(model)
        if statistics.updated:
            same = {name: name for name in statistics.updated}
            batch = drawn.steps[0][0]
            statistics = written(model, reference.task, same, reference.weights, batch, dtypes, progress)
    facts = {
        "known": {**known._asdict(), "parameters": sorted(known.parameters)},
        "unused": sorted(unused),
        "reached": [name for name in reference.trainable if name not in unreached],
        "narrow": side.narrow,
        "dtypes": dtypes,
        "averages": optimizers.average is not None,
    }
    record = TrainingRecord(facts, trained, statistics, levelled, level, drawn, start, divergence)
    # A candidate trains from all of this, and not from the first batch alone.
    key = recording.key + fingerprint([numbered(drawn.steps), trained.free[dtypes[0]].base["weights"]])
    told = {**recording.settings, "steps": record.steps}
    return recording._replace(key=key, settings=told), traces, record


class TrainedCandidate(NamedTuple):
    """A candidate that was trained from the weights of a recorded reference.

    Attributes:
        both: the two models; the reference is recorded.
        recording: what is known of it besides, without runs.
        record: how it trained.
    """

    both: Measured
    recording: Recording
    record: TrainingRecord


@contextlib.contextmanager
def trained_candidate(
    recorded: Recording, expected: TrainingRecord, request: Request, given: Given, progress: Progress
) -> Iterator[TrainedCandidate]:
    """Train a candidate with the weights and batches of a recorded reference.

    Args:
        recorded: the reference.
        expected: how it trained.
        request: with the candidate.
        given: arguments of `parity.check_training`; the reference's part may be missing.
        progress: called as each phase begins.

    Yields:
        The candidate, its framework being pinned.

    Raises:
        TypeError, ValueError: if an argument is missing or cannot be used.
    """
    facts, batches = expected.facts, expected.batches
    assert batches is not None
    require_same_kind_of_loss(recorded, request)
    known, reference = _described(facts["known"]), reference_of(recorded)
    optimizers = read_candidate_optimizers(given, known.accumulate, averages=facts["averages"])
    own = None
    if given.get("candidate_batches") is not None:
        own = read_batches(
            given["candidate_batches"],
            len(batches.steps),
            known.accumulate,
            "candidate_batches",
            may_end=True,
        )
    with pinned_for(request, "candidate", seed=recorded_settings(recorded).seed):
        reference, candidate = with_equal_constants(
            reference, settle_candidate(reference, request, progress), progress
        )
        both = measured(reference, candidate, recorded=recorded.runs)
        narrow = narrow_in(candidate.dtypes)
        _require_same_precision(facts["narrow"], narrow)
        plan, model = candidate.plan, candidate.model
        side = jax_side(both, known, optimizers, frozenset(facts["unused"]))._replace(narrow=narrow)
        tensors, moved = compared_tensors(plan, reference.trainable), moved_tensors(both, known.parameters)
        training = Training(side, candidate.weights, batches.steps, tuple(facts["dtypes"]), progress)
        divergence = training.divergence("<candidate>")
        steps = steps_before(len(batches.steps), expected.divergence, divergence)
        training = training.first(steps)
        start = {name: array for name, array in expected.start.items() if name in moved}
        like = expected.trained.restricted(tensors, moved).first(steps)
        trained, levelled = training.trained(start, like), None
        if expected.levelled is not None:
            level = {name: mask for name, mask in expected.level.items() if name in moved}
            like = expected.levelled.restricted(tensors, moved).first(steps)
            levelled = training.trained(start, like, level)
        statistics, pairs = unwritten(model), pairs_of(plan, expected.statistics.updated, model.updated)
        if pairs and statistics.able and expected.statistics.able:
            batch = batches.steps[0][0]
            statistics = written(
                model, candidate.task, pairs, candidate.weights, batch, training.dtypes, progress
            )
        shared, planned = Shared.of(plan), set(plan.names())
        own_facts = {
            "tensors": sorted(tensors),
            "moved": sorted(moved),
            "shared": shared._asdict(),
            "pairs": pairs,
            "layout": candidate.task.layout,
            "doubts": plan.doubts(),
            "alone": [name for name in facts["reached"] if name in known.options and name not in planned],
        }
        record = TrainingRecord(own_facts, trained, statistics, levelled, batches=own, divergence=divergence)
        recording = Recording(
            "candidate",
            model.framework,
            recorded.name,
            {},
            environment(request.settings.device, ("jax",)),
            {"stream": False, "steps": record.steps},
            quantities=tuple(judge_weights(plan, reference.weights, candidate.weights)),
            plan=plan.rows(),
            key=recorded.key,
            findings=(*candidate.notes, *candidate.remarks),
        )
        yield TrainedCandidate(both, recording, record)


def record_candidate_training(
    recorded: Recording, expected: TrainingRecord, request: Request, given: Given, progress: Progress
) -> tuple[Recording, TrainingRecord]:
    """Train a candidate, and keep what is compared with the reference.

    Args:
        recorded: the reference.
        expected: how it trained.
        request: with the candidate.
        given: as in `trained_candidate`.
        progress: called as each phase begins.
    """
    started = time.perf_counter()
    with trained_candidate(recorded, expected, request, given, progress) as found:
        return found.recording._replace(seconds=time.perf_counter() - started), found.record


def compare_live_training(
    recorded: Recording, expected: TrainingRecord, request: Request, given: Given, progress: Progress
) -> Outcome:
    """Compare a recorded training with that of a candidate that runs now.

    Args:
        recorded: the reference.
        expected: how it trained.
        request: with the candidate.
        given: as in `trained_candidate`.
        progress: called as each phase begins.
    """
    settings = recorded_settings(recorded)
    settings = dataclasses.replace(settings, device=request.settings.device)
    request = dataclasses.replace(request, settings=settings, name=recorded.name)
    with trained_candidate(recorded, expected, request, given, progress) as found:
        traces = RecordedTraces(recorded.place, found.both.candidate.outputs)
        return judge_recorded(
            (recorded, found.recording),
            (expected, found.record),
            lambda: compare_sides(found.both, request, progress, traces),
            progress,
        )


def judge_recorded(
    recordings: tuple[Recording, Recording],
    records: tuple[TrainingRecord, TrainingRecord],
    checked: Callable[[], Outcome] | None,
    progress: Progress,
) -> Outcome:
    """Judge two trainings; neither model is needed, nor PyTorch.

    Args:
        recordings: of the reference and the candidate.
        records: how they trained.
        checked: checks the models on the first batch; None where the candidate is not here.
        progress: called as each phase begins.
    """
    reference, candidate = recordings
    expected, found = records
    facts, known = found.facts, _described(expected.facts["known"])
    tensors, moved = facts["tensors"], facts["moved"]
    outcome = Outcome(reference.name, sides=Sides.of(reference.framework, candidate.framework))
    outcome.plan = candidate.plan
    outcome.doubts = tuple((a, b, c) for a, b, c in facts["doubts"])
    outcome.environment = joined_environment(reference, candidate)
    outcome.findings = tuple(dict.fromkeys((*reference.findings, *candidate.findings)))
    assert expected.batches is not None
    steps = steps_before(len(expected.batches.steps), expected.divergence, found.divergence)
    start = {name: array for name, array in expected.start.items() if name in moved}

    def trainings(level: Entries) -> Compared:
        own, other = expected.trained, found.trained
        if level and expected.levelled is not None and found.levelled is not None:
            own, other = expected.levelled, found.levelled
        return compared(own.restricted(tensors, moved).first(steps), other, start)

    add_divergence(outcome, expected.divergence, found.divergence)
    shared = Shared(*({k: tuple(v) for k, v in facts["shared"][name].items()} for name in ("copies", "sums")))
    progress("looking for the step, the phase and the cause")
    add_trained(outcome, trainings, known, start, shared, _statistics(recordings, records))
    narrow = expected.facts["narrow"] is not None
    if checked is not None:
        look_into_the_models(outcome, lambda step: checked(), is_narrow=narrow)
    elif outcome.parting is not None and outcome.parting.phase in (Phase.LOSS, Phase.GRADIENTS):
        line = "where the two models part: that needs the candidate itself (compare with its file)"
        outcome.not_checked = (*outcome.not_checked, line)
    if outcome.parting is not None and not outcome.parting.cause and not can_explain():
        line = "why the optimisers differ: their rules are computed in JAX, which is not installed here"
        outcome.not_checked = (*outcome.not_checked, line)
    data = ComparedData()
    if found.batches is not None:
        layout = {name: tuple(axes) for name, axes in facts["layout"].items()}
        data = compare_data(expected.batches, found.batches, layout)
    add_before(outcome, data, facts["alone"])
    return outcome


def _statistics(
    recordings: tuple[Recording, Recording], records: tuple[TrainingRecord, TrainingRecord]
) -> Statistics:
    """What both sides write to their weights, judged."""
    (expected, found), pairs = records, records[1].facts["pairs"]
    sides = expected.statistics, found.statistics
    if not pairs or not all(side.able for side in sides):
        return Statistics(not_checked=not_compared(sides, ()))
    weights, dtypes = recordings[0].weights, tuple(expected.facts["dtypes"])
    return judge_statistics((_of_pairs(sides[0], pairs, weights), sides[1]), pairs, weights, dtypes)


def _of_pairs(side: Written, names: Mapping[str, str], weights: Arrays) -> Written:
    """What the reference wrote to some weights; those that it did not write to are as they were."""
    kept = {STATISTICS: {name: np.asarray(weights[name]) for name in names}}
    still = {STATISTICS: {name: np.zeros(w.shape[:1]) for name, w in kept[STATISTICS].items()}}

    def part(values: Values, missing: Values) -> Values:
        return {group: {n: values[group].get(n, held[n]) for n in names} for group, held in missing.items()}

    values = {
        dtype: Side(part(one.base, kept), part(one.moves, still), part(one.other, kept))
        for dtype, one in side.values.items()
    }
    return side._replace(values=values)


def _described(known: Mapping[str, Any]) -> Described:
    """What is known of an optimiser, from JSON, which has no tuples."""

    def options(held: Mapping[str, Any]) -> dict[str, Any]:
        return {name: tuple(value) if isinstance(value, list) else value for name, value in held.items()}

    return Described(
        **{
            **known,
            "options": {name: options(held) for name, held in known["options"].items()},
            "defaults": {name: options(held) for name, held in known["defaults"].items()},
            "parameters": frozenset(known["parameters"]),
        }
    )


def _require_same_precision(expected: str | None, own: str | None) -> None:
    """Both sides must have been moved by noise of the same size.

    Raises:
        ValueError: if one side alone computes in a narrow dtype.
    """
    if expected != own:
        raise ValueError(
            f"the reference computes in {expected or 'the dtype of its weights'}, the candidate in "
            f"{own or 'that of its weights'}: where they round differently is compared by "
            "parity.check_training, with both models in one process"
        )
