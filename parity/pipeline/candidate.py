"""The candidate of a comparison, opened and settled: its layout, its outputs, the weights it is loaded with.

What names and shapes leave open is settled by running it against what is known of the reference: which input
has its channels last, which weight is used where and which way it lies, which of two plans makes the two
sides agree.
"""

import dataclasses
import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.frameworks.model import Census, Model, Program
from parity.frameworks.opening import framework_of, open_model
from parity.frameworks.outputs import name_outputs, pair_outputs, unnamed_outputs
from parity.frameworks.task import Task
from parity.numerics.arrays import DTYPES, Arrays, Params
from parity.numerics.draws import Share
from parity.numerics.progress import Progress
from parity.pipeline import image_layouts
from parity.pipeline.conversions import Conversion
from parity.pipeline.conversions import remarks_on as remarks_on_conversion
from parity.pipeline.draw_sentences import DrawFault, faults_of, remarks_on
from parity.pipeline.paired_draws import Pairs, hypotheses, paired
from parity.pipeline.planning import load, plan_between
from parity.pipeline.reference import Reference
from parity.pipeline.request import Request
from parity.pipeline.settled_plans import NEAR, gap, settle_plan
from parity.report.errors import Raised, furthest, raised_by
from parity.report.sides import Sides
from parity.trace.graph import Spot
from parity.weights import Plan, WeightError
from parity.weights.partial_plans import Misfit

MOST_LAYOUTS = 2
"""Layouts of the images that are tried where the candidate runs in them but does not agree."""

Names = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Candidate:
    """The candidate, ready to run.

    Attributes:
        model: the model.
        task: what it computes, outputs under the names of the reference.
        plan: from the weights of one side to those of the other.
        weights: what it is loaded with, by its own names, in float32.
        dtypes: to be judged.
        outputs: name under which an output is compared -> the reference's own name of it.
        lacking: outputs of the reference, by its own names, that the candidate does not return.
        notes: what was chosen on the way, in words.
        remarks: what is worth saying besides.
        conversion: of the user's own params, where no whole plan explains them.
        draw_faults: in what its random draws differ from the reference's.
        apart: the largest difference of its outputs from the reference's in float64, relative to their size;
            None where it was not looked at.
        conditions: those of the notes that say how its weights must lie for the outputs to agree.
    """

    model: Model
    task: Task
    plan: Plan
    weights: Arrays
    dtypes: tuple[str, ...]
    outputs: Mapping[str, str]
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()
    conversion: Conversion | None = None
    apart: float | None = None
    draw_faults: tuple[DrawFault, ...] = ()
    conditions: tuple[str, ...] = ()

    @property
    def misfits(self) -> tuple[Misfit, ...]:
        """Weights of other shapes that were meant for each other."""
        return () if self.conversion is None else self.conversion.misfits

    @property
    def computed(self) -> tuple[str, ...] | None:
        """Its weights that are compared by what is computed alone; None where a whole plan explains them."""
        return None if self.conversion is None else self.conversion.computed


def settle_candidate(reference: Reference, request: Request, progress: Progress) -> Candidate:
    """Open the candidate in each layout in which its inputs may lie, and take the one that agrees best.

    Args:
        reference: what is known of the reference.
        request: what the user asked for.
        progress: called as each phase begins.

    Raises:
        TypeError, ValueError: for a model or inputs that cannot be run; what the model itself raises is
            passed on with a note.
        WeightError: if the weights do not pair up.
    """
    inputs = {name: reference.inputs[0][name] for name in reference.task.inputs}
    known = {*inputs, *reference.outputs}
    if unknown := sorted(set(request.layout) - known):
        raise TypeError(f"`layout` names {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    framework = framework_of(request.candidate, params_of(request))
    attempt = _Attempt(
        reference,
        request,
        Sides.of(reference.framework, framework),
        image_layouts.ways_between(reference.framework, framework),
    )
    given = {name: axes for name, axes in request.layout.items() if name in inputs}
    found: list[Candidate] = []
    raised: list[tuple[Exception, image_layouts.Layout]] = []
    either = _could_lie_either_way(inputs, request.layout)

    @functools.cache
    def gap_of(number: int) -> float:
        return gap(reference, forward(found[number]), found[number].weights)

    for layout in image_layouts.candidates(inputs, given, attempt.ways):
        progress("reading the candidate" if layout == given else "trying another layout of the images")
        try:
            found.append(_settled(attempt, layout, progress))
        except Exception as error:  # another layout may do; if none does, one of the errors is the user's
            raised.append((_clearer(attempt, error, layout), layout))
            continue
        settled = not _has_images(inputs, request.layout) or gap_of(len(found) - 1) <= NEAR
        if not either and (settled or len(found) >= MOST_LAYOUTS):
            break
    if not found:
        raise _furthest(attempt, raised)
    if len(found) == 1:
        return found[0]
    progress("trying layouts")
    numbers = range(len(found))
    if not either or min(map(gap_of, numbers)) <= NEAR:
        return found[next((number for number in numbers if gap_of(number) <= NEAR), 0)]
    nearest = found[min(numbers, key=gap_of)]
    return nearest if _share(reference, nearest) > _share(reference, found[0]) else found[0]


def _share(reference: Reference, candidate: Candidate) -> float:
    """How much of the computation agrees: where the outputs differ anyhow, how far says too little."""
    if reference.trace is None:
        return 0.0
    from parity.localise import agreement

    trace = forward(candidate).trace(candidate.weights, reference.inputs[0], False)
    return agreement(reference.trace)(trace)


class _Attempt(NamedTuple):
    """What every attempt at a layout starts from."""

    reference: Reference
    request: Request
    sides: Sides
    ways: tuple[image_layouts.Way, ...]


def params_of(request: Request) -> Params | None:
    """The candidate's params or their shapes, as the user gave them."""
    weights = request.weights
    return weights.params if weights.params is not None else weights.template


def _opened(attempt: _Attempt, layout: image_layouts.Layout) -> tuple[Model, Task]:
    """The model, with a task that has inputs, layout, loss and device but not yet the outputs."""
    reference, request = attempt.reference, attempt.request
    task = Task(
        reference.task.inputs, request.losses[1], layout, request.settings.device, numbers=reference.numbers
    )
    inputs = {name: reference.inputs[0][name] for name in task.inputs}
    params, given, streaming = params_of(request), task.laid_out(inputs), request.streaming
    drawing = bool(reference.draws) and reference.framework == "PyTorch"
    return open_model(
        request.candidate,
        params,
        given,
        default="JAX",
        role="candidate",
        streaming=streaming,
        drawing=drawing,
    ), task


def _settled(attempt: _Attempt, layout: image_layouts.Layout, progress: Progress) -> Candidate:
    """The candidate in one layout of its inputs, its random draws lying as the two sides agree."""
    reference, request = attempt.reference, attempt.request
    given = reference.inputs[0]
    model, task = _opened(attempt, layout)
    out = model.program(task, trainable=()).returned(model.weights, given)
    with raised_by(model.framework):
        picked = request.outputs.picked(out, 1)
    task, names, lacking, notes = _with_outputs(attempt, task, picked, model.updated)
    probe = model.program(task._replace(loss=None), trainable=())
    census = probe.census(model.weights, given)
    own = probe.draws(model.weights, given) if reference.draws or census.random else ()
    if not (reference.draws or own):
        return _with_shares(attempt, layout, _Settling(model, task, census, names, lacking, notes), progress)
    pairs = paired(reference.draws, own)
    first, *others = hypotheses(pairs, attempt.ways, moved=bool(layout))

    def settled(shares: tuple[Share, ...]) -> Candidate:
        settling = _Settling(model, task._replace(shares=shares), census, names, lacking, notes)
        return _with_shares(attempt, layout, settling, progress)

    def agrees(candidate: Candidate) -> bool:
        return gap(reference, forward(candidate), candidate.weights) <= NEAR

    candidate = settled(first)
    if not others or agrees(candidate):
        return _told(candidate, pairs)
    progress("trying other orders of random numbers")
    for shares in others:
        if agrees(other := dataclasses.replace(candidate, task=candidate.task._replace(shares=shares))):
            return _told(other, pairs)
    for shares in others:  # with the wrong masks another plan of the weights may have been taken
        if not any(share.mirrored for share in shares) and agrees(other := settled(shares)):
            return _told(other, pairs)
    return _told(candidate, pairs)


class _Settling(NamedTuple):
    """A candidate that is open, on its way to be settled."""

    model: Model
    task: Task
    census: Census
    names: dict[str, str]
    lacking: Names
    notes: Names


def _told(candidate: Candidate, pairs: Pairs) -> Candidate:
    """The same candidate, with what is to be said of its random draws."""
    faults = faults_of(pairs, any(share.mirrored for share in candidate.task.shares or ()))
    said = (*(fault.text for fault in faults), *remarks_on(pairs))
    return dataclasses.replace(candidate, remarks=(*candidate.remarks, *said), draw_faults=faults)


def _with_shares(
    attempt: _Attempt, layout: image_layouts.Layout, settling: _Settling, progress: Progress
) -> Candidate:
    """The candidate in one layout of its inputs and random draws."""
    reference, request, sides = attempt.reference, attempt.request, attempt.sides
    given = reference.inputs[0]
    model, task, census, names, lacking, notes = settling
    probe = model.program(task._replace(loss=None), trainable=())
    probe.require_repeatable(model.weights, given, census)
    task = task._replace(rounding=bool(census.narrow) and not reference.computed & census.computed)
    dtypes, remarks = dtypes_in_use(reference, model.framework, census)
    converted = request.weights.params is not None
    program = model.program(task._replace(loss=None), trainable=()) if task.rounding else probe
    settled = settle_plan(reference, request.weights, model, program, progress)
    conversion = settled.conversion
    weights = load(settled.plan, reference.weights, model, converted=converted)
    chosen = {name: axes for name, axes in layout.items() if name not in request.layout}
    notes = (
        *model.notes,
        *notes,
        *image_layouts.in_words(chosen, sides),
        *settled.notes,
        *settled.conditions,
    )
    if not any(
        "float" in str(value.dtype) or "complex" in str(value.dtype)
        for value in (reference.outputs[name] for name in names.values())
    ):
        remarks += ("no output is floating: values are compared, and there is nothing to differentiate",)
    remarks += model.remarks(given, task)
    if conversion is not None:
        remarks += remarks_on_conversion(conversion)
    return Candidate(
        model,
        task,
        settled.plan,
        weights,
        dtypes,
        names,
        notes,
        remarks,
        lacking,
        conversion,
        settled.apart,
        conditions=settled.conditions,
    )


def forward(candidate: Candidate) -> Program:
    """The forward pass of a candidate, without the user's loss."""
    return candidate.model.program(candidate.task._replace(loss=None), trainable=())


def dtypes_in_use(
    reference: Reference, framework: str, census: Census
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The dtypes to judge, and what to say of hard-coded ones.

    Args:
        reference: with the narrow dtypes inside it.
        framework: the candidate's.
        census: of the candidate.
    """
    if both := sorted(reference.computed & census.computed):
        return ("float64", both[0]), (
            f"both models compute in {both[0]}: judged in it and, lifted, in float64",
        )
    narrow = census.narrow
    if same := [dtype for dtype in reference.narrow if dtype in narrow]:
        return DTYPES, (f"both models round values to {same[0]}: these roundings stay in every run",)
    remarks = [
        f"{_model(one, reference.framework == framework, role)} computes in {dtype}{_at(spot)}, "
        f"{_model(other, reference.framework == framework, rest)} does not"
        for one, role, other, rest, spots in (
            (reference.framework, "reference", framework, "candidate", reference.narrow),
            (framework, "candidate", reference.framework, "reference", narrow),
        )
        for dtype, spot in spots.items()
    ]
    return DTYPES, tuple(remarks)


def _model(framework: str, alike: bool, role: str) -> str:
    return f"the {role}" if alike else f"the {framework} model"


def _at(spot: Spot) -> str:
    where = f" ({spot.file}:{spot.line})" if spot.file else " (place unknown)"
    return f" in {spot.module}{where}" if spot.module else where


def _clearer(attempt: _Attempt, error: Exception, layout: image_layouts.Layout) -> Exception:
    """Where a model raises because a weight is missing, the list of weights says more than its error."""
    if isinstance(error, WeightError | TypeError):
        return error
    try:
        model, _ = _opened(attempt, layout)
        plan_between(attempt.reference, model, attempt.request.weights)
    except WeightError as mismatch:
        mismatch.add_note(attempt.sides.named(f"<candidate model> raised {type(error).__name__}: {error}"))
        return mismatch
    except Exception:
        return error
    return error


def _furthest(attempt: _Attempt, raised: Sequence[tuple[Exception, image_layouts.Layout]]) -> Exception:
    """Of the errors in all layouts the one to show."""
    if len(raised) == 1:
        return raised[0][0]
    mismatch = next((error for error, _ in raised if isinstance(error, WeightError)), None)
    if mismatch is not None and params_of(attempt.request) is not None:
        return mismatch  # of weights that are the same in every layout
    return furthest([Raised(error, _reached(attempt, layout)) for error, layout in raised])


def _reached(attempt: _Attempt, layout: image_layouts.Layout) -> int | None:
    """How many operations the model computes in a layout before it raises; None if it cannot be opened."""
    try:
        model, task = _opened(attempt, layout)
        return model.program(task, trainable=()).reached(model.weights, attempt.reference.inputs[0])
    except Exception:
        return None


def _could_lie_either_way(inputs: Arrays, given: image_layouts.Layout) -> bool:
    """Whether an input would run in either layout: as many channels as rows."""
    return any(
        name not in given and 3 <= a.ndim <= 5 and a.shape[1] == a.shape[2] == a.shape[-1]
        for name, a in inputs.items()
    )


def _has_images(inputs: Arrays, given: image_layouts.Layout) -> bool:
    """Whether an input has the axes of an image whose channels may lie elsewhere."""
    return any(name not in given and array.ndim >= 4 for name, array in inputs.items())


def _with_outputs(
    attempt: _Attempt, task: Task, picked: object, state: Collection[str]
) -> tuple[Task, dict[str, str], Names, Names]:
    """Which outputs are compared, under which names and in which layout; not the state that is among them.

    Returns:
        The task with its outputs; name under which one is compared -> the reference's own; outputs of the
        reference that the candidate lacks; notes.
    """
    reference, request, sides = attempt.reference, attempt.request, attempt.sides
    wanted = request.outputs._replace(picks=(None, None))
    pairs = pair_outputs(reference.outputs, picked, wanted, sides)
    names = [
        {
            common: next(n for n, v in name_outputs(side).items() if v is value)
            for common, value in pair.items()
        }
        for side, pair in zip((reference.outputs, picked), pairs, strict=True)
    ]
    shapes = [{name: tuple(value.shape) for name, value in pair.items()} for pair in pairs]
    layout = image_layouts.of_outputs(shapes[0], shapes[1], request.layout, attempt.ways, task.layout)
    chosen = {name: axes for name, axes in layout.items() if name not in request.layout}
    notes = [f"output {text}" for text in image_layouts.in_words(chosen, sides)]
    left = [
        [n for n in name_outputs(side) if n not in used.values()]
        for side, used in zip((reference.outputs, picked), names, strict=True)
    ]
    left[0] += reference.left
    left[1] += unnamed_outputs(picked)
    # A state that is returned beside the outputs is compared as running statistics are.
    left[1] = [n for n in left[1] if n.partition("/")[2] not in state]
    for name, unused in zip(sides, left, strict=True):
        if unused:
            notes.append(f"{name}'s outputs {', '.join(unused)}: not compared")

    def outputs(out: object) -> dict[str, Any]:
        own = name_outputs(request.outputs.picked(out, 1))
        compared = {common: own[name] for common, name in names[1].items()}
        for name, axes in layout.items():
            if name in compared and compared[name].ndim == len(axes):
                back = tuple(int(axis) for axis in np.argsort(axes))
                array = compared[name]
                compared[name] = array.permute(back) if hasattr(array, "permute") else array.transpose(back)
        return compared

    lacking = tuple(own for common, own in names[0].items() if common not in names[1])
    return task._replace(outputs=outputs), names[0], lacking, tuple(notes)
