"""`record` and `compare`: the two sides of a comparison one at a time, in processes or on machines apart.

    parity.record("torch-side", reference=module, inputs={"x": x})          # where PyTorch is
    parity.record("jax-side", candidate=net, against="torch-side")          # where JAX is
    print(parity.compare("torch-side", "jax-side"))                         # anywhere: needs neither

The reference is recorded first: it holds the weights and inputs that the candidate then runs with, so that
both see the same numbers and the same noise. What `check` compares is compared, by the same functions.
"""

import dataclasses
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from parity.numerics.arrays import DTYPES, Arrays
from parity.numerics.finite_differences import Slope
from parity.numerics.noise import REPEATS, SideByDtype
from parity.numerics.progress import Progress
from parity.pipeline.arguments import require_known, sorted_arguments
from parity.pipeline.judging import judge_runs, named_on_both_sides, not_checked
from parity.pipeline.outcome import Outcome
from parity.pipeline.recordings import Recording, clear, read, require_room, write
from parity.pipeline.reference import Reference
from parity.pipeline.request import Request, Settings, Weights
from parity.pipeline.runs import Run
from parity.report.results import Environment, Report
from parity.report.sides import Sides
from parity.trace.graph import Spot

Directory = str | os.PathLike[str]

ROLES = ("reference", "candidate")


def record(
    directory: Directory,
    reference: object = None,
    candidate: object = None,
    inputs: object = None,
    *,
    side: str | None = None,
    against: Directory | None = None,
    trace: bool = False,
    stream: bool = False,
    progress: Progress = lambda text: None,
    **arguments: object,
) -> Recording:
    """Run one side of a comparison with and without noise, and keep what the other is compared with.

    Args:
        directory: where to write; made if it is not there. An older recording is replaced.
        reference: as in `parity.check`.
        candidate: as in `parity.check`.
        inputs: as in `parity.check` (the reference's; the candidate takes those recorded).
        side: "reference" or "candidate"; needed only if both models are given.
        against: the reference's recording (for the candidate).
        trace: whether to keep every value of the reference, too, so that comparing it with a live candidate
            finds the place and the cause of a difference.
        stream: for models whose weights do not fit into memory: each is read from its file when an operation
            uses it, and every value of the forward pass is written as it comes. Both sides are recorded so.
        progress: called with a short description as each phase begins.
        **arguments: other arguments of `parity.check`; the fields of `parity.Weights` and `parity.Settings`
            may be given flat. Those that say nothing of this side are ignored.

    Returns:
        The recording.

    Raises:
        TypeError, ValueError: if an argument is missing or wrong, or the weights do not pair up.
        Exception: what the model raises, with a note that names the side.
    """
    place = require_room(directory)
    require_known(arguments)
    given = sorted_arguments({k: v for k, v in arguments.items() if k not in ("oracles",)})
    side = _side(side, reference, candidate)
    stream_to = place if stream else None
    if stream and trace:
        raise ValueError("`stream` writes every value by itself; leave `trace` out")
    if side == "reference":
        from parity.pipeline.recording_sides import record_reference

        request = Request.of(reference, None, inputs, **_for_reference(given))
        recording, traces = record_reference(request, trace, progress, stream_to=stream_to)
    else:
        from parity.pipeline.recording_sides import record_candidate

        if against is None:
            raise ValueError(
                "the candidate needs `against`, the directory of the reference's recording, whose weights "
                "and inputs it runs with; record the reference first"
            )
        if Path(against).resolve() == place.resolve():
            raise ValueError(f"{place} holds the reference; give another directory for the candidate's")
        request = _for_candidate(candidate, given)
        recording = record_candidate(read(against), request, progress, stream_to=stream_to)
        traces = {}
    if not stream:
        clear(place)
    write(recording, place)
    if traces:
        from parity.pipeline.trace_files import write_traces

        write_traces(traces, place)
    return recording


def compare(
    first: Directory, second: Directory | Mapping[str, Any], *, progress: Progress = lambda text: None
) -> Report:
    """Compare two recordings, or one of the reference with a candidate that is run now.

    Args:
        first: directory of a recording.
        second: directory of the other side's, or arguments of `parity.check` with `candidate`.
        progress: called with a short description as each phase begins.

    Returns:
        The report, as `parity.check` gives it. Places and causes need a live candidate and a reference that
        was recorded with its trace; of two recordings with `stream` the place is found, too.

    Raises:
        TypeError, ValueError: if a recording cannot be read, or the two do not belong together.
        Exception: what the candidate raises, with a note.
    """
    started = time.perf_counter()
    one = read(first)
    if isinstance(second, Mapping):
        from parity.pipeline.recording_sides import compare_live

        given = {k: v for k, v in second.items() if k not in ("reference", "inputs", "progress", "oracles")}
        request = _for_candidate(given.pop("candidate", None), sorted_arguments(given))
        outcome = compare_live(one, Path(first), request, progress)
    else:
        outcome = _both_recorded(*_sorted((one, Path(first)), (read(second), Path(second))), progress)
    return outcome.report(time.perf_counter() - started)


def _both_recorded(
    reference_at: tuple[Recording, Path], candidate_at: tuple[Recording, Path], progress: Progress
) -> Outcome:
    """Two recordings judged: numbers only, so that neither framework is needed."""
    (reference, _), (candidate, _) = reference_at, candidate_at
    settings = recorded_settings(reference)
    known, own = reference.settings, candidate.settings
    outcome = Outcome(reference.name, sides=Sides.of(reference.framework, candidate.framework))
    outcome.plan = candidate.plan
    outcome.environment = joined_environment(reference, candidate)
    outcome.findings = tuple(dict.fromkeys((*reference.findings, *candidate.findings)))
    shown: Mapping[str, str] = own["outputs"]
    runs = [
        Run(title, {}, {}, tuple(sides), REPEATS) for title, sides in candidate.runs.items()
    ]  # values only: nothing runs

    def sides_of(run: Run, progress: Progress) -> dict[str, SideByDtype]:
        from parity.pipeline.shown import compared_outputs

        expected = reference.runs[run.title]
        return {
            "reference": {d: compared_outputs(expected[d], shown) for d in run.dtypes},
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
    from parity.pipeline import promotions

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
    named = named_on_both_sides(quantities, own["names"], turned=own["turned"])
    outcome.quantities = [*candidate.quantities, *named]
    own_loss = known["own_loss"]
    outcome.not_checked = not_checked(
        settings, dtypes, own["left_out"], judged, own_loss=own_loss, forward_alone=reference.streamed
    )
    if not reference.streamed:
        needed = "that needs the candidate itself (parity.check, or compare with its file)"
        outcome.not_checked = (*outcome.not_checked, f"where the two sides part: {needed}")
    if why is not None:
        line = f"gradients: the {candidate.framework} model cannot be differentiated ({why})"
        outcome.not_checked = (line, *outcome.not_checked)
    outcome.divergences = tuple(promotions.places(apart))
    if reference.streamed and judged.failed and settings.localise:
        from parity.pipeline.recorded_places import find_place

        progress("looking for the place")
        title, places = judged.failed[0].run.title, (reference_at[1], candidate_at[1])
        found = find_place(places, title, shown, own_loss=own_loss)
        outcome.divergences = (*found.divergences, *outcome.divergences)
        outcome.growth, outcome.unplaced = found.growth, found.unplaced
        outcome.findings = (*outcome.findings, *filter(None, (found.unplaced,)))
    return outcome


def recorded_settings(reference: Recording) -> Settings:
    """The settings that a reference was recorded with."""
    return Settings(**reference.settings["settings"])


def recorded_slope(reference: Recording) -> Slope | None:
    """The recorded finite difference of the reference's loss, if there is one."""
    known = reference.settings["slope"]
    if known is None:
        return None
    return Slope(tuple(known["names"]), float(known["value"]), float(known["bound"]))


def reference_of(recording: Recording) -> Reference:
    """A recorded reference as the candidate's side sees it.

    Raises:
        ValueError: if the recording is a candidate's.
    """
    from parity.frameworks.task import Task

    if recording.role != "reference":
        raise ValueError("`against` is a recording of a candidate; give that of the reference")
    known = recording.settings
    task = Task(tuple(known["inputs"]), _recorded_loss if known["own_loss"] else None)
    return Reference(
        recording.framework,
        task,
        recording.inputs,
        recording.weights,
        recording.signatures,
        tuple(known["trainable"]),
        tuple(known["tables"]),
        _outputs_in_float64(recording),
        tuple(known["numbers"]),
        {dtype: Spot(**spot) for dtype, spot in known["narrow"].items()},
        frozenset(known["computed"]),
        tuple(recording.findings),
        output_dtypes=known["output_dtypes"],
        slope=recorded_slope(recording),
    )


def _recorded_loss(outputs: object, targets: object) -> NoReturn:
    raise ValueError("the reference is not here: only its recording is")


def _outputs_in_float64(recording: Recording) -> Arrays:
    """What the reference gave in float64, in the first run."""
    dtype, side = next(iter(recording.runs[""].items()))
    return (side.base if dtype == "float64" else side.other)["outputs"]


def _for_reference(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a request for the reference alone; the candidate's part may be None."""
    loss = given.get("loss")
    if loss is not None:
        given = {**given, "loss": (loss[0], loss[0])}
    return dict(given)


def _for_candidate(candidate: object, given: Mapping[str, Any]) -> Request:
    """The request for a candidate whose reference is recorded."""
    from parity.frameworks.outputs import Outputs

    loss = given.get("loss")
    wanted = Outputs.of(given.get("outputs"))
    return Request(
        None,
        candidate,
        losses=(None, loss[1]) if loss is not None else (None, None),
        outputs=wanted._replace(picks=(None, wanted.picks[1])),
        layout={name: tuple(axes) for name, axes in (given.get("layout") or {}).items()},
        weights=given.get("weights") or Weights(),
        settings=given.get("settings") or Settings(),
        name=given.get("name", "check"),
    )


def _side(side: str | None, reference: object, candidate: object) -> str:
    given = [name for name, model in zip(ROLES, (reference, candidate), strict=True) if model is not None]
    if side is None and len(given) == 1:
        return given[0]
    if side not in ROLES:
        raise ValueError(f"`side` is {side!r}; it must be 'reference' or 'candidate'")
    if side not in given:
        raise ValueError(f"`{side}` is missing: it is what `side` {side!r} records")
    return side


def _sorted(
    one_at: tuple[Recording, Path], other_at: tuple[Recording, Path]
) -> tuple[tuple[Recording, Path], tuple[Recording, Path]]:
    """The reference's and the candidate's, each with its directory.

    Raises:
        ValueError: if they are not one of each, or did not run with the same numbers.
    """
    one, other = one_at[0], other_at[0]
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
    return (one_at, other_at) if one.role == "reference" else (other_at, one_at)


def joined_environment(reference: Recording, candidate: Recording) -> Environment:
    """One environment of two: what differs is given for each side.

    Args:
        reference: one recording.
        candidate: the other.
    """
    one, other = reference.environment, candidate.environment

    def both(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
        joined = {}
        for name in dict.fromkeys([*first, *second]):
            values = [side[name] for side in (first, second) if name in side]
            same = len(set(values)) == 1
            joined[name] = values[0] if same else f"{values[0]} (reference) and {values[1]} (candidate)"
        return joined

    return dataclasses.replace(
        one,
        versions=both(one.versions, other.versions),
        devices=both(one.devices, other.devices),
        settings=both(one.settings, other.settings),
    )
