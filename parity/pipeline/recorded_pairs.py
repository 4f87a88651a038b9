"""Two recordings compared: what was measured on either side is judged, and nothing is run."""

import dataclasses
from collections.abc import Mapping

from parity.numerics.arrays import DTYPES
from parity.numerics.noise import REPEATS, SideByDtype
from parity.numerics.progress import Progress
from parity.pipeline.conversions import judge_misfits, not_planned
from parity.pipeline.judging import judge_runs, named_on_both_sides, not_checked
from parity.pipeline.outcome import Outcome
from parity.pipeline.recorded_reference import joined_environment, recorded_settings, recorded_slope
from parity.pipeline.recordings import Recording
from parity.pipeline.runs import MOVED, Run
from parity.report.sides import Sides
from parity.trace.graph import Spot
from parity.weights.partial_plans import Misfit


def both_recorded(one: Recording, other: Recording, progress: Progress) -> Outcome:
    """Two recordings judged: numbers only, so that neither framework is needed.

    Args:
        one: of the reference or the candidate.
        other: of the other side.
        progress: called as each phase begins.

    Raises:
        ValueError: if they are not one of each, or do not belong together.
    """
    reference, candidate = sorted_sides(one, other)
    settings = recorded_settings(reference)
    known, own = reference.settings, candidate.settings
    outcome = Outcome(reference.name, sides=Sides.of(reference.framework, candidate.framework))
    outcome.plan = candidate.plan
    outcome.environment = joined_environment(reference, candidate)
    outcome.findings = tuple(dict.fromkeys((*reference.findings, *candidate.findings)))
    shown: Mapping[str, str] = own["outputs"]
    left_out, by_result = not_planned(own["left_out"], own["computed"])
    partners = set(own["partners"])
    if MOVED not in candidate.runs:
        settings = dataclasses.replace(settings, moved_weights=False)
    runs = [
        Run(title, {}, {}, tuple(sides), REPEATS) for title, sides in candidate.runs.items()
    ]  # values only: nothing runs

    def sides_of(run: Run, progress: Progress) -> dict[str, SideByDtype]:
        from parity.pipeline.shown import compared_part

        expected = reference.runs[run.title]
        return {
            "reference": {d: compared_part(expected[d], shown, partners) for d in run.dtypes},
            "candidate": candidate.runs[run.title],
        }

    why, slope = own["undifferentiable"], recorded_slope(reference)
    judged = judge_runs(
        runs,
        sides_of,
        settings,
        progress,
        slope=lambda run, names: None if slope is None else slope.along(names),
        differentiable=why is None,
    )
    from parity.pipeline import held_precision, promotions
    from parity.pipeline.held_values import compared_in
    from parity.pipeline.trace_files import RecordedTraces

    dtypes = tuple(dict.fromkeys(d for sides in candidate.runs.values() for d in sides))
    apart = [
        one
        for dtype in dtypes
        if dtype not in DTYPES
        for one in promotions.differing_dtypes(
            {c: known["output_dtypes"][dtype][n] for c, n in shown.items()},
            {n: (kind, spot and Spot(**spot)) for n, (kind, spot) in own["output_dtypes"][dtype].items()},
            dtype,
        )
    ]
    if judged.probed is not None:
        outcome.findings = (*outcome.findings, *judged.probed.findings)
    quantities = [promotions.judge(q, apart) for q in judged.quantities]
    promoted = {one.dtype for one in apart}
    rest = [] if judged.failed else [dtype for dtype in dtypes if dtype not in promoted]
    sides = RecordedTraces(reference.place, shown), RecordedTraces(candidate.place)
    keys = compared_in(
        rest, wide=all(side.in_float64 for side in sides), backward=why is None and not reference.streamed
    )
    held, unheld = held_precision.compared(sides[0].held, sides[1].held, keys, progress)
    for roundings in held:
        quantities = [held_precision.judge(q, roundings) for q in quantities]
        outcome.findings = (*outcome.findings, *held_precision.remarks(roundings))
    named = named_on_both_sides(quantities, own["names"], turned=own["turned"])
    pairs = [Misfit(**one) for one in own["misfits"]]
    apart_in_shape = judge_misfits(pairs, bool(judged.failed), turned=own["turned"])
    outcome.quantities = [*candidate.quantities, *apart_in_shape, *named]
    own_loss = known["own_loss"]
    outcome.not_checked = not_checked(
        settings, dtypes, left_out, judged, own_loss=own_loss, forward_alone=reference.streamed
    )
    outcome.not_checked = (*outcome.not_checked, *by_result)
    if not reference.streamed:
        needed = "that needs the candidate itself (parity.check, or compare with its file)"
        outcome.not_checked = (*outcome.not_checked, f"where the two sides part: {needed}")
    if why is not None:
        line = f"gradients: the {candidate.framework} model cannot be differentiated ({why})"
        outcome.not_checked = (line, *outcome.not_checked)
    outcome.not_checked = (*outcome.not_checked, *unheld)
    if settings.localise:
        outcome.divergences = tuple(promotions.places(apart))
        for roundings in held:
            outcome.divergences += tuple(held_precision.places(roundings))
    if reference.streamed and judged.failed and settings.localise:
        from parity.pipeline.recorded_places import find_place

        progress("looking for the place")
        places = reference.place, candidate.place
        found = find_place(places, judged.failed[0].run.title, shown, own_loss=own_loss)
        outcome.divergences = (*found.divergences, *outcome.divergences)
        outcome.growth, outcome.unplaced = found.growth, found.unplaced
        outcome.findings = (*outcome.findings, *filter(None, (found.unplaced,)))
    return outcome


def sorted_sides(one: Recording, other: Recording) -> tuple[Recording, Recording]:
    """The reference's recording and the candidate's.

    Args:
        one: of either.
        other: of the other side.

    Raises:
        ValueError: if they are not one of each, or did not run with the same numbers.
    """
    if one.role == other.role:
        raise ValueError(
            f"both recordings are of a {one.role}; compare one of a reference with one of a candidate"
        )
    if one.streamed != other.streamed:
        raise ValueError(
            "one of the recordings was made with `stream` (--stream) and the other without; record both alike"
        )
    if one.key != other.key:
        raise ValueError(
            "the candidate ran with the weights and inputs of another recording; record it again with "
            "`against` (--against) set to this one"
        )
    return (one, other) if one.role == "reference" else (other, one)
