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
from parity.pipeline.recordings import Recording, read, require_room, write
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
    if side == "reference":
        from parity.pipeline.recording_sides import record_reference

        request = Request.of(reference, None, inputs, **_for_reference(given))
        recording, traces = record_reference(request, trace, progress)
    else:
        from parity.pipeline.recording_sides import record_candidate

        if against is None:
            raise ValueError(
                "the candidate needs `against`, the directory of the reference's recording, whose weights "
                "and inputs it runs with; record the reference first"
            )
        if Path(against).resolve() == place.resolve():
            raise ValueError(f"{place} holds the reference; give another directory for the candidate's")
        recording, traces = record_candidate(read(against), _for_candidate(candidate, given), progress), {}
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
        was recorded with its trace.

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
        outcome = _both_recorded(*_sorted(one, read(second)), progress)
    return outcome.report(time.perf_counter() - started)


def _both_recorded(reference: Recording, candidate: Recording, progress: Progress) -> Outcome:
    """Two recordings judged: numbers only, so that neither framework is needed."""
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
    outcome.not_checked = (
        *not_checked(settings, dtypes, own["left_out"], judged, own_loss=known["own_loss"]),
        "where the two sides part: that needs the candidate itself (parity.check, or compare with its file)",
    )
    if why is not None:
        line = f"gradients: the {candidate.framework} model cannot be differentiated ({why})"
        outcome.not_checked = (line, *outcome.not_checked)
    outcome.divergences = tuple(promotions.places(apart))
    return outcome


def recorded_settings(reference: Recording) -> Settings:
    """The settings that a reference was recorded with."""
    return Settings(**reference.settings["settings"])


def recorded_slope(reference: Recording) -> Slope | None:
    """The recorded finite difference of the reference's loss, if there is one."""
    known = reference.settings["slope"]
    if known is None:
        return None
    return Slope(tuple(known["names"]), float(known["value"]), float(known["bound"]), tuple(known["refused"]))


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


def _sorted(one: Recording, other: Recording) -> tuple[Recording, Recording]:
    """The reference's and the candidate's.

    Raises:
        ValueError: if they are not one of each, or did not run with the same numbers.
    """
    if one.role == other.role:
        raise ValueError(
            f"both recordings are of a {one.role}; compare one of a reference with one of a candidate"
        )
    reference, candidate = (one, other) if one.role == "reference" else (other, one)
    if reference.key != candidate.key:
        raise ValueError(
            "the candidate ran with the weights and inputs of another recording; record it again with "
            "`against` (--against) set to this one"
        )
    return reference, candidate


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
