"""The first step and phase in which two loops of users' own part, and the cause where it is simple."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np

from parity.numerics.noise import Side
from parity.pipeline.step_multiples import factor_of, in_every_step, names_in_words, ratios_of, same
from parity.pipeline.stepped_statistics import statistics_cause
from parity.pipeline.stepped_views import Views
from parity.pipeline.training_causes import failures, how_far
from parity.report.partings import Parting, Phase
from parity.report.results import Quantity, Verdict

PHASES: Mapping[str, Phase] = {
    "metrics": Phase.METRICS,
    "numbers": Phase.SLOTS,
    "slots": Phase.SLOTS,
    "update": Phase.UPDATE,
    "statistics": Phase.STATISTICS,
}
"""Groups of values from equal weights, in the order in which a fault spreads."""

CARRIED = 3
"""Steps that a slot may differ before an update does: from then on it is kept in another form."""

OFFSET = 1e-4
"""What gradients that are clipped differ by at most, where a norm is divided by with 1e-6 and without."""

STILL = 1e-9
"""A share of the other side's update below which a tensor does not move."""


def parting_of_steps(
    judged: Sequence[Quantity],
    sides: tuple[Side, Side],
    views: Views,
    without_jit: Callable[[], Sequence[Quantity]],
) -> Parting | None:
    """The first step in which a quantity fails, and the first phase of it.

    Args:
        judged: quantities from equal weights, over time.
        sides: their values.
        views: both sides by common names.
        without_jit: judges the same with the candidate's Python code run in every step.

    Returns:
        None where nothing fails.
    """
    failed = failures(judged)
    if not failed:
        return None
    first = min((at for at, q in failed if q.group != "slots"), default=0)
    failed = [(at, q) for at, q in failed if q.group != "slots" or at > first - CARRIED]
    step = min(at for at, _ in failed)
    there = [q for at, q in failed if at == step]
    group = next(group for group in PHASES if any(q.group == group for q in there))
    own = [q for q in there if q.group == group]
    found = Parting(step, PHASES[group], how_far(own, step))
    apart = {q.name for _, q in failed if q.group in ("update", "statistics")}
    cause = _still(sides, apart, views) or _frozen(sides, own, step)
    if not cause and group == "metrics":
        cause = _factor(sides, "metrics", [q.name for q in own], f"the metric {own[0].name}")
    if not cause and group == "statistics":
        cause = statistics_cause(own[0].name, step, sides, views.start)
    if not cause and group in ("slots", "update", "statistics"):
        cause = _multiple(sides, [q for q in judged if q.verdict is Verdict.FAIL], step, views.trained)
    if not cause and group == "slots" and step == 0:
        cause = _given_otherwise(sides, own)
    if not cause and step > 0 and _passes(without_jit):
        cause = (
            "without `jax.jit` both agree: the step of <candidate> reads a number of Python's that JAX reads "
            "once, when it traces; give it to the jitted function as an argument"
        )
    return Parting(found.step, found.phase, found.detail, cause)


def with_advice(parting: Parting | None, views: Views) -> Parting | None:
    """A parting in what the optimisers keep, with what to look for where no cause is known.

    Args:
        parting: with the cause of its place, if there is one.
        views: both sides by common names.
    """
    if parting is None or parting.cause or parting.phase is not Phase.SLOTS or not views.trained:
        return parting
    advice = "the metrics agree, what the optimisers keep of gradients does not: look for a gradient that is "
    advice += "stopped on one side alone (`detach`, `stop_gradient`), for clipping, or for another scale"
    return dataclasses.replace(parting, cause=advice)


def _still(sides: tuple[Side, Side], apart: set[str], views: Views) -> str:
    """Tensors that one side alone moves in all steps, in words."""
    for at, word in ((1, "<candidate>"), (0, "<reference>")):
        still = [
            name
            for group in ("update", "statistics")
            for name, rows in sides[at].base.get(group, {}).items()
            if name in apart and not rows.any() and sides[1 - at].base[group][name].any()
        ]
        if still:
            leaves = views.plan.names()
            named = sorted(leaves[name] for name in still) if at == 1 else sorted(still)
            verb, they = ("never moves", "is it") if len(still) == 1 else ("never move", "are they")
            why = f": {they} among the arguments of `jax.grad`, and not behind `stop_gradient`?"
            return f"{names_in_words(named)} of {word} {verb}{why if at == 1 else ''}"
    return ""


def _frozen(sides: tuple[Side, Side], own: Sequence[Quantity], step: int) -> str:
    """A metric or count that stays the same on one side alone, in words."""
    for q in own:
        rows = [side.base[q.group][q.name] for side in sides]
        stays = [len(r) > 1 and bool((r == r[:1]).all()) for r in rows]
        if stays[0] != stays[1] and step > 0 and q.group in ("metrics", "numbers"):
            word = "<candidate>" if stays[1] else "<reference>"
            return (
                f"{q.name} of {word} is {float(np.max(rows[stays.index(True)][0])):.6g} in every step: is it "
                "fixed where JAX traces the step?"
            )
    return ""


def _factor(sides: tuple[Side, Side], group: str, names: Sequence[str], what: str) -> str:
    """Values that are one number times the other side's in every step, in words."""
    own, other = ({n: side.base[group][n] for n in names} for side in sides)
    factor = factor_of(own, other)
    return "" if factor is None else in_every_step(what, factor)


def _given_otherwise(sides: tuple[Side, Side], own: Sequence[Quantity]) -> str:
    """Gradients that are multiples of the other side's, by what an optimiser keeps of them at first."""
    kinds: dict[str, list[str]] = {}
    for q in own:
        kinds.setdefault(q.name.rpartition(".")[2], []).append(q.name)
    first = [
        ratios_of(*({n: side.base["slots"][n][:1] for n in names} for side in sides))[0]
        for names in kinds.values()
    ]
    ratios = [ratio for ratio in first if ratio > 0]  # no NaN
    if len(ratios) < len(kinds):
        return ""
    ratio = min(ratios, key=lambda value: abs(np.log(value)))  # others are of squares
    if abs(ratio - 1) < OFFSET:
        return (
            f"what the optimiser keeps of gradients is {ratio:.9g} x in <candidate>, as where "
            "`clip_grad_norm_` divides by the norm + 1e-6 and `optax.clip_by_global_norm` by the norm: "
            "`parity.optimizers.clip_grad_norm` is PyTorch's"
        )
    return (
        f"what the optimiser keeps of gradients is {ratio:.6g} x in <candidate>: it is given as many times "
        "the gradients; look for clipping to another norm, a sum in the place of a mean, or a loss scale "
        "that stays in"
    )


def _multiple(sides: tuple[Side, Side], failed: Sequence[Quantity], step: int, trained: Set[str]) -> str:
    """Updates that are multiples of the other side's, in words."""
    names = sorted({q.name for q in failed if q.group == "update"})
    if not names:
        return ""
    ratios = ratios_of(*({n: side.base["update"][n] for n in names} for side in sides))
    ratio, later = ratios[step], ratios[step:]
    if np.isnan(later).any() or same(later[:1], 1.0):
        return ""
    told = f"the update of {names_in_words(names)} in <candidate> is {ratio:.6g} x that in <reference>"
    averages = bool(trained) and not trained & set(names)
    if averages and not same(later, ratio):
        if abs(ratio) < STILL:
            told = f"<candidate> does not move {names_in_words(names)} at step {step}, <reference> does"
        return f"{told}: compare when their averages begin, and with what share they move"
    if not same(later, ratio):
        if any(q.group == "slots" for q in failed):
            return ""
        return f"{told} at step {step}, and others later: compare the schedules of the learning rate"
    told += " in every step" if step == 0 else f" from step {step} on"
    if any(q.group == "slots" for q in failed):
        return f"{told}: look for a sum in the place of a mean in the loss, or another learning rate"
    if averages:
        share = 1 / (1 + ratio) if ratio > 0 else 0.0
        if _is_plain(share):
            return f"{told}, as if {share:.6g} and {1 - share:.6g} were exchanged in their average"
        return f"{told}: compare the shares of their averages"
    return f"{told}: compare the learning rates{' and their schedules' if step else ''}"


def _is_plain(share: float) -> bool:
    """Whether a share was perhaps written as a short decimal."""
    return bool(share > 0 and abs(round(share, 4) - share) <= 1e-6 * share)


def _passes(judge: Callable[[], Sequence[Quantity]]) -> bool:
    """Whether nothing fails in what is judged; a step that cannot run so tells nothing."""
    try:
        return all(q.verdict is not Verdict.FAIL for q in judge())
    except Exception:
        return False
