"""Training of any pair: the same batches, step by step, and the first step and phase in which they part."""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.frameworks.environment import environment
from parity.numerics.arrays import DTYPES, Arrays, in_float32
from parity.numerics.progress import Progress
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.check import compare_sides
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.link_causes import with_link_cause
from parity.pipeline.measuring import Measured, measured
from parity.pipeline.model_partings import look_into_the_models
from parity.pipeline.outcome import Outcome
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request
from parity.pipeline.runs import moved_alike
from parity.pipeline.step_rows import Entries
from parity.pipeline.traces import LiveTraces
from parity.pipeline.training_batches import Batches, read_batches
from parity.pipeline.training_contexts import module_within, within
from parity.pipeline.training_data import ComparedData, compare_data
from parity.pipeline.training_measured import Compared, Trained, Training, compared, steps_before
from parity.pipeline.training_optimizers import described, names_of, read_optimizers, require_pair
from parity.pipeline.training_outcome import Shared, add_before, add_divergence, add_trained
from parity.pipeline.training_sides import trained_alone, training_sides
from parity.pipeline.updated_statistics import compare_statistics
from parity.report.results import Report, Verdict
from parity.report.sides import Sides


def check_pair(
    reference: Any,
    candidate: object,
    batches: Iterable[Any],
    *,
    loss: tuple[Any, Any] | None,
    optimizer: object,
    scheduler: object,
    updates_per_step: int,
    clip: object,
    accumulate: int,
    average: object,
    autocast: object,
    steps: int | None,
    candidate_batches: Iterable[Any] | None,
    progress: Progress,
    **options: Any,
) -> Report:
    """`parity.check_training` of two models.

    Args:
        reference: a PyTorch module.
        candidate: a JAX model.
        batches: as in `read_batches`.
        loss: PyTorch's and JAX's loss.
        optimizer: as in `read_optimizers`.
        scheduler: likewise.
        updates_per_step: likewise.
        clip: likewise.
        accumulate: likewise.
        average: likewise.
        autocast: a context in which PyTorch's module and loss are computed, or None.
        steps: as in `read_batches`.
        candidate_batches: those of the candidate's own data pipeline, or None.
        progress: called with a short description as each phase begins.
        **options: `outputs`, `layout`, `weights`, `settings` and `name` of `parity.check`.

    Raises:
        TypeError, ValueError: if an argument cannot be used.
    """
    started = time.perf_counter()
    require_pair(reference, loss, optimizer)
    assert loss is not None
    drawn = read_batches(batches, steps, accumulate)
    own = None
    if candidate_batches is not None:
        count = len(drawn.steps)
        own = read_batches(candidate_batches, count, accumulate, "candidate_batches", may_end=True)
    request = request_for(drawn, (within(autocast, loss[0]), loss[1]), reference, candidate, **options)
    of_both = {"optimizer": optimizer, "scheduler": scheduler, "updates_per_step": updates_per_step}
    of_both |= {"clip": clip, "accumulate": accumulate, "average": average}
    given = read_optimizers(of_both, reference)
    with pinned_for(request), module_within(autocast, reference):
        known = open_reference(request, progress)
        known, settled = with_equal_constants(known, settle_candidate(known, request, progress), progress)
        if known.framework != "PyTorch" or settled.model.framework != "JAX":
            raise TypeError("`candidate` must be a JAX model where the reference is a PyTorch module")
        both = measured(known, settled)
        facts = described(given, reference, names_of(reference, given, known.weights))
        sides = training_sides(both, reference, given, facts, drawn.steps)
        outcome = Outcome(request.name, sides=Sides.of(known.framework, settled.model.framework))
        outcome.plan, outcome.doubts = settled.plan.rows(), settled.plan.doubts()
        outcome.environment = environment(request.settings.device)
        outcome.findings = (*known.notes, *settled.notes, *known.remarks, *settled.remarks)
        outcome.conditions = settled.conditions
        dtypes = tuple(request.settings.dtypes or DTYPES)
        data = ComparedData() if own is None else compare_data(drawn, own, settled.task.layout)
        trainings = [
            Training(side, weights, drawn.steps, dtypes, progress)
            for side, weights in zip(sides, (known.weights, settled.weights), strict=True)
        ]
        ends = [
            one.divergence(word) for one, word in zip(trainings, ("<reference>", "<candidate>"), strict=True)
        ]
        first, second = (one.first(steps_before(len(drawn.steps), *ends)) for one in trainings)
        start = sides[0].tensors(known.weights)

        expected: list[tuple[Entries, Trained]] = []  # of the reference, with what was levelled last

        def trained(level: Entries, candidate: Training = second) -> Compared:
            if not expected or expected[-1][0] is not level:
                expected.append((level, first.trained(start, level=level)))
            own = candidate.trained(start, expected[-1][1], level)
            return compared(expected[-1][1], own, start)

        def trained_with(transformation: Any) -> Compared:
            _, side = training_sides(
                both, reference, given._replace(optax=transformation), facts, drawn.steps
            )
            return trained(expected[-1][0], dataclasses.replace(second, side=side))

        add_divergence(outcome, *ends)
        statistics = compare_statistics(both, dtypes, None, progress)
        found = add_trained(outcome, trained, facts, start, Shared.of(settled.plan), statistics)
        progress("looking for the step, the phase and the cause")
        outcome.parting = with_link_cause(outcome.parting, given.optax, trained_with)
        look_into_the_models(
            outcome,
            lambda step: _checked(both, request, drawn.steps[step], reached(found.after, step), progress),
            is_narrow=bool(known.narrow or settled.remarks),
        )
        add_before(outcome, data, trained_alone(both, facts.options, drawn.steps[0][0]))
    return outcome.report(time.perf_counter() - started)


def request_for(
    drawn: Batches, loss: tuple[Any, Any], reference: object, candidate: object, **options: Any
) -> Request:
    """A request to check two models on the first batch.

    Args:
        drawn: the batches.
        loss: PyTorch's and JAX's.
        reference: of the request; None where it is recorded.
        candidate: likewise.
        **options: `outputs`, `layout`, `weights`, `settings` and `name` of `parity.check`.
    """
    first = drawn.steps[0][0]
    return Request.of(
        reference,
        candidate,
        {name: first[name] for name in drawn.inputs},
        targets={name: array for name, array in first.items() if name not in drawn.inputs},
        loss=loss,
        **options,
    )


def reached(after: Mapping[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """The reference's weights before a step.

    Args:
        after: its weights after every step, by tensor.
        step: from 0; before the first none have moved.
    """
    return {name: in_float32(rows[step - 1]) for name, rows in after.items()} if step else {}


def _checked(
    both: Measured, request: Request, batches: Sequence[Arrays], weights: Arrays, progress: Progress
) -> Outcome:
    """What `parity.check` finds on the first batch of a step on which the models part, at its weights."""
    settings = dataclasses.replace(request.settings, finite_differences=False)
    reference, candidate = both.reference, both.candidate
    moved = {**reference.weights, **weights}
    own = moved_alike(candidate.plan, reference.weights, candidate.weights, moved)
    candidate = dataclasses.replace(candidate, weights=own)
    for batch in batches:
        again = measured(dataclasses.replace(reference, inputs=(batch,), weights=moved), candidate)
        asked = dataclasses.replace(request, inputs=(batch,), settings=settings)
        outcome = compare_sides(again, asked, progress, LiveTraces(again))
        if any(q.verdict is Verdict.FAIL for q in outcome.quantities):
            break
    return outcome
