"""The first step and phase in which two runs from equal weights part, and why."""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side
from parity.optimizers.clip_variants import clippings
from parity.optimizers.fitting import fitted
from parity.optimizers.groups import RULES, plain_options
from parity.optimizers.variants import History, Variant, changes, variants
from parity.pipeline.average_causes import average_cause
from parity.pipeline.training_sides import Optimizers
from parity.report.partings import Parting, Phase
from parity.report.results import LIMIT, Quantity, Verdict

PHASES: Mapping[str, Phase] = {
    "early": Phase.UPDATE,
    "loss": Phase.LOSS,
    "gradients": Phase.GRADIENTS,
    "slots": Phase.SLOTS,
    "update": Phase.UPDATE,
    "averages": Phase.AVERAGES,
}
"""Groups of values from equal weights, in the order in which a fault spreads."""

ALIKE = 1e-6
"""Two rates, or two multiples of one update, that differ by less are the same: relative. Updates are known to
some roundings of the weights they are added to."""

FEW_STEPS = 3
"""Steps in which a slot must have been a multiple of the other side's: one or two may be chance."""

MOST_NAMED = 4
"""Weights that a sentence names."""

Steps = Float[np.ndarray, " steps"]


def history_of(given: Optimizers, names: Mapping[int, str], side: Side, start: Arrays) -> History:
    """The reference's run as variants of its optimiser need it.

    Args:
        given: the optimisers.
        names: of the parameters, by their `id`.
        side: the reference's values from equal weights.
        start: its weights before the first step, by tensor.
    """
    groups = given.torch.param_groups
    options = {names[id(p)]: plain_options(group) for group in groups for p in group["params"]}
    base = side.base
    weights = {
        name: np.concatenate([start[name][None], start[name] + np.cumsum(update, axis=0)[:-1]])
        for name, update in base["update"].items()
    }
    grads, used, rates = (base.get(group, {}) for group in ("gradients", "clipped", "rates"))
    limit = float(given.clip) if isinstance(given.clip, int | float) else None
    return History(type(given.torch), options, weights, grads, used, rates, limit)


def parting_of(
    judged: list[Quantity],
    sides: tuple[Side, Side],
    history: History,
    copies: Mapping[str, Sequence[str]],
) -> Parting | None:
    """The first step in which a quantity fails, and the first phase of it.

    Args:
        judged: quantities from equal weights, over time.
        sides: their values.
        history: of the reference.
        copies: tensors that the candidate holds several times, with their leaves.

    Returns:
        None where nothing fails.
    """
    failed = [
        (q.curve.first_failure, q)
        for q in judged
        if q.verdict is Verdict.FAIL and q.curve is not None and q.curve.first_failure is not None
    ]
    if not failed:
        return None
    first = min((at for at, q in failed if q.group != "slots"), default=0)
    failed = [
        (at, q)
        for at, q in failed
        if q.group != "slots" or at >= first or not _in_another_form(q.name, sides, first)
    ]
    step = min(at for at, _ in failed)
    there = [q for at, q in failed if at == step]
    group = next(group for group in PHASES if any(q.group == group for q in there))
    found = Parting(step, PHASES[group], _detail([q for q in there if q.group == group], step))
    if group == "early":
        cause = (
            "<candidate> moves its weights before the last batch of the step: it does not accumulate "
            "gradients (`optax.MultiSteps`)"
        )
        return Parting(found.step, found.phase, found.detail, cause)
    if group == "averages":
        return Parting(found.step, found.phase, found.detail, average_cause(sides, history.weights))
    if group in ("loss", "gradients"):
        return _multiplied(found, sides, group)
    apart = {q.name for q in judged if q.group == "update" and q.verdict is Verdict.FAIL}
    if apart and apart <= set(copies):
        name = min(apart)
        cause = (
            f"<reference> holds {name} once, <candidate> holds it as {' and '.join(copies[name])}: "
            "each copy gets its own gradient and its own step; tie them"
        )
        return Parting(found.step, found.phase, found.detail, cause)
    return _by_the_optimizer(found, judged, sides, history)


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
    worst = max(failed, key=lambda q: np.nan_to_num(q.rho, nan=np.inf))
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    away = worst.difference / worst.scale if worst.scale else np.inf
    detail = f"{worst.name}{others} differs by {away:.2g} of its size"
    return Parting(0, Phase.STATISTICS, detail, worst.notes[0] if worst.notes else "")


def _in_another_form(name: str, sides: tuple[Side, Side], first: int) -> bool:
    """Whether a slot was a multiple of the other side's all the while that the updates agreed.

    Args:
        name: of the slot.
        sides: values from equal weights.
        first: the first step in which something else differs.
    """
    if first < FEW_STEPS:
        return False
    ratios = _ratios(*({name: side.base["slots"][name][:first]} for side in sides))
    return not np.isnan(ratios).any() and _same(ratios, ratios[0])


def _detail(failed: list[Quantity], step: int) -> str:
    """How far the worst quantity is away, in words."""
    broken = [q for q in failed if q.curve and not np.isfinite(q.curve.rho[step])]
    if broken:
        at = broken[0].curve
        sides = [] if at is None else [at.reference[step], at.candidate[step]]
        names = [n for n, v in zip(("<reference>", "<candidate>"), sides, strict=True) if not np.isfinite(v)]
        return f"{broken[0].name} has NaN or infinity in {' and '.join(names) or 'one side'}"
    worst = max(failed, key=lambda q: np.nan_to_num(q.curve.rho[step], nan=np.inf) if q.curve else 0.0)
    assert worst.curve is not None
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    size = max(abs(worst.curve.reference[step]), abs(worst.curve.candidate[step])) or 1.0
    yardstick = worst.curve.yardstick[step]
    away = worst.curve.rho[step] * yardstick / size
    rounding = f"rounding alone explains {yardstick / size:.1g}"
    return f"{worst.name}{others} differs by {away:.2g} of its size; {rounding}"


def _rows(arrays: Mapping[str, np.ndarray], names: Sequence[str]) -> Float[np.ndarray, "steps values"]:
    """All numbers of a step in one row."""
    return np.concatenate([arrays[n].reshape(len(arrays[n]), -1).astype(np.float64) for n in names], axis=1)


def _largest(array: Float[np.ndarray, "steps ..."]) -> Steps:
    """The largest magnitude of each step."""
    return np.asarray(np.abs(array).reshape(len(array), -1).max(axis=1, initial=0.0))


def _ratios(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> Steps:
    """The number by which all values of a step are multiplied; NaN where there is no such number."""
    names = [name for name in reference if name in candidate]
    a, b = _rows(reference, names), _rows(candidate, names)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        ratios = np.sum(a * b, axis=1) / np.sum(a * a, axis=1)
        return np.where(_largest(b - ratios[:, None] * a) <= ALIKE * _largest(b), ratios, np.nan)


def _same(a: Steps, b: Steps | float) -> bool:
    return bool(np.all(np.abs(a - b) <= 10 * ALIKE * np.maximum(np.abs(a), np.abs(b))))


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (" and more" if len(names) > MOST_NAMED else "")


def _multiplied(found: Parting, sides: tuple[Side, Side], group: str) -> Parting:
    """A loss, or all gradients, that are one number times the other side's in every step."""
    ratios = _ratios(sides[0].base[group], sides[1].base[group])
    if np.isnan(ratios).any() or not _same(ratios, ratios[0]) or _same(ratios[:1], 1.0):
        return found
    what = "the loss" if group == "loss" else "every gradient"
    cause = (
        f"{what} of <candidate> is {ratios[0]:.6g} x that of <reference> in every step: look for a sum in "
        "the place of a mean, a factor 1/2, or a mean over another axis"
    )
    return Parting(found.step, found.phase, found.detail, cause)


def _by_the_optimizer(
    found: Parting, judged: list[Quantity], sides: tuple[Side, Side], history: History
) -> Parting:
    """What differs though loss and gradients agree: what moves, the clipping, the rate, or the rule."""
    reference, candidate = sides[0].base["update"], sides[1].base["update"]
    updates = [q for q in judged if q.group == "update"]
    limits = {q.name: np.asarray(q.curve.yardstick) * LIMIT for q in updates if q.curve}
    apart = [q.name for q in updates if q.verdict is Verdict.FAIL]
    if frozen := _moved_by_one(reference, candidate, history, apart, limits):
        return Parting(found.step, Phase.UPDATE, found.detail, frozen)
    moved = [name for name in reference if np.any(reference[name]) and name in history.rates]
    if not moved or not apart:
        return found
    explains = functools.partial(_explains, history, candidate=candidate, limits=limits)
    known = history.kind in RULES
    if known and history.limit is not None:
        for variant in clippings(history.kind, history.limit):
            if explains(variant, apart):
                return Parting(found.step, Phase.CLIPPING, found.detail, variant.words)
    own, other = ({name: side[name] for name in moved} for side in (reference, candidate))
    ratios, rates = _ratios(own, other), np.asarray(history.rates[moved[0]], np.float64)
    told = (
        _clipping(ratios, history, found.step)
        or _schedule(ratios, rates, found.step)
        or _own_rates(own, other, history, [name for name in apart if name in moved], found.step)
    )
    if told is not None:
        return told
    first = {q.name: q.curve.first_failure or 0 for q in updates if q.name in apart and q.curve}
    cause = _by_variants(history, first, candidate, explains) if known else ""
    if cause:
        return Parting(found.step, found.phase, found.detail, cause + _where(apart, moved))
    if known and history.limit is None:
        for variant in clippings(history.kind, None):
            if explains(variant, apart):
                return Parting(found.step, Phase.CLIPPING, found.detail, variant.words)
    if np.isfinite(ratios).all():
        return Parting(found.step, Phase.SCHEDULE, _two_rates(rates, ratios * rates, found.step))
    return found


def _where(apart: Sequence[str], moved: Sequence[str]) -> str:
    return "" if set(apart) >= set(moved) else f", for {_named(apart)}"


def _by_variants(
    history: History,
    steps: Mapping[str, int],
    candidate: Arrays,
    explains: Callable[[Variant, list[str]], bool],
) -> str:
    """The variant whose updates are the candidate's; of groups that differ in options each its own."""
    groups: list[list[str]] = []
    for name in steps:
        alike = (g for g in groups if history.options.get(g[0]) == history.options.get(name))
        group = next(alike, None)
        if group is None:
            groups.append([name])
        else:
            group.append(name)
    causes = []
    for group in groups:
        options = history.options.get(group[0])
        if options is None:
            return ""
        tried = itertools.chain(
            variants(history.kind, options), fitted(history, group, candidate, min(steps[n] for n in group))
        )
        words = next((v.words for v in tried if explains(v, group)), None)
        if words is None:
            return ""
        causes.append(words if len(groups) == 1 else f"{words} (for {_named(group)})")
    return "; ".join(causes)


def _own_rates(
    reference: Arrays, candidate: Arrays, history: History, apart: list[str], step: int
) -> Parting | None:
    """Weights that step at a rate of their own on one side: a parameter group that the other lacks."""
    told = []
    for name in apart:
        ratios = _ratios({name: reference[name]}, {name: candidate[name]})
        if np.isnan(ratios).any() or not _same(ratios, ratios[0]):
            return None
        rate = float(np.asarray(history.rates[name])[step])
        told.append((name, f"{rate:.6g} in <reference> and {rate * ratios[0]:.6g} in <candidate>"))
    if not told:
        return None
    names = {words: [name for name, other in told if other == words] for words in dict(told).values()}
    detail = "; ".join(f"the rate of {_named(group)} is {words}" for words, group in names.items())
    return Parting(step, Phase.SCHEDULE, detail, "parameter groups have other rates")


def _explains(
    history: History, variant: Variant, names: list[str], *, candidate: Arrays, limits: Mapping[str, Steps]
) -> bool:
    """Whether a variant's updates are the candidate's, in every step."""
    try:
        told = changes(history, variant, names)
    except KeyError:  # a hyperparameter that the variant needs and this optimiser lacks
        return False
    return all(
        name in told and np.all(_largest(told[name] - candidate[name]) <= limits[name]) for name in names
    )


def _moved_by_one(
    reference: Arrays, candidate: Arrays, history: History, apart: list[str], limits: Mapping[str, Steps]
) -> str:
    """Weights that one side alone moves, in words; "" where there are none."""
    some = _named(apart)
    if not apart:
        return ""
    if not any(np.any(candidate[name]) for name in apart):
        hint = "look for a mask, or a leaf that is not trained"
        return f"<candidate> does not move {some}; <reference> does: {hint}"
    if any(np.any(reference[name]) for name in apart):
        return ""
    if all(
        name in history.raw and np.all(_largest(candidate[name] - history.raw[name]) <= limits[name])
        for name in apart
    ):
        return (
            f"<candidate> adds the raw gradient to {some}, which <reference> does not move: `optax.masked` "
            "passes what it masks on as it is; freeze with `optax.partition` and `optax.set_to_zero`"
        )
    return f"<candidate> moves {some}; <reference> does not: they need no gradient there or are in no group"


def _clipping(ratios: Steps, history: History, step: int) -> Parting | None:
    """Gradients that one side alone clips, where the update is proportional to them."""
    if np.isnan(ratios).any() or not history.used:
        return None
    norms, used = (np.linalg.norm(_rows(grads, list(grads)), axis=1) for grads in (history.raw, history.used))
    if not _same(norms, used) and _same(ratios * used, norms):
        share = f"{used[step] / norms[step]:.4g} (their norm is {norms[step]:.4g})"
        detail = f"<reference> scales the gradients by {share}, <candidate> does not"
        return Parting(step, Phase.CLIPPING, detail, "<candidate> does not clip the gradients")
    small = ratios < 1 - 10 * ALIKE
    if small.sum() < 2 or not _same(ratios[~small], 1.0) or _same(ratios[small], ratios[small][0]):
        return None
    limit = (ratios * used)[small]
    if not _same(limit, limit[0]):
        return None
    share = f"{ratios[step]:.4g} (their norm is {used[step]:.4g})"
    detail = f"<candidate> scales the gradients by {share}, <reference> does not"
    return Parting(
        step, Phase.CLIPPING, detail, f"<candidate> clips the gradients to a norm of {limit[0]:.4g}"
    )


def _two_rates(rates: Steps, other: Steps, step: int) -> str:
    return f"the rate is {rates[step]:.6g} in <reference> and {other[step]:.6g} in <candidate>"


def _schedule(ratios: Steps, rates: Steps, step: int) -> Parting | None:
    """A schedule that is the other side's, shifted, stretched or missing; None where it is not."""
    if np.isnan(ratios).any():
        return None
    other = ratios * rates
    count = len(rates)
    cause = ""
    if _same(ratios, ratios[0]):
        cause = f"the rate of <candidate> is {ratios[0]:.6g} x that of <reference> in every step"
    elif _same(other, other[0]) and not _same(rates, rates[0]):
        cause = "<candidate> keeps one rate: it has no schedule"
    elif _same(rates, rates[0]) and _same(ratios[:step], 1.0):
        cause = "<reference> has no schedule, <candidate> has"
    elif count > 2 and _same(other[:-1], rates[1:]):
        cause = "the schedule of <candidate> is one step ahead: it counts from 1"
    elif count > 2 and _same(other[1:], rates[:-1]):
        cause = "the schedule of <candidate> is one step behind"
    else:
        cause = _stretched(rates, other)
    return Parting(step, Phase.SCHEDULE, _two_rates(rates, other, step), cause) if cause else None


def _stretched(rates: Steps, other: Steps) -> str:
    """A schedule that moves by epochs on one side and by steps on the other, in words."""
    numbers = np.arange(len(rates))
    for every in range(2, len(rates) // 2 + 1):
        if _same(other, rates[numbers // every]):
            return f"the schedule of <candidate> moves once in {every} steps (per epoch), not in each"
        ahead = numbers[numbers * every < len(rates)]
        if len(ahead) > 2 and _same(other[ahead], rates[ahead * every]):
            return f"the schedule of <candidate> is {every} times as fast: per step, not per epoch"
    return ""
