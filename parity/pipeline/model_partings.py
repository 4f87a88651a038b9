"""Where training parts in the models themselves: their outputs, weights, roundings and running statistics."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from parity.pipeline.outcome import Outcome
from parity.pipeline.step_multiples import names_in_words
from parity.report.partings import Parting, Phase
from parity.report.results import Divergence, Quantity, Verdict

MODEL = ("outputs", "loss", "gradients")
"""Groups of values of the model alone."""

MOST_CAUSES = 2
"""Causes that a parting names; a report has them all, each at its place."""


def look_into_the_models(outcome: Outcome, checked: Callable[[int], Outcome], *, is_narrow: bool) -> None:
    """Add what a check of the models says, on the batch of a step that parts in loss or gradients.

    Where no step parts and something fails all the same, or a model computes in a narrow dtype, the places
    at which each side rounds are compared on the first batch: of these float64 shows nothing, and over many
    steps rounding hides them.

    Args:
        outcome: to add to.
        checked: what `parity.check` finds on the batch of a step.
        is_narrow: whether a model computes in a narrow dtype.
    """
    parting = outcome.parting
    if parting is None and not is_narrow and all(q.verdict is not Verdict.FAIL for q in outcome.quantities):
        return
    if parting is not None and parting.phase not in (Phase.LOSS, Phase.GRADIENTS):
        return
    found = checked(0 if parting is None else parting.step)
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


def before_the_loss(found: Parting, checked: Sequence[Quantity]) -> Parting:
    """A parting in loss or gradients as one of the outputs, where these differ on its batch.

    Args:
        found: what parts.
        checked: quantities of a check of the models on the batch of that step.
    """
    apart = [q for q in checked if q.group == "outputs" and q.verdict is Verdict.FAIL]
    if not apart:
        return found
    return Parting(found.step, Phase.OUTPUTS, _worst_in_words(apart)[1])


def with_place(found: Parting, divergences: Sequence[Divergence]) -> Parting:
    """A parting in the model, with the cause of the first place, and the next one where it has another.

    Args:
        found: what parts; a cause that it has already, a factor, stays before that of the place.
        divergences: places that a check of the models found, in the order of computation.
    """
    causes = list(dict.fromkeys(one.cause.text for one in divergences if one.cause is not None))
    if not causes or divergences[0].cause is None:
        return found
    if found.cause:
        return dataclasses.replace(found, cause=f"{found.cause}; there: {causes[0]}")
    return dataclasses.replace(found, cause="; and then: ".join(causes[:MOST_CAUSES]))


def parting_of_lone_weights(alone: Sequence[str]) -> Parting | None:
    """Weights that the reference trains and the candidate does not have: None where there are none.

    Args:
        alone: their names.
    """
    if not alone:
        return None
    detail = f"<reference> trains {names_in_words(alone)}, <candidate> has no such weight"
    hint = "it stays as it was there, a constant in the place of a leaf: put it among the params"
    return Parting(0, Phase.UPDATE, detail, f"{detail}: {hint}")


def parting_by_roundings(checked: Sequence[Quantity]) -> Parting | None:
    """Models that round to a narrow dtype at different places, and agree in float64.

    Args:
        checked: quantities of a check of the models on the first batch.

    Returns:
        None where nothing fails.
    """
    failed = [q for q in checked if q.verdict is Verdict.FAIL and q.group in MODEL]
    if not failed:
        return None
    group = next(group for group in MODEL if any(q.group == group for q in failed))
    there = [q for q in failed if q.group == group]
    worst, detail = _worst_in_words(there)
    return Parting(0, Phase(group), f"in {worst.dtype} {detail}", worst.notes[0] if worst.notes else "")


def parting_of_statistics(judged: Sequence[Quantity]) -> Parting | None:
    """Running statistics that differ after the first step: nothing else of it depends on them.

    Args:
        judged: what `compare_statistics` found, in the first step.

    Returns:
        None where nothing fails.
    """
    failed = [q for q in judged if q.verdict is Verdict.FAIL]
    if not failed:
        return None
    worst, detail = _worst_in_words(failed)
    causes = (q.notes[0] for q in (worst, *failed) if q.notes)
    return Parting(0, Phase.STATISTICS, detail, next(causes, ""))


def _worst_in_words(failed: Sequence[Quantity]) -> tuple[Quantity, str]:
    """The quantity that is furthest away, and how far."""
    worst = max(failed, key=lambda q: np.nan_to_num(q.rho, nan=np.inf))
    away = worst.difference / worst.scale if worst.scale else np.inf
    further = len({q.name for q in failed}) - 1  # of one name there is a quantity for each dtype
    others = f" (and {further} more)" if further else ""
    return worst, f"{worst.name}{others} differs by {away:.2g} of its size"
