"""Recordings of models that do not fit into memory: what a request asks for then, and traces as they come."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from parity.frameworks.model import Program
from parity.frameworks.unread_weights import Streaming, names_in_files
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side, SideByDtype, Values
from parity.numerics.progress import Progress, ReadingProgress
from parity.numerics.unread import UnreadArrays
from parity.pipeline.recordings import Recording, fingerprint
from parity.pipeline.request import Request
from parity.pipeline.runs import Run
from parity.pipeline.trace_files import TraceWriter
from parity.pipeline.traces import moved_by_noise
from parity.weights import Signature
from parity.weights.stored_tensors import files_of, stored_tensors


def streamed_reference(request: Request, progress: ReadingProgress) -> tuple[Request, tuple[str, ...]]:
    """A request whose reference is read at each use, and the files that its weights are read from.

    Args:
        request: of the reference.
        progress: told of every tensor that is read.

    Raises:
        ValueError: if a file cannot be read.
    """
    files = () if request.weights.weights_file is None else files_of(request.weights.weights_file)
    stored = stored_tensors(files).each(progress.reading) if files else None
    settings = dataclasses.replace(request.settings, finite_differences=False, moved_weights=False)
    streaming = Streaming(stored)
    return dataclasses.replace(request, streaming=streaming, settings=settings), tuple(map(str, files))


def streamed_candidate(
    recorded: Recording, request: Request, progress: ReadingProgress
) -> tuple[Recording, Request]:
    """A recorded reference, and a request for a candidate whose weights are read from it at each use.

    Args:
        recorded: the reference.
        request: of the candidate.
        progress: told of every tensor that is read.

    Raises:
        ValueError: if the candidate comes with weights of its own.
    """
    if request.weights.params is not None:
        raise ValueError(
            "`params` are the candidate's own weights, which are not checked with `stream`; give them, or "
            "their shapes, as `template`: the candidate is loaded from the reference's"
        )
    weights = recorded.weights
    if isinstance(weights, UnreadArrays):
        weights = weights.each(progress.reading)
    return recorded._replace(weights=weights), dataclasses.replace(
        request, streaming=Streaming(to_be_loaded=True)
    )


def require_same_streaming(recorded: Recording, stream: bool) -> None:
    """A candidate is recorded, or run, as its reference was.

    Raises:
        ValueError: if one of the two is streamed and the other is not.

    Args:
        recorded: the reference.
        stream: whether the candidate's weights are read at each use.
    """
    if recorded.streamed and not stream:
        raise ValueError(
            "the reference was recorded with `stream` (--stream); record the candidate with it, too, and "
            "compare the two recordings"
        )
    if stream and not recorded.streamed:
        raise ValueError(
            "the reference was recorded without `stream` (--stream), gradients and all; record it with it, "
            "or the candidate without"
        )


def require_same_weights(recorded: Recording) -> None:
    """The weights' files hold what they held when the reference was recorded.

    Raises:
        ValueError: if a number in them is another one.

    Args:
        recorded: a streamed reference.
    """
    if fingerprint([recorded.weights]) != recorded.settings["weights_key"]:
        where = ", ".join(recorded.weights_files) or "the weights beside the recording"
        raise ValueError(
            f"{where}: changed since the reference was recorded with them; record the reference again"
        )


def left_in_files(request: Request, signatures: Mapping[str, Signature]) -> tuple[str, ...]:
    """What to say of tensors in the weights' files that the reference does not have.

    Args:
        request: of the reference.
        signatures: of the weights that it has.
    """
    stored = None if request.streaming is None else request.streaming.stored
    names = {known for name, one in signatures.items() for known in names_in_files(name, one.tied)}
    left = [name for name in stored or () if name not in names]
    if not left:
        return ()
    some = ", ".join(left[:6]) + (", ..." if len(left) > 6 else "")
    return (f"the weights' files hold {some}, which <reference> does not have: not read",)


def write_streamed_traces(
    program: Program, weights: Arrays, runs: Iterable[Run], place: Path, progress: Progress
) -> None:
    """Run the forward pass in float64 and write every value as it is computed; once more with noise.

    Args:
        program: of either side.
        weights: what it runs with.
        runs: whose inputs are taken.
        place: the recording's directory.
        progress: called as each phase begins.
    """
    for run in runs:
        progress("writing every value")
        writer = TraceWriter(place, run.title, backward=False)
        trace = program.trace(weights, run.inputs, False, keep=writer.keep)
        writer.flush()
        progress("how far noise moves every value")
        writer.finish(trace, moved_by_noise(program, weights, run.inputs, trace))


def outputs_alone(sides: SideByDtype) -> SideByDtype:
    """Values without the projection of the outputs, which stands in for a loss to differentiate by.

    Args:
        sides: of one run.
    """

    def kept(values: Values) -> Values:
        return {"outputs": values["outputs"]}

    return {dtype: Side(kept(side.base), kept(side.moves), kept(side.other)) for dtype, side in sides.items()}


def judged_dtypes(asked: Iterable[str] | None, computed: Iterable[str]) -> tuple[str, ...]:
    """The dtypes that a streamed reference is run in: float64, and the one that it computes in.

    Args:
        asked: by the user; None: its own.
        computed: narrow dtypes that it computes in.

    >>> judged_dtypes(None, ["bfloat16"]), judged_dtypes(None, [])
    (('float64', 'bfloat16'), ('float64', 'float32'))
    """
    if asked is not None:
        return tuple(asked)
    return ("float64", *itertools.islice([*sorted(computed), "float32"], 1))
