"""Training of any pair: the same batches, step by step, and the first step and phase in which they part."""

import dataclasses
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from parity.frameworks.environment import environment
from parity.numerics.arrays import DTYPES
from parity.numerics.progress import Progress
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.check import compare_sides
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.measuring import Measured, measured
from parity.pipeline.model_partings import (
    before_the_loss,
    parting_by_roundings,
    parting_of_lone_weights,
    parting_of_statistics,
    with_place,
)
from parity.pipeline.outcome import Outcome
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request
from parity.pipeline.traces import LiveTraces
from parity.pipeline.training_batches import Batches, read_batches
from parity.pipeline.training_causes import history_of, parting_beside_sums
from parity.pipeline.training_contexts import module_within, within
from parity.pipeline.training_data import ComparedData, compare_data
from parity.pipeline.training_judging import as_accurate, by_effect, lone_updates, not_compared
from parity.pipeline.training_measured import Training, until_divergence
from parity.pipeline.training_optimizers import names_of, read_optimizers
from parity.pipeline.training_sides import trained_alone, training_sides
from parity.pipeline.undetermined import depend_on, in_words, undetermined
from parity.pipeline.updated_statistics import compare_statistics
from parity.report.partings import Phase
from parity.report.results import Report, Verdict
from parity.report.sides import Sides
from parity.weights import Plan
from parity.weights.transfer import grouped


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
    import torch

    started = time.perf_counter()
    if not isinstance(reference, torch.nn.Module):
        raise TypeError(
            f"the reference is of type {type(reference).__name__}; to compare the training of two models it "
            "must be a torch.nn.Module, and the candidate a JAX model. Two programs that train themselves "
            "are given as `parity.Subject`s"
        )
    if loss is None:
        raise TypeError("`loss` is missing: give (PyTorch's loss, JAX's loss), each of (outputs, targets)")
    if optimizer is None:
        raise TypeError(
            "`optimizer` is missing: give a torch.optim optimiser, alone or in a pair with an optax "
            "transformation"
        )
    drawn = read_batches(batches, steps, accumulate)
    own = None
    if candidate_batches is not None:
        own = read_batches(candidate_batches, len(drawn.steps), accumulate, "candidate_batches")
    first = drawn.steps[0][0]
    request = Request.of(
        reference,
        candidate,
        {name: first[name] for name in drawn.inputs},
        targets={name: array for name, array in first.items() if name not in drawn.inputs},
        loss=(within(autocast, loss[0]), loss[1]),
        **options,
    )
    given = read_optimizers(optimizer, reference, scheduler, updates_per_step, clip, accumulate, average)
    with pinned_for(request), module_within(autocast, reference):
        known = open_reference(request, progress)
        known, settled = with_equal_constants(known, settle_candidate(known, request, progress), progress)
        if known.framework != "PyTorch" or settled.model.framework != "JAX":
            raise TypeError("`candidate` must be a JAX model where the reference is a PyTorch module")
        both = measured(known, settled)
        sides = training_sides(both, reference, given, drawn.steps)
        outcome = Outcome(request.name, sides=Sides.of(known.framework, settled.model.framework))
        outcome.plan, outcome.doubts = settled.plan.rows(), settled.plan.doubts()
        outcome.environment = environment(request.settings.device)
        outcome.findings = (*known.notes, *settled.notes, *known.remarks, *settled.remarks)
        dtypes = tuple(request.settings.dtypes or DTYPES)
        data = ComparedData() if own is None else compare_data(drawn, own, settled.task.layout)
        training = Training(sides, (known.weights, settled.weights), drawn.steps, dtypes, progress)
        training, diverged = until_divergence(training)
        trained = training.compared()
        entries = undetermined(trained.equal)
        if entries and depend_on(entries, [*trained.stepped, *trained.free]):
            trained = training.compared(entries)
            outcome.not_checked = (in_words(entries),)
        free, less_accurate = as_accurate(trained.free)
        judged, kept_otherwise = by_effect(trained.stepped)
        outcome.quantities = [*data.quantities, *judged, *free]
        outcome.findings = (*outcome.findings, *diverged, *less_accurate, *kept_otherwise)
        statistics = compare_statistics(both, dtypes, None, progress)
        outcome.quantities += statistics.quantities
        outcome.findings = (*outcome.findings, *statistics.findings)
        progress("looking for the step, the phase and the cause")
        names = names_of(reference, given, known.weights)
        history = history_of(given, names, trained.equal[0], training.start, entries)
        held = _copies(settled.plan), _sums(settled.plan)
        outcome.parting = parting_beside_sums(judged, trained.equal, history, *held)
        if outcome.parting is None:
            outcome.parting = parting_of_statistics(statistics.quantities)
        _look_into_the_model(outcome, both, request, drawn, progress)
        alone = trained_alone(both, names.values(), drawn.steps[0][0])
        outcome.quantities = [*outcome.quantities, *lone_updates(alone)]
        outcome.parting = data.parting or parting_of_lone_weights(alone) or outcome.parting
        outcome.not_checked = (
            *outcome.not_checked,
            *not_compared(trained.equal),
            *statistics.not_checked,
        )
    return outcome.report(time.perf_counter() - started)


def _look_into_the_model(
    outcome: Outcome, both: Measured, request: Request, drawn: Batches, progress: Progress
) -> None:
    """Add what a check of the models says, on the batch of a step that parts in loss or gradients.

    Where no step parts and a model computes in a narrow dtype, the places at which each side rounds are
    compared on the first batch: of these float64 shows nothing, and over many steps rounding hides them.
    """
    parting = outcome.parting
    if parting is None and not (both.reference.narrow or both.candidate.remarks):
        return
    if parting is not None and parting.phase not in (Phase.LOSS, Phase.GRADIENTS):
        return
    step = 0 if parting is None else parting.step
    found = _placed(both, request, drawn.steps[step][0], progress)
    if parting is None:
        outcome.parting = parting_by_roundings(found.quantities)
        if outcome.parting is None:
            return
        roundings = [q for q in found.quantities if q.verdict is Verdict.FAIL]
        outcome.quantities = [*outcome.quantities, *roundings]
    else:
        outcome.parting = before_the_loss(parting, found.quantities)
    outcome.divergences, outcome.unplaced = found.divergences, found.unplaced
    outcome.parting = with_place(outcome.parting, found.divergences)
    new = [finding for finding in found.findings if finding not in outcome.findings]
    outcome.findings = (*outcome.findings, *new)


def _placed(both: Measured, request: Request, batch: dict[str, np.ndarray], progress: Progress) -> Outcome:
    """What `parity.check` finds on one batch, at the weights that both sides start from."""
    reference = dataclasses.replace(both.reference, inputs=(batch,))
    again = measured(reference, both.candidate)
    settings = dataclasses.replace(request.settings, finite_differences=False)
    asked = dataclasses.replace(request, inputs=(batch,), settings=settings)
    return compare_sides(again, asked, progress, LiveTraces(again))


def _sums(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Leaves that hold sums of tensors."""
    found: dict[str, tuple[str, ...]] = {}
    for leaf, shared in grouped(plan.transfers, lambda t: t.leaf_path).items():
        for block in grouped(shared, lambda t: str(t.put)).values():
            names = tuple(dict.fromkeys(t.tensor_name for t in block))
            if len(names) > 1:
                found[leaf] = names
    return found


def _copies(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Tensors that several leaves hold whole."""
    held = grouped((t for t in plan.transfers if t.is_whole), lambda t: t.tensor_name)
    return {name: tuple(t.leaf_path for t in shared) for name, shared in held.items() if len(shared) > 1}
