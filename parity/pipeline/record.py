"""`record` and `compare`: the two sides of a comparison one at a time, in processes or on machines apart.

    parity.record("torch-side", reference=module, inputs={"x": x})          # where PyTorch is
    parity.record("jax-side", candidate=net, against="torch-side")          # where JAX is
    print(parity.compare("torch-side", "jax-side"))                         # anywhere: needs neither

The reference is recorded first: it holds the weights and inputs that the candidate then runs with, so that
both see the same numbers and the same noise. What `check` compares is compared, by the same functions.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.numerics.progress import Progress
from parity.pipeline.arguments import CHECK_TRAINING, require_known, sorted_arguments
from parity.pipeline.outcome import Outcome
from parity.pipeline.recorded_pairs import both_recorded, sorted_sides
from parity.pipeline.recorded_training import TrainingRecord, is_training, read_training, write_training
from parity.pipeline.recordings import Recording, clear, read, require_room, write
from parity.pipeline.request import Request, Settings, Weights
from parity.report.results import Report

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
            may be given flat. Those that say nothing of this side are ignored. With `batches`, or against a
            recording of training, those of `parity.check_training`: then it is recorded how the side trains.

    Returns:
        The recording.

    Raises:
        TypeError, ValueError: if an argument is missing or wrong, or the weights do not pair up.
        Exception: what the model raises, with a note that names the side.
    """
    place = require_room(directory)
    traces: Mapping[Any, Any] = {}
    training: TrainingRecord | None = None
    if "batches" in arguments or (against is not None and is_training(Path(against))):
        if stream:
            raise ValueError("training is not recorded with `stream`; leave it out")
        given = {"reference": reference, "candidate": candidate, **arguments}
        given = {name: value for name, value in given.items() if value is not None}
        recording, traces, training = _trained(place, given, side, against, trace, progress)
    else:
        require_known(arguments)
        given = sorted_arguments({k: v for k, v in arguments.items() if k not in ("oracles",)})
        stream_to = place if stream else None
        if stream and trace:
            raise ValueError("`stream` writes every value by itself; leave `trace` out")
        from parity.pipeline.recording_sides import record_candidate, record_reference

        if _side(side, reference, candidate) == "reference":
            request = Request.of(reference, None, inputs, **_for_reference(given))
            recording, traces = record_reference(request, trace, progress, stream_to=stream_to)
        else:
            expected = _against(against, place)
            request = _for_candidate(candidate, given)
            recording = record_candidate(expected, request, progress, stream_to=stream_to)
    if not stream:
        clear(place)
    if training is not None:
        write_training(training, place)
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
        second: directory of the other side's, or arguments of `parity.check` with `candidate`; where `first`
            is of training, of `parity.check_training`.
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
    if not isinstance(second, Mapping) and is_training(Path(first)) != is_training(Path(second)):
        trained, other = (first, second) if is_training(Path(first)) else (second, first)
        raise ValueError(f"{trained} is a recording of training, {other} of a check: record both alike")
    if is_training(Path(first)):
        return _compare_training(one, second, progress).report(time.perf_counter() - started)
    if isinstance(second, Mapping):
        from parity.pipeline.recording_sides import compare_live

        given = {k: v for k, v in second.items() if k not in ("reference", "inputs", "progress", "oracles")}
        request = _for_candidate(given.pop("candidate", None), sorted_arguments(given))
        outcome = compare_live(one, Path(first), request, progress)
    else:
        outcome = both_recorded(one, read(second), progress)
    return outcome.report(time.perf_counter() - started)


def _trained(
    place: Path,
    arguments: Mapping[str, Any],
    side: str | None,
    against: Directory | None,
    trace: bool,
    progress: Progress,
) -> tuple[Recording, Mapping[Any, Any], TrainingRecord]:
    """One side, trained by arguments of `parity.check_training`: its recording, traces and training."""
    from parity.pipeline import recording_training

    given = sorted_arguments(arguments, CHECK_TRAINING)
    if given.get("state") is not None:
        raise ValueError(
            "step functions (`state`) are not recorded; compare them in one process (check_training)"
        )
    if _side(side, given.get("reference"), given.get("candidate")) == "reference":
        return recording_training.train_reference(given, trace, progress)
    one = _against(against, place)
    request = _for_candidate(given["candidate"], given)
    recording, record = recording_training.record_candidate_training(
        one, read_training(one.place), request, given, progress
    )
    return recording, {}, record


def _compare_training(one: Recording, second: Directory | Mapping[str, Any], progress: Progress) -> Outcome:
    """`compare` of recordings of training."""
    from parity.pipeline import recording_training

    if isinstance(second, Mapping):
        given = sorted_arguments(
            {n: v for n, v in second.items() if n not in ("reference", "progress")}, CHECK_TRAINING
        )
        expected = read_training(one.place)
        request = _for_candidate(given.get("candidate"), given)
        return recording_training.compare_live_training(one, expected, request, given, progress)
    other = read(second)
    pair = sorted_sides(one, other)
    records = tuple(read_training(side.place) for side in pair)
    return recording_training.judge_recorded(pair, (records[0], records[1]), None, progress)


def _against(against: Directory | None, place: Path) -> Recording:
    """The reference's recording, for the candidate to run with.

    Raises:
        ValueError: if it is not given, or is what would be written over.
    """
    if against is None:
        raise ValueError(
            "the candidate needs `against`, the directory of the reference's recording, whose weights "
            "and inputs it runs with; record the reference first"
        )
    if Path(against).resolve() == place.resolve():
        raise ValueError(f"{place} holds the reference; give another directory for the candidate's")
    return read(against)


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
