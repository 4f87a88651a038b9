"""Training of any pair: the same batches, step by step, and the first step and phase in which they part."""

import dataclasses
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from parity.frameworks.environment import environment
from parity.numerics.arrays import DTYPES
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Subject, measure
from parity.numerics.progress import Progress
from parity.numerics.yardstick import judge_quantities
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.check import compare_sides
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.measuring import Measured, measured
from parity.pipeline.outcome import Outcome
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request
from parity.pipeline.traces import LiveTraces
from parity.pipeline.training_batches import read_batches
from parity.pipeline.training_causes import history_of, parting_of
from parity.pipeline.training_judging import as_accurate, by_effect, not_compared, rules_for
from parity.pipeline.training_runs import freely, from_equal_weights, numbered, with_starts
from parity.pipeline.training_sides import names_of, read_optimizers, training_sides
from parity.pipeline.updated_statistics import updates_not_checked
from parity.report.partings import Phase
from parity.report.results import Report
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
    steps: int | None,
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
        steps: as in `read_batches`.
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
    drawn = read_batches(batches, steps)
    first = drawn.arrays[0]
    request = Request.of(
        reference,
        candidate,
        {name: first[name] for name in drawn.inputs},
        targets={name: array for name, array in first.items() if name not in drawn.inputs},
        loss=loss,
        **options,
    )
    given = read_optimizers(optimizer, reference, scheduler, updates_per_step, clip)
    with pinned_for(request):
        known = open_reference(request, progress)
        known, settled = with_equal_constants(known, settle_candidate(known, request, progress), progress)
        if known.framework != "PyTorch" or settled.model.framework != "JAX":
            raise TypeError("`candidate` must be a JAX model where the reference is a PyTorch module")
        both = measured(known, settled)
        sides = training_sides(both, reference, given)
        dtypes = tuple(request.settings.dtypes or DTYPES)
        progress(f"training {len(drawn.arrays)} steps, freely")
        free = measure(
            {
                "reference": Subject(freely(sides[0]), known.weights),
                "candidate": Subject(freely(sides[1]), settled.weights),
            },
            numbered(drawn.arrays),
            dtypes,
            progress,
        )
        outcome = Outcome(request.name, sides=Sides.of(known.framework, settled.model.framework))
        start = sides[0].tensors(known.weights)
        scale = {name: float(np.max(np.abs(w), initial=0.0)) for name, w in start.items()}
        outcome.quantities = judge_quantities(
            free["reference"],
            free["candidate"],
            {
                "loss": Criterion("curve", over_time=True),
                "weights": Criterion("curve", over_time=True, scale=scale),
            },
        )
        outcome.quantities, less_accurate = as_accurate(outcome.quantities)
        progress("every step from equal weights")
        after = free["reference"][dtypes[0]].base["weights"]
        stepped = numbered(with_starts(drawn.arrays, start, after))
        equal = measure(
            {
                "reference": Subject(from_equal_weights(sides[0]), known.weights),
                "candidate": Subject(from_equal_weights(sides[1]), settled.weights),
            },
            stepped,
            dtypes[:1],
            progress,
        )
        sides_equal = (equal["reference"][dtypes[0]], equal["candidate"][dtypes[0]])
        rules = rules_for(sides_equal, scale)
        judged, kept_otherwise = by_effect(judge_quantities(equal["reference"], equal["candidate"], rules))
        outcome.quantities = [*judged, *outcome.quantities]
        outcome.plan, outcome.doubts = settled.plan.rows(), settled.plan.doubts()
        outcome.environment = environment(request.settings.device)
        outcome.findings = (
            *known.notes,
            *settled.notes,
            *known.remarks,
            *settled.remarks,
            *less_accurate,
            *kept_otherwise,
        )
        progress("looking for the step, the phase and the cause")
        outcome.parting = parting_of(
            judged,
            sides_equal,
            history_of(given, names_of(reference, given, known.weights), sides_equal[0], start),
            _copies(settled.plan),
        )
        if outcome.parting is not None and outcome.parting.phase in (Phase.LOSS, Phase.GRADIENTS):
            batch = drawn.arrays[outcome.parting.step]
            found = _placed(both, request, batch, progress)
            outcome.divergences, outcome.unplaced = found.divergences, found.unplaced
            outcome.findings = (*outcome.findings, *found.findings)
        outcome.not_checked = (
            *not_compared(sides_equal),
            *updates_not_checked([known.model, settled.model]),
        )
    return outcome.report(time.perf_counter() - started)


def _placed(both: Measured, request: Request, batch: dict[str, np.ndarray], progress: Progress) -> Outcome:
    """What `parity.check` finds on one batch, at the weights that both sides start from."""
    reference = dataclasses.replace(both.reference, inputs=(batch,))
    again = measured(reference, both.candidate)
    settings = dataclasses.replace(request.settings, finite_differences=False)
    asked = dataclasses.replace(request, inputs=(batch,), settings=settings)
    return compare_sides(again, asked, progress, LiveTraces(again))


def _copies(plan: Plan) -> dict[str, tuple[str, ...]]:
    """Tensors that several leaves hold whole."""
    held = grouped((t for t in plan.transfers if t.is_whole), lambda t: t.tensor_name)
    return {name: tuple(t.leaf_path for t in shared) for name, shared in held.items() if len(shared) > 1}
