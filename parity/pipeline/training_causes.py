"""The first step and phase in which two runs from equal weights part, and why."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side
from parity.optimizers.history import History
from parity.pipeline.average_causes import average_cause
from parity.pipeline.step_multiples import (
    SUM_OR_MEAN,
    factor_of,
    in_every_step,
    ratios_of,
    same,
)
from parity.pipeline.step_rows import Entries
from parity.pipeline.training_optimizers import Described
from parity.pipeline.training_runs import LEVEL, tensor_of
from parity.report.partings import Parting, Phase
from parity.report.results import Quantity, Verdict

PHASES: Mapping[str, Phase] = {
    "early": Phase.UPDATE,
    "loss": Phase.LOSS,
    "gradients": Phase.GRADIENTS,
    "slots": Phase.SLOTS,
    "update": Phase.UPDATE,
    "averages": Phase.AVERAGES,
}
"""Groups of values from equal weights, in the order in which a fault spreads."""

FEW_STEPS = 3
"""Steps in which a slot must have been a multiple of the other side's: one or two may be chance."""


def history_of(given: Described, side: Side, start: Arrays, level: Entries) -> History:
    """The reference's run as variants of its optimiser need it.

    Args:
        given: its optimiser.
        side: the reference's values from equal weights.
        start: its weights before the first step, by tensor.
        level: entries in whose place the optimisers were given `LEVEL`.
    """
    base = side.base
    weights = {
        name: np.concatenate([start[name][None], start[name] + np.cumsum(update, axis=0)[:-1]])
        for name, update in base["update"].items()
    }
    grads, used, rates, unreached = (
        base.get(group, {}) for group in ("gradients", "clipped", "rates", "unreached")
    )
    grads = {n: np.where(level[n], LEVEL, rows) if n in level else rows for n, rows in grads.items()}
    return History(
        given.kind,
        given.options,
        weights,
        grads,
        used,
        rates,
        limit=given.limit,
        accumulate=given.accumulate,
        unreached=unreached,
        follows_loss=given.follows_loss,
        defaults=given.defaults,
        clips=given.clips,
        parts=base.get("parts", {}),
    )


def parting_beside_sums(
    judged: list[Quantity],
    sides: tuple[Side, Side],
    history: History,
    copies: Mapping[str, Sequence[str]],
    sums: Mapping[str, Sequence[str]],
) -> Parting | None:
    """`parting_of`, where the candidate holds the sum of several tensors in one leaf.

    Each of them gets the gradient of the sum: in PyTorch it moves several times as far as the one leaf does.

    Args:
        judged: quantities from equal weights, over time.
        sides: their values.
        history: of the reference.
        copies: tensors that the candidate holds several times, with their leaves.
        sums: leaves that hold sums, with their tensors.

    Returns:
        None where nothing fails.
    """
    summed = {name for names in sums.values() for name in names}
    further = {name for names in sums.values() for name in names[1:]}
    others = [q for q in judged if tensor_of(q.name, q.group) not in further]
    kept = [
        side._replace(
            base={
                group: {n: rows for n, rows in held.items() if tensor_of(n, group) not in further}
                for group, held in side.base.items()
            }
        )
        for side in sides
    ]
    found = parting_of(others, (kept[0], kept[1]), history, copies)
    told = "; ".join(
        f"<reference> trains {' and '.join(names)}, <candidate> their sum, {leaf}: each of them gets the "
        "gradient, so that the sum moves several times as far, and counts so often in a norm"
        for leaf, names in sums.items()
    )
    failed = {tensor_of(q.name, q.group) for q in judged if q.verdict is Verdict.FAIL}
    if failed and failed <= summed and (found := parting_of(judged, sides, history, copies)) is not None:
        hint = "give that leaf as many times the rate (`optax.partition`), or freeze the others"
        return Parting(found.step, found.phase, found.detail, f"{told}: {hint}")
    if found is not None and not found.cause and found.phase is Phase.CLIPPING and further:
        return Parting(found.step, found.phase, found.detail, told)
    return found


def can_explain() -> bool:
    """Whether causes of optimisers can be tried: rules are computed in JAX, which a comparison can lack."""
    try:
        import parity.pipeline.optimizer_causes  # noqa: F401 (whether it can be)
    except ModuleNotFoundError:
        return False
    return True


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
    failed = failures(judged)
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
    found = Parting(step, PHASES[group], how_far([q for q in there if q.group == group], step))
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
    if not can_explain():
        return found
    from parity.pipeline.optimizer_causes import by_the_optimizer

    return by_the_optimizer(found, judged, sides, history)


def _in_another_form(name: str, sides: tuple[Side, Side], first: int) -> bool:
    """Whether a slot was a multiple of the other side's all the while that the updates agreed.

    Args:
        name: of the slot.
        sides: values from equal weights.
        first: the first step in which something else differs.
    """
    if first < FEW_STEPS:
        return False
    ratios = ratios_of(*({name: side.base["slots"][name][:first]} for side in sides))
    return not np.isnan(ratios).any() and same(ratios, ratios[0])


def failures(judged: Sequence[Quantity]) -> list[tuple[int, Quantity]]:
    """What fails over time, with the first step in which it does.

    Args:
        judged: quantities, over time or not.
    """
    return [
        (q.curve.first_failure, q)
        for q in judged
        if q.verdict is Verdict.FAIL and q.curve is not None and q.curve.first_failure is not None
    ]


def how_far(failed: Sequence[Quantity], step: int) -> str:
    """How far the worst quantity is away, in words.

    Args:
        failed: quantities over time.
        step: that they fail in.
    """
    worst = max(failed, key=lambda q: np.nan_to_num(q.curve.rho[step], nan=np.inf) if q.curve else 0.0)
    assert worst.curve is not None
    others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    values = worst.curve.reference[step], worst.curve.candidate[step]
    broken = [n for n, v in zip(("<reference>", "<candidate>"), values, strict=True) if not np.isfinite(v)]
    if broken or not np.isfinite(worst.curve.rho[step]):
        return f"{worst.name}{others} has NaN or infinity in {' and '.join(broken) or 'one side'}"
    size = max(map(abs, values)) or 1.0
    yardstick = worst.curve.yardstick[step]
    away = worst.curve.rho[step] * yardstick / size
    return (
        f"{worst.name}{others} differs by {away:.2g} of its size; rounding alone explains "
        f"{yardstick / size:.1g}"
    )


def _multiplied(found: Parting, sides: tuple[Side, Side], group: str) -> Parting:
    """A loss, a part of it, or all gradients: one number times the other side's in every step."""
    own, other = (side.base[group] for side in sides)
    # Parts of a loss are told first: the loss is a sum of them.
    parts = sorted((name for name in own if name in other), reverse=True) if group == "loss" else []
    for names in [[name] for name in parts] or [list(own)]:
        factor = factor_of({name: own[name] for name in names}, other)
        if factor is None:
            continue
        what = f"the {names[0]}".replace("the loss/", "the loss's part ") if parts else "every gradient"
        stopped = "the losses agree: look for a stopped gradient, or one that is scaled by hand"
        cause = in_every_step(what, factor, SUM_OR_MEAN if group == "loss" else stopped)
        return Parting(found.step, found.phase, found.detail, cause)
    return found
