"""Why updates differ though losses and gradients agree: what moves, the clipping, the rate, or the rule."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from parity.numerics.arrays import NARROW, Arrays, numpy_dtype
from parity.numerics.noise import Side
from parity.optimizers.clip_variants import clippings
from parity.optimizers.clipping import OFFSET
from parity.optimizers.fitting import fitted
from parity.optimizers.history import History
from parity.optimizers.known import RULES
from parity.optimizers.optax_variants import optax_variants
from parity.optimizers.variants import Variant, changes, variants
from parity.pipeline.gradient_causes import given_apart, given_cause, keeps_momentum
from parity.pipeline.rate_causes import (
    own_rates,
    schedule_cause,
    two_rates,
    update_clipping_cause,
)
from parity.pipeline.step_multiples import (
    ALIKE,
    Steps,
    largest,
    names_in_words,
    ratios_of,
    rows_of,
    same,
)
from parity.report.partings import Parting, Phase
from parity.report.results import LIMIT, Quantity, Verdict


def by_the_optimizer(
    found: Parting, judged: list[Quantity], sides: tuple[Side, Side], history: History
) -> Parting:
    """What differs though loss and gradients agree: what moves, the clipping, the rate, or the rule.

    Args:
        found: the first step and phase that differ, without a cause.
        judged: quantities from equal weights.
        sides: their values.
        history: of the reference.
    """
    if history.clips and history.limit is None:
        history = history._replace(limit=_limit_of_a_function(history.raw, history.used))
    reference, candidate = sides[0].base["update"], sides[1].base["update"]
    updates = [q for q in judged if q.group == "update"]
    limits = {q.name: np.asarray(q.curve.yardstick) * LIMIT for q in updates if q.curve}
    apart = [q.name for q in updates if q.verdict is Verdict.FAIL]
    if skipped := _skipped(candidate, history, apart, updates, found.step):
        return Parting(found.step, Phase.UPDATE, found.detail, skipped)
    if frozen := _moved_by_one(reference, candidate, history, apart, limits):
        return Parting(found.step, Phase.UPDATE, found.detail, frozen)
    moved = [name for name in reference if np.any(reference[name]) and name in history.rates]
    if not moved or not apart:
        return found
    explains = functools.partial(_explains, history, candidate=candidate, limits=limits)
    known = history.kind in RULES
    if known and history.clips:
        for variant in clippings(history):
            if explains(variant, apart):
                return Parting(found.step, Phase.CLIPPING, found.detail, variant.words)
    if narrow := _kept_narrow(sides, judged):
        return Parting(found.step, found.phase, found.detail, narrow)
    own, other = ({name: side[name] for name in moved} for side in (reference, candidate))
    ratios, rates = ratios_of(own, other), np.asarray(history.rates[moved[0]], np.float64)
    told = (
        _updates_clipped(history, candidate, moved, found.step)
        or given_cause(sides, history, moved, found.step)
        or update_clipping_cause(ratios, own, found.step)
        or schedule_cause(ratios, rates, found.step, history.accumulate, follows_loss=history.follows_loss)
        or own_rates(own, other, history, [name for name in apart if name in moved], found.step)
    )
    if told is not None:
        return told
    first = {q.name: q.curve.first_failure or 0 for q in updates if q.name in apart and q.curve}
    cause = _by_variants(history, first, candidate, explains) if known else ""
    if cause:
        return Parting(found.step, found.phase, found.detail, cause + _where(apart, moved))
    if known and not history.clips:
        for variant in clippings(history):
            if explains(variant, apart):
                return Parting(found.step, Phase.CLIPPING, found.detail, variant.words)
    if np.isfinite(ratios).all():
        return Parting(found.step, Phase.SCHEDULE, two_rates(rates, ratios * rates, found.step))
    return given_apart(sides, history, moved, found.step) or found


def _limit_of_a_function(raw: Arrays, used: Arrays) -> float | None:
    """The norm to which a function of the user's clips all gradients; None where it does anything else.

    Args:
        raw: gradients before it, by tensor.
        used: behind it.
    """
    if not used or set(used) != set(raw):
        return None
    norms, others = (np.linalg.norm(rows_of(held, list(raw)), axis=1) for held in (raw, used))
    smaller = others < norms * (1 - 10 * ALIKE)
    limits = (others * (norms + OFFSET) / np.maximum(norms, OFFSET))[smaller]
    ratios = ratios_of(raw, used)
    is_clipping = smaller.sum() > 1 and np.isfinite(ratios).all() and same(ratios[~smaller], 1.0)
    return float(f"{limits[0]:.6g}") if is_clipping and same(limits, limits[0]) else None


def _kept_narrow(sides: tuple[Side, Side], judged: Sequence[Quantity]) -> str:
    """Slots that differ and hold nothing but numbers of a narrow dtype on one side, in words; "" if none."""
    held = [side.base.get("slots", {}) for side in sides]
    apart = [q.name for q in judged if q.group == "slots" and q.verdict is Verdict.FAIL]
    apart = [name for name in apart if all(name in slots for slots in held)]
    for narrow in NARROW:
        rounded = [
            [np.array_equal(s[n], s[n].astype(numpy_dtype(narrow)).astype(np.float64)) for n in apart]
            for s in held
        ]
        held_any = all(np.any(held[1][name]) for name in apart)  # zeros are numbers of every dtype
        if apart and held_any and all(rounded[1]) and not any(rounded[0]):
            return f"<candidate> keeps {names_in_words(apart)} in {narrow} (`mu_dtype`, or a cast)"
    return ""


def _where(apart: Sequence[str], moved: Sequence[str]) -> str:
    return "" if set(apart) >= set(moved) else f", for {names_in_words(apart)}"


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
            variants(history, options),
            optax_variants(history.kind, options),
            fitted(history, group, candidate, min(steps[n] for n in group)),
        )
        words = next((v.words for v in tried if explains(v, group)), None)
        if words is None:
            return ""
        causes.append(words if len(groups) == 1 else f"{words} (for {names_in_words(group)})")
    return "; ".join(causes)


def _explains(
    history: History, variant: Variant, names: list[str], *, candidate: Arrays, limits: Mapping[str, Steps]
) -> bool:
    """Whether a variant's updates are the candidate's, in every step."""
    try:
        told = changes(history, variant, names)
    except KeyError:  # a hyperparameter that the variant needs and this optimiser lacks
        return False
    return all(
        name in told and np.all(largest(told[name] - candidate[name]) <= limits[name]) for name in names
    )


def _updates_clipped(history: History, candidate: Arrays, moved: list[str], step: int) -> Parting | None:
    """Updates clipped behind the optimiser where the reference clips the gradients before it."""
    if history.limit is None or history.kind not in RULES:
        return None
    plain = changes(history, Variant("", RULES[history.kind], grads=dict), moved)
    if set(plain) < set(moved):
        return None
    ratios = ratios_of(plain, {name: candidate[name] for name in moved})
    told = update_clipping_cause(ratios, plain, step)
    if told is None or keeps_momentum(history, moved):
        return None if told is None else dataclasses.replace(told, phase=Phase.CLIPPING)
    penalty = any(history.options[name].get("weight_decay") for name in moved)
    among = ", the weight decay among them; <reference> clips before it is added" if penalty else ""
    cause = f"<candidate> clips the gradients by a norm of its own{among}"
    return Parting(step, Phase.CLIPPING, told.detail, cause)


def _skipped(
    candidate: Arrays, history: History, apart: list[str], updates: Sequence[Quantity], step: int
) -> str:
    """Weights that the reference skips in a step for want of a gradient, in words; "" where it skips none."""
    first = [q.name for q in updates if q.name in apart and q.curve and q.curve.first_failure == step]
    if not first or not all(n in history.unreached and history.unreached[n][step] for n in first):
        return ""
    if not any(np.any(candidate[name][step]) for name in first):
        return ""
    return (
        f"the loss of this step does not depend on {names_in_words(first)}: in <reference> the gradient is "
        "None and the optimiser skips them; in <candidate> it is zero, and weight decay, momentum or the "
        "moments still move them: mask them (`optax.masked`), or keep the old weights and state there"
    )


def _moved_by_one(
    reference: Arrays, candidate: Arrays, history: History, apart: list[str], limits: Mapping[str, Steps]
) -> str:
    """Weights that one side alone moves, in words; "" where there are none."""
    some = names_in_words(apart)
    if not apart:
        return ""
    if not any(np.any(candidate[name]) for name in apart):
        hint = "look for a mask, or a leaf that is not trained"
        return f"<candidate> does not move {some}; <reference> does: {hint}"
    if any(np.any(reference[name]) for name in apart):
        return ""
    if all(
        name in history.raw and np.all(largest(candidate[name] - history.raw[name]) <= limits[name])
        for name in apart
    ):
        return (
            f"<candidate> adds the raw gradient to {some}, which <reference> does not move: `optax.masked` "
            "passes what it masks on as it is; freeze with `optax.partition` and `optax.set_to_zero`"
        )
    if decay := _decay_alone(candidate, history, apart):
        return (
            f"<candidate> shrinks {some} by {decay:.4g} of their size in a step: weight decay without a "
            "gradient; <reference> does not move them: mask them (`optax.masked`, `mask=` of the optimiser)"
        )
    return f"<candidate> moves {some}; <reference> does not: they need no gradient there or are in no group"


def _decay_alone(candidate: Arrays, history: History, names: Sequence[str]) -> float | None:
    """The share by which tensors shrink in a step, all alike; None where they do anything else."""
    if not all(name in history.weights for name in names):
        return None
    weights = {name: np.asarray(history.weights[name], np.float64) for name in names}
    ratios = ratios_of(weights, {name: candidate[name] for name in names})
    is_one = np.isfinite(ratios).all() and same(ratios[:1], ratios[0])
    return float(-ratios[0]) if is_one and -1 < ratios[0] < 0 else None
