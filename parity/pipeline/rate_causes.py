"""Rates and clippings that differ: schedules shifted, stretched or missing, and groups of one side."""

import numpy as np

from parity.numerics.arrays import Arrays
from parity.optimizers.history import History
from parity.pipeline.rate_forms import FEW_RATES, changes, form_of, listed, ramp_end
from parity.pipeline.step_multiples import ALIKE, Steps, names_in_words, ratios_of, rows_of, same
from parity.report.partings import Parting, Phase


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
    stands = np.abs(ratios) <= ALIKE
    if stands.any() and not stands[-1] and same(ratios[~stands], 1.0):
        at = int(np.argmax(stands))
        more = f" and {int(stands.sum()) - 1} more" if stands.sum() > 1 else ""
        detail = f"<candidate> makes no update in step {at}{more}, <reference> does"
        return Parting(step, Phase.UPDATE, detail, f"{detail}: look for a guard that skips steps")
    if same(ratios, ratios[0]):
        cause = f"the rate of <candidate> is {ratios[0]:.6g} x that of <reference> in every step"
        if accumulate > 1 and same(ratios[:1], float(accumulate)):
            cause += (
                ", as many times as batches make a step: <candidate> adds up their gradients "
                "(`use_grad_mean=False`), <reference> averages them"
            )
    elif same(other, other[0]) and not same(rates, rates[0]):
        cause = "<candidate> keeps one rate: it has no schedule"
    elif same(rates, rates[0]):
        form = form_of(other)
        cause = f"<reference> has no schedule; the rate of <candidate> {form}" if form else ""
    elif count > 2 and same(other[:-1], rates[1:]):
        cause = "the schedule of <candidate> is one step ahead: it counts from 1"
    elif count > 2 and same(other[1:], rates[:-1]):
        cause = "the schedule of <candidate> is one step behind"
    elif same(ratios[:step], 1.0) and same(other[step:], other[step]) and not same(rates[step:], rates[step]):
        cause = f"the rate of <candidate> stays from step {step} on, where that of <reference> goes on moving"
    else:
        cause = (
            _stretched(rates, other, accumulate)
            or _stairs(rates, other, follows_loss=follows_loss)
            or _forms(rates, other)
            or _floor(rates, other)
        )
    return Parting(step, Phase.SCHEDULE, two_rates(rates, other, step), cause) if cause else None


def _forms(rates: Steps, other: Steps) -> str:
    """Schedules of known forms that are not the same, in words."""
    ends = [ramp_end(own) for own in (rates, other)]
    if all(ends) and same(rates[ends[0] :][:1], float(other[ends[1]])) and ends[0] != ends[1]:
        told = " and ".join(
            f"from {own[0]:.6g} to {own[end]:.6g} at step {end} in <{side}>"
            for own, end, side in zip((rates, other), ends, ("reference", "candidate"), strict=True)
        )
        slopes = [float(own[1] - own[0]) for own in (rates, other)]
        equal = abs(slopes[0] - slopes[1]) <= 10 * ALIKE * abs(slopes[0])
        shift = ": one side counts from 0, the other from 1" if equal else ""
        return f"the warm-up goes {told}{shift}"
    peak = float(np.abs(rates).max())
    twice = bool(peak) and same(other * peak, rates * rates)
    own, others = form_of(rates), form_of(other)
    if not own or not others or own == others:
        words = "<candidate> multiplies with its schedule twice (in the optimiser, and again behind it)"
        return words if twice else ""
    square = ", which is its square: a schedule that is multiplied in twice?" if twice else ""
    return f"the rate of <reference> {own}; that of <candidate> {others}{square}"


def _floor(rates: Steps, other: Steps) -> str:
    """A schedule that is the other side's, scaled and shifted, in words."""
    spread = float(np.ptp(rates))
    if len(rates) < FEW_RATES + 1 or not spread:
        return ""
    scale, shift = np.polyfit(rates, other, 1)
    if not same(scale * rates + shift, other) or scale <= 0:
        return ""
    return (
        f"the rate of <candidate> is {scale:.6g} x that of <reference> {'-' if shift < 0 else '+'} "
        f"{abs(shift):.6g}: another floor, or another peak"
    )


def _stretched(rates: Steps, other: Steps, accumulate: int) -> str:
    """A schedule that moves by epochs on one side and by steps on the other, in words."""
    numbers = np.arange(len(rates))
    for late in range(accumulate if accumulate > 1 else 0):
        ahead = numbers[numbers * accumulate + late < len(rates)]
        told = len(ahead) > 2 and same(other[ahead], rates[ahead * accumulate + late])
        if told and not same(rates, rates[0]):
            return f"the schedule of <candidate> counts batches, of which {accumulate} make an update"
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
        rates = np.asarray(history.rates[name], np.float64)
        scheduled = not np.isnan(ratios).any() and (same(ratios, ratios[0]) or form_of(ratios * rates))
        if not scheduled:
            return None
        told.append((name, two_rates(rates, ratios * rates, step).removeprefix("the rate is ")))
    if not told:
        return None
    names = {words: [name for name, other in told if other == words] for _, words in told}
    if len(names) == 1 and len(apart) == len(reference):
        return None  # all alike
    detail = "; ".join(f"the rate of {names_in_words(group)} is {words}" for words, group in names.items())
    return Parting(step, Phase.SCHEDULE, detail, "parameter groups have other rates")


def _stairs(rates: Steps, other: Steps, *, follows_loss: bool) -> str:
    """Rates that stay between a few changes, which come in other steps or by other factors, in words."""
    changed = [changes(own) for own in (rates, other)]
    most = len(rates) if follows_loss else len(rates) // 3
    if any(not 0 < len(found) <= most for found in changed):
        return ""
    one, two = (listed(found) for found in changed)
    count = min(map(len, changed))
    if changed[0] == changed[1]:
        at = next(n for n in changed[0] if not same(rates[n : n + 1], float(other[n])))
        first, second = (float(own[at] / own[at - 1]) for own in (rates, other))
        return (
            f"at step {at} the rate is multiplied by {first:.6g} in <reference> and by {second:.6g} in "
            "<candidate>"
        )
    levels = [own[found[:count]] for own, found in zip((rates, other), changed, strict=True)]
    if not same(levels[0], levels[1]):
        return ""
    told = f"the rate changes at step {one} in <reference> and at {two} in <candidate>"
    if follows_loss and changed[1][0] < changed[0][0]:
        told += (
            ": `optax.contrib.reduce_on_plateau` cuts in the update in which patience is reached, PyTorch's "
            "ReduceLROnPlateau in the step after it is exceeded; `parity.optimizers.to_optax` cuts as PyTorch"
        )
    return told
