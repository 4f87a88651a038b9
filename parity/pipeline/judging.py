"""Every run of both sides judged by the yardstick, and what a comparison does not look at, in words."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.finite_differences import Probed, Slope, probe_gradients
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import Side, SideByDtype
from parity.numerics.progress import Progress
from parity.numerics.yardstick import FORWARD, judge_quantities
from parity.pipeline.request import Settings
from parity.pipeline.runs import FIRST, MOVED, Run
from parity.report.errors import in_one_line, is_of_a_model
from parity.report.results import Quantity, Stage, Verdict

MOST_NAMED = 4
"""Weights of which a note gives the names."""

GROUPS = {"outputs": Stage.FORWARD, "loss": Stage.LOSS, "gradients": Stage.GRADIENTS}
"""Groups of values that are walked back from, in the order of computation; a user's own loss is one."""

FORWARD_ALONE = (
    "gradients: with `stream` the forward pass alone is run",
    "the round trip of each weight through the plan: with `stream` weights are only read through it",
)
"""What a comparison of streamed recordings does not look at."""


class Failed(NamedTuple):
    """A run in which the two sides differ.

    Attributes:
        groups: the groups of values that do: "outputs", "loss", "gradients".
        run: the run.
        dtype: in which they do.
    """

    groups: frozenset[str]
    run: Run
    dtype: str = "float64"


class Judged(NamedTuple):
    """What judging every run came to.

    Attributes:
        quantities: in the order of the runs.
        failed: the runs with a difference in float64.
        narrow: the runs with a difference of the candidate in a narrower dtype, one for each dtype.
        refused: runs that a model does not take, in words.
        idle: the weights whose gradient is zero in every run, on both sides, by the reference's names.
        probed: what finite differences say of the gradients of the first run; None where they were not asked.
    """

    quantities: list[Quantity]
    failed: list[Failed]
    narrow: list[Failed]
    refused: list[str]
    idle: list[str]
    probed: Probed | None = None


def judge_runs(
    runs: Iterable[Run],
    sides_of: Callable[[Run, Progress], Mapping[str, SideByDtype]],
    settings: Settings,
    progress: Progress,
    *,
    slope: Callable[[Run, Sequence[str]], Slope | None],
    differentiable: bool | Callable[[], bool] = True,
    by_hand: Collection[str] = (),
) -> Judged:
    """Measure and judge one run after the other; the values of a run are let go before the next.

    Args:
        runs: in order.
        sides_of: the values of every program in a run, by label and dtype.
        settings: tolerance, finite differences.
        progress: called as each phase begins.
        slope: a finite difference of the reference's loss along some weights; None: it is not to be had.
        differentiable: whether gradients are compared; asked after the first run where it is a function.
        by_hand: labels of programs that have gradients alone.
    """
    judged = Judged([], [], [], [], [])
    idle: set[str] | None = None
    for run in runs:
        try:
            sides = sides_of(run, progress)
        except Exception as error:
            if run.title != MOVED or not is_of_a_model(error):
                raise
            judged.refused.append(
                f"other weights than these: the model refuses weights that are moved ({in_one_line(error)})"
            )
            continue
        progress("judging")
        with_gradients = differentiable() if callable(differentiable) else differentiable
        rules = {group: rule for group, rule in FORWARD.items() if group != "gradients" or with_gradients}
        found = _judge(run, sides, rules, settings, by_hand)
        if run.title == FIRST and settings.finite_differences and "float64" in run.dtypes and with_gradients:
            progress("finite differences")
            probed = _probe(functools.partial(slope, run), sides, found)
            found += probed.quantities
            judged = judged._replace(probed=probed)
        if run.title == FIRST and "candidate" in sides:
            pair = (next(iter(sides[label].values())) for label in ("reference", "candidate"))
            judged.refused.extend(lone_parts(*pair))
        if with_gradients and "candidate" in sides:
            unmoved = _without_gradient(sides)
            idle = unmoved if idle is None else idle & unmoved
        del sides  # of large models these are gigabytes: not to be kept beside the next run's
        judged.quantities.extend(found)
        failing: dict[str, set[str]] = {}
        for q in found:
            if q.verdict is Verdict.FAIL and (q.dtype == "float64" or q.program == run.label):
                failing.setdefault(q.dtype, set()).add(q.group)
        for dtype, groups in failing.items():
            kept = judged.failed if dtype == "float64" else judged.narrow
            kept.append(Failed(frozenset(groups), run, dtype))
    judged.idle.extend(sorted(idle or ()))
    return judged


def _without_gradient(sides: Mapping[str, SideByDtype]) -> set[str]:
    """The weights whose gradient is zero on both sides: those of an expert that gets no token, say."""
    pair = (
        next(iter(sides[label].values())).base.get("gradients", {}) for label in ("reference", "candidate")
    )
    own, other = ({name for name, array in arrays.items() if not np.any(array)} for arrays in pair)
    return own & other


def lone_parts(reference: Side, candidate: Side) -> tuple[str, ...]:
    """Parts of a loss that one side alone tells of, in words.

    Args:
        reference: its values.
        candidate: its values.
    """
    own, other = (list(side.base.get("loss", {})) for side in (reference, candidate))
    lines = []
    for word, names, against in (("<reference>", own, other), ("<candidate>", other, own)):
        if alone := [name for name in names if name not in against]:
            lines.append(f"parts that the loss of {word} alone tells of: {', '.join(alone)}")
    return tuple(lines)


def _judge(
    run: Run,
    sides: Mapping[str, SideByDtype],
    rules: Mapping[str, Criterion],
    settings: Settings,
    by_hand: Collection[str],
) -> list[Quantity]:
    """Every program of a run against the reference."""
    found: list[Quantity] = []
    for label in [label for label in sides if label != "reference"]:
        program = ", ".join(part for part in (label, run.title) if part)
        only = {"gradients": FORWARD["gradients"]} if label in by_hand else rules
        found += judge_quantities(
            sides["reference"], sides[label], only, program=program, tolerance=settings.tolerance
        )
    return found


def _probe(
    slope: Callable[[Sequence[str]], Slope | None],
    sides: Mapping[str, SideByDtype],
    quantities: Sequence[Quantity],
) -> Probed:
    """What finite differences say of both sides' gradients in float64."""
    gradients: dict[str, Arrays] = {
        label: sides[label]["float64"].base["gradients"] for label in ("reference", "candidate")
    }
    own = [
        q for q in quantities if q.group == "gradients" and q.dtype == "float64" and q.program == "candidate"
    ]
    honest = {q.name: q.yardstick for q in own}
    differing = [q.name for q in own if q.verdict is Verdict.FAIL]
    names = [name for name in gradients["reference"] if name in gradients["candidate"]]
    return probe_gradients(slope, names, gradients, honest, differing)


def not_checked(
    settings: Settings,
    dtypes: Sequence[str],
    left_out: Sequence[str],
    judged: Judged,
    *,
    own_loss: bool,
    forward_alone: bool = False,
) -> tuple[str, ...]:
    """What a check of outputs and gradients did not look at, in words.

    Args:
        settings: of the comparison.
        dtypes: that were judged.
        left_out: weights of either side without a partner.
        judged: with what finite differences say nothing of.
        own_loss: whether the user gave losses.
        forward_alone: whether no gradient was computed, of recordings with `stream`.
    """
    narrow = [dtype for dtype in dtypes if dtype not in DTYPES]
    lines = [f"{dtype} was not run" for dtype in DTYPES if dtype not in dtypes and not narrow]
    lines += FORWARD_ALONE if forward_alone else ["gradients with respect to the inputs"]
    if not settings.moved_weights:
        lines.append("other weights than these: zeros and ones as at initialisation hide faults")
    if not own_loss and forward_alone:
        lines.append("the models' own losses")
    elif not own_loss:
        lines.append("the models' own losses (gradients are those of a random projection of the outputs)")
    if forward_alone:
        pass
    elif judged.probed is None:
        lines.append("gradients against finite differences")
    elif judged.probed.unsaid:
        lines.append(
            "gradients against finite differences: the loss has kinks there, is too coarse or undefined "
            "nearby"
        )
    if judged.probed is not None and judged.probed.refused:
        names = ", ".join(judged.probed.refused[:MOST_NAMED])
        more = " and more" * (len(judged.probed.refused) > MOST_NAMED)
        lines.append(f"gradients against finite differences along {names}{more}: the model refuses that")
    lines += judged.refused
    lines += [
        f"weight {name}: its gradient is zero on both sides; with these inputs it may do nothing"
        for name in judged.idle
    ]
    lines += [f"weight {name}: without a partner on the other side" for name in left_out]
    return tuple(lines)


def named_on_both_sides(
    quantities: Sequence[Quantity], names: Mapping[str, str], *, turned: bool
) -> list[Quantity]:
    """Quantities under the reference's name, with the candidate's beside it.

    Args:
        quantities: under the names of the plan's tensors.
        names: tensor -> its leaf, or leaves.
        turned: whether the tensors are the candidate's.
    """
    named = []
    for q in quantities:
        other = names.get(q.name)
        if other is None or q.candidate_name is not None:
            named.append(q)
        elif turned:
            named.append(dataclasses.replace(q, name=other, candidate_name=q.name))
        else:
            named.append(dataclasses.replace(q, candidate_name=other))
    return named
