"""Rates and clippings that differ: schedules shifted, stretched or missing, and groups of one side."""

import numpy as np

from parity.numerics.arrays import Arrays
from parity.optimizers.variants import History
from parity.pipeline.step_multiples import ALIKE, MOST_NAMED, Steps, names_in_words, ratios_of, rows_of, same
from parity.report.partings import Parting, Phase

FEW_RATES = 3
"""Steps that must follow a formula before it is believed."""


def clipping_cause(ratios: Steps, history: History, step: int) -> Parting | None:
    """Gradients that one side alone clips, where the update is proportional to them.

    Args:
        ratios: the candidate's updates as multiples of the reference's.
        history: of the reference.
        step: the first that differs.
    """
    if np.isnan(ratios).any() or not history.used:
        return None
    norms, used = (
        np.linalg.norm(rows_of(grads, list(grads)), axis=1) for grads in (history.raw, history.used)
    )
    if not same(norms, used) and same(ratios * used, norms):
        share = f"{used[step] / norms[step]:.4g} (their norm is {norms[step]:.4g})"
        detail = f"<reference> scales the gradients by {share}, <candidate> does not"
        return Parting(step, Phase.CLIPPING, detail, "<candidate> does not clip the gradients")
    small = ratios < 1 - 10 * ALIKE
    if small.sum() < 2 or not same(ratios[~small], 1.0) or same(ratios[small], ratios[small][0]):
        return None
    limit = (ratios * used)[small]
    if not same(limit, limit[0]):
        return None
    share = f"{ratios[step]:.4g} (their norm is {used[step]:.4g})"
    detail = f"<candidate> scales the gradients by {share}, <reference> does not"
    return Parting(
        step, Phase.CLIPPING, detail, f"<candidate> clips the gradients to a norm of {limit[0]:.4g}"
    )


def update_clipping_cause(ratios: Steps, updates: Arrays, step: int) -> Parting | None:
    """Updates that the candidate alone clips, behind the optimiser.

    Args:
        ratios: the candidate's updates as multiples of the reference's.
        updates: of the reference, by tensor.
        step: the first that differs.
    """
    small = ratios < 1 - 10 * ALIKE
    if np.isnan(ratios).any() or small.sum() < 2 or not same(ratios[~small], 1.0):
        return None
    norms = np.linalg.norm(rows_of(updates, list(updates)), axis=1)
    limit = (ratios * norms)[small]
    if not limit.all() or not same(limit, limit[0]) or same(norms[small], norms[small][0]):
        return None
    detail = f"<candidate> scales the update by {ratios[step]:.4g} (its norm is {norms[step]:.4g})"
    cause = (
        f"<candidate> clips the update of the optimiser to a norm of {limit[0]:.4g}, not the gradients: the "
        "clipping belongs before the optimiser in `optax.chain`"
    )
    return Parting(step, Phase.UPDATE, detail, cause)


def two_rates(rates: Steps, other: Steps, step: int) -> str:
    """Both rates of a step, in words.

    Args:
        rates: of the reference.
        other: of the candidate.
        step: which.
    """
    return f"the rate is {rates[step]:.6g} in <reference> and {other[step]:.6g} in <candidate>"


def schedule_cause(
    ratios: Steps, rates: Steps, step: int, accumulate: int = 1, *, follows_loss: bool = False
) -> Parting | None:
    """A schedule that is the other side's, shifted, stretched or missing; None where it is not.

    Args:
        ratios: the candidate's updates as multiples of the reference's.
        rates: of the reference.
        step: the first that differs.
        accumulate: batches of a step.
        follows_loss: whether the reference's schedule follows the loss (ReduceLROnPlateau).
    """
    if np.isnan(ratios).any():
        return None
    other = ratios * rates
    count = len(rates)
    cause = ""
    if same(ratios, ratios[0]):
        cause = f"the rate of <candidate> is {ratios[0]:.6g} x that of <reference> in every step"
        if accumulate > 1 and same(ratios[:1], float(accumulate)):
            cause += (
                ", as many times as batches make a step: <candidate> adds up their gradients "
                "(`use_grad_mean=False`), <reference> averages them"
            )
    elif same(other, other[0]) and not same(rates, rates[0]):
        cause = "<candidate> keeps one rate: it has no schedule"
    elif same(rates, rates[0]) and same(ratios[:step], 1.0):
        cause = "<reference> has no schedule, <candidate> has"
    elif count > 2 and same(other[:-1], rates[1:]):
        cause = "the schedule of <candidate> is one step ahead: it counts from 1"
    elif count > 2 and same(other[1:], rates[:-1]):
        cause = "the schedule of <candidate> is one step behind"
    elif same(ratios[:step], 1.0) and same(other[step:], other[step]) and not same(rates[step:], rates[step]):
        cause = f"the rate of <candidate> stays from step {step} on, where that of <reference> goes on moving"
    else:
        cause = _stretched(rates, other) or _lengths(rates, other) or _factors(rates, other)
        cause = cause or _stairs(rates, other, follows_loss=follows_loss)
    return Parting(step, Phase.SCHEDULE, two_rates(rates, other, step), cause) if cause else None


def _stretched(rates: Steps, other: Steps) -> str:
    """A schedule that moves by epochs on one side and by steps on the other, in words."""
    numbers = np.arange(len(rates))
    for every in range(2, len(rates) // 2 + 1):
        stairs = rates[numbers // every * every]
        if same(stairs, rates) and same(other[::every], rates[::every]) and not same(rates, rates[0]):
            return (
                f"the schedule of <candidate> falls in every step, that of <reference> once in {every}: "
                "`staircase=True`"
            )
        if same(other, rates[numbers // every]):
            return f"the schedule of <candidate> moves once in {every} steps (per epoch), not in each"
        ahead = numbers[numbers * every < len(rates)]
        if len(ahead) > 2 and same(other[ahead], rates[ahead * every]):
            return f"the schedule of <candidate> is {every} times as fast: per step, not per epoch"
    return ""


def own_rates(
    reference: Arrays, candidate: Arrays, history: History, apart: list[str], step: int
) -> Parting | None:
    """Weights that step at a rate of their own on one side: a parameter group that the other lacks.

    Args:
        reference: updates by tensor.
        candidate: likewise.
        history: of the reference.
        apart: the tensors that differ.
        step: the first that differs.
    """
    told = []
    for name in apart:
        ratios = ratios_of({name: reference[name]}, {name: candidate[name]})
        if np.isnan(ratios).any() or not same(ratios, ratios[0]):
            return None
        rate = float(np.asarray(history.rates[name])[step])
        told.append((name, f"{rate:.6g} in <reference> and {rate * ratios[0]:.6g} in <candidate>"))
    if not told:
        return None
    names = {words: [name for name, other in told if other == words] for words in dict(told).values()}
    detail = "; ".join(f"the rate of {names_in_words(group)} is {words}" for words, group in names.items())
    return Parting(step, Phase.SCHEDULE, detail, "parameter groups have other rates")


def _lengths(rates: Steps, other: Steps) -> str:
    """A cosine or a warm-up that takes another number of steps, in words."""
    cosines = [_cosine_length(own) for own in (rates, other)]
    if all(cosines) and same(rates[:1], other[:1]):
        return (
            f"the cosine falls over {cosines[0]:.6g} steps in <reference> and {cosines[1]:.6g} in <candidate>"
        )
    ramps = [_ramp_length(own) for own in (rates, other)]
    if all(ramps) and ramps[0] != ramps[1]:
        return f"the warm-up takes {ramps[0]} steps in <reference> and {ramps[1]} in <candidate>"
    return ""


def _factors(rates: Steps, other: Steps) -> str:
    """Rates that are multiplied by one number in every step, each side by its own, in words."""
    if len(rates) < FEW_RATES or not (rates.all() and other.all()):
        return ""
    factors = [own[1:] / own[:-1] for own in (rates, other)]
    if any(not same(own, own[0]) for own in factors) or same(factors[0][:1], float(factors[1][0])):
        return ""
    one, two = (float(own[0]) for own in factors)
    return f"the rate is multiplied by {one:.6g} in each step of <reference> and by {two:.6g} in <candidate>"


def _stairs(rates: Steps, other: Steps, *, follows_loss: bool) -> str:
    """Rates that stay between a few changes, which come in other steps or by other factors, in words."""
    changes = [_changes(own) for own in (rates, other)]
    if any(not 0 < len(found) <= len(rates) // 3 for found in changes):
        return ""
    one, two = (_listed(found) for found in changes)
    count = min(map(len, changes))
    if changes[0] == changes[1]:
        at = next(n for n in changes[0] if not same(rates[n : n + 1], float(other[n])))
        first, second = (float(own[at] / own[at - 1]) for own in (rates, other))
        return (
            f"at step {at} the rate is multiplied by {first:.6g} in <reference> and by {second:.6g} in "
            "<candidate>"
        )
    levels = [own[found[:count]] for own, found in zip((rates, other), changes, strict=True)]
    if not same(levels[0], levels[1]):
        return ""
    told = f"the rate changes at step {one} in <reference> and at {two} in <candidate>"
    if follows_loss and two and changes[1][0] < changes[0][0]:
        told += (
            ": `optax.contrib.reduce_on_plateau` cuts in the update in which patience is reached, PyTorch's "
            "ReduceLROnPlateau in the step after it is exceeded; `parity.optimizers.to_optax` cuts as PyTorch"
        )
    return told


def _changes(rates: Steps) -> list[int]:
    """The steps whose rate is not that of the step before."""
    return [n for n in range(1, len(rates)) if not same(rates[n : n + 1], float(rates[n - 1]))]


def _listed(steps: list[int]) -> str:
    """Some steps in words."""
    return ", ".join(map(str, steps[:MOST_NAMED])) + (", ..." if len(steps) > MOST_NAMED else "")


def _cosine_length(rates: Steps) -> float:
    """T of ``rate (1 + cos(pi t / T)) / 2``; 0 for another schedule."""
    share = 2 * rates[1:] / rates[0] - 1 if rates[0] else rates[1:]
    inside = np.abs(share) < 1
    if inside.sum() < FEW_RATES or not inside[:FEW_RATES].all():
        return 0.0
    count = int(np.argmin(inside)) if not inside.all() else len(inside)
    lengths = np.pi * np.arange(1, count + 1) / np.arccos(share[:count])
    return float(lengths[0]) if same(lengths, lengths[0]) else 0.0


def _ramp_length(rates: Steps) -> int:
    """The steps in which a rate rises by equal amounts, from the first on, until it does not; else 0."""
    rises = np.diff(rates)
    if len(rises) < FEW_RATES or rises[0] <= 0:
        return 0
    equal = np.abs(rises - rises[0]) <= 10 * ALIKE * np.abs(rates[1:])
    return 0 if equal.all() else int(np.argmin(equal))
