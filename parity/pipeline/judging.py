"""Every run of both sides judged by the yardstick, and what a comparison does not look at, in words."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.finite_differences import Slopes, judge_gradients
from parity.numerics.measured_leaf import Criterion
from parity.numerics.noise import SideByDtype
from parity.numerics.progress import Progress
from parity.numerics.yardstick import FORWARD, judge_quantities
from parity.pipeline.request import Settings
from parity.pipeline.runs import FIRST, MOVED, Run
from parity.report.errors import HarnessError
from parity.report.results import Quantity, Verdict


class Failed(NamedTuple):
    """A run in which the two sides differ in float64.

    Attributes:
        groups: the groups of values that do: "outputs", "loss", "gradients".
        run: the run.
    """

    groups: frozenset[str]
    run: Run


class Judged(NamedTuple):
    """What judging every run came to.

    Attributes:
        quantities: in the order of the runs.
        failed: the runs with a difference in float64.
        kinks: weights whose slopes say nothing: the loss has a kink there.
        left_out: how many weights a sample of the finite differences leaves out.
        unmoved: what a model raised where its weights were moved, by what was then left out.
    """

    quantities: list[Quantity]
    failed: list[Failed]
    kinks: list[str]
    left_out: int
    unmoved: dict[str, str]


def judge_runs(
    runs: Sequence[Run],
    sides_of: Callable[[Run, Progress], Mapping[str, SideByDtype]],
    settings: Settings,
    progress: Progress,
    *,
    slopes: Callable[[Run], Slopes | None],
    differentiable: bool | Callable[[], bool] = True,
    by_hand: Collection[str] = (),
) -> Judged:
    """Measure and judge one run after the other; the values of a run are let go before the next.

    Args:
        runs: in order.
        sides_of: the values of every program in a run, by label and dtype.
        settings: tolerance, finite differences.
        progress: called as each phase begins.
        slopes: finite differences of the reference's loss in the first run; None: they are not to be had.
        differentiable: whether gradients are compared; asked after the first run where it is a function.
        by_hand: labels of programs that have gradients alone.
    """
    judged = Judged([], [], [], 0, {})
    left_out = 0
    for run in runs:
        try:
            sides = sides_of(run, progress)
        except Exception as error:
            if run.title != MOVED or isinstance(error, HarnessError):
                raise
            judged.unmoved["other weights than these"] = _first_line(error)
            continue
        progress("judging")
        with_gradients = differentiable() if callable(differentiable) else differentiable
        rules = {group: rule for group, rule in FORWARD.items() if group != "gradients" or with_gradients}
        found = _judge(run, sides, rules, settings, by_hand)
        if run.title == FIRST and settings.finite_differences and "float64" in run.dtypes and with_gradients:
            progress("finite differences")
            measured = None
            try:
                measured = slopes(run)
            except Exception as error:  # the model ran as it is, so that it refuses the moved weights
                if isinstance(error, HarnessError):
                    raise
                judged.unmoved["gradients against finite differences"] = _first_line(error)
            if measured is not None:
                left_out = measured.left_out
                more, kinks = judge_gradients(measured, *_gradients(sides, found))
                found += more
                judged.kinks.extend(kinks)
        del sides  # of large models these are gigabytes: not to be kept beside the next run's
        judged.quantities.extend(found)
        failing = [q.group for q in found if q.verdict is Verdict.FAIL and q.dtype == "float64"]
        if failing:
            judged.failed.append(Failed(frozenset(failing), run))
    return judged._replace(left_out=left_out)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


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


def _gradients(
    sides: Mapping[str, SideByDtype], quantities: Sequence[Quantity]
) -> tuple[dict[str, Arrays], dict[str, dict[str, float]]]:
    """Both sides' float64 gradients, and how far the candidate's may honestly lie from the reference's."""
    gradients: dict[str, Arrays] = {
        label: sides[label]["float64"].base["gradients"] for label in ("reference", "candidate")
    }
    honest = {
        q.name: q.yardstick
        for q in quantities
        if q.group == "gradients" and q.dtype == "float64" and q.program == "candidate"
    }
    return gradients, {"candidate": honest}


def not_checked(
    settings: Settings, dtypes: Sequence[str], left_out: Sequence[str], judged: Judged, *, own_loss: bool
) -> tuple[str, ...]:
    """What a check of outputs and gradients did not look at, in words.

    Args:
        settings: of the comparison.
        dtypes: that were judged.
        left_out: weights of either side without a partner, as allowed.
        judged: with what finite differences say nothing of.
        own_loss: whether the user gave losses.
    """
    narrow = [dtype for dtype in dtypes if dtype not in DTYPES]
    lines = [f"{dtype} was not run" for dtype in DTYPES if dtype not in dtypes and not narrow]
    lines.append("gradients with respect to the inputs")
    if not settings.moved_weights:
        lines.append("other weights than these: zeros and ones as at initialisation hide faults")
    if not own_loss:
        lines.append("the models' own losses (gradients are those of a random projection of the outputs)")
    if not settings.finite_differences or "float64" not in dtypes:
        lines.append("gradients against finite differences")
    if judged.kinks:
        names = ", ".join(judged.kinks)
        lines.append(f"finite differences of {names}: the loss has a kink there or is too coarse")
    if judged.left_out:
        lines.append(f"finite differences of {judged.left_out} more weights (a sample was taken)")
    lines += [
        f"{what}: the model refuses weights that are moved ({why})" for what, why in judged.unmoved.items()
    ]
    lines += [f"weight {name}: left out as allowed" for name in left_out]
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
