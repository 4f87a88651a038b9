"""How two training runs are judged, and what is no fault though it differs."""

import dataclasses
from collections.abc import Mapping, Sequence

from parity.numerics.arrays import EPS
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Side
from parity.pipeline.judging import lone_parts
from parity.report.results import Quantity, Stage, Verdict


def rules_for(sides: tuple[Side, Side], scale: Mapping[str, float]) -> dict[str, Criterion]:
    """How values from equal weights are judged; slots where both sides hold some.

    Args:
        sides: their values.
        scale: largest magnitude of each weight.
    """
    rules = {
        "loss": Criterion("forward", over_time=True),
        "gradients": Criterion("gradients", over_time=True, kind=lambda name: "gradient"),
        "slots": Criterion("step", over_time=True, kind=lambda name: name.rpartition(".")[2]),
        "update": Criterion("step", over_time=True, scale=scale),
        "early": Criterion("step", over_time=True, scale=scale),
        "averages": Criterion("step", over_time=True, scale=scale),
    }
    for side in sides:
        if not side.base.get("slots"):
            rules.pop("slots", None)
    return rules


def as_accurate(free: Sequence[Quantity]) -> tuple[list[Quantity], tuple[str, ...]]:
    """Runs that agree in float64 and keep half of the digits in a narrower dtype are the same training.

    An optimiser of optax computes its own numbers in the dtype of the weights (``1 - 0.999`` in float32 has
    four digits), PyTorch in float64: no noise on weights and batches shows that.

    Args:
        free: quantities of the free runs.

    Returns:
        The quantities, those passed that differ so, and what is to be said of them.
    """
    same = {(q.group, q.name) for q in free if q.dtype == "float64" and q.verdict is Verdict.PASS}
    kept, told = [], []
    for q in free:
        within = q.dtype in EPS and q.difference <= EPS[q.dtype] ** 0.5 * q.scale
        if q.verdict is Verdict.FAIL and q.dtype != "float64" and (q.group, q.name) in same and within:
            away = f"{q.difference / q.scale:.1g}" if q.scale else "0"
            told.append(f"{q.name} in {q.dtype} ({away} of its size)")
            q = dataclasses.replace(q, verdict=Verdict.PASS)
        kept.append(q)
    if not told:
        return kept, ()
    some = ", ".join(told[:3]) + (f" and {len(told) - 3} more" if len(told) > 3 else "")
    return kept, (f"<candidate side> is further from float64 than <reference side>, by little: {some}",)


def by_effect(judged: list[Quantity]) -> tuple[list[Quantity], tuple[str, ...]]:
    """Slots that differ where no update does are kept in another form, and no fault.

    Args:
        judged: quantities from equal weights.

    Returns:
        The quantities without such slots, and what is to be said of them.
    """
    if any(q.group == "update" and q.verdict is not Verdict.PASS for q in judged):
        return judged, ()
    other = [q.name for q in judged if q.group == "slots" and q.verdict is Verdict.FAIL]
    if not other:
        return judged, ()
    told = (
        f"the optimiser of <candidate side> keeps {len(other)} slots in another form, such as {other[0]}: "
        "the updates of all steps agree"
    )
    return [q for q in judged if q.name not in other or q.group != "slots"], (told,)


def lone_updates(names: Sequence[str]) -> list[Quantity]:
    """Failed quantities for weights that one side alone trains.

    Args:
        names: of the reference.
    """
    note = "<candidate> has no such weight: nothing to compare its update with"
    return [Quantity(Stage.STEP, "update", name, "float64", Verdict.FAIL, notes=(note,)) for name in names]


def not_compared(sides: tuple[Side, Side]) -> tuple[str, ...]:
    """What was not compared, in sentences.

    Args:
        sides: values from equal weights.
    """
    lines = list(lone_parts(*sides))
    slots = [set(side.base.get("slots", {})) for side in sides]
    if alone := sorted(slots[0] - slots[1]):
        lines.append(
            f"optimiser state that <candidate side> has under no name of optax's own: {len(alone)} slots, "
            f"such as {alone[0]}; what follows from it is in the updates"
        )
    return tuple(lines)
