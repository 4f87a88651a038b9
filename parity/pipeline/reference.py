"""The reference of a comparison: all that the candidate's side, wherever it runs, has to know of it."""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np

from parity.frameworks.model import Model, Program
from parity.frameworks.opening import framework_of, open_model
from parity.frameworks.outputs import name_outputs, unnamed_outputs
from parity.frameworks.task import Task
from parity.numerics.arrays import Arrays, in_float32, is_float
from parity.numerics.draws import Draw
from parity.numerics.finite_differences import Slope
from parity.numerics.progress import Progress
from parity.numerics.unread import UnreadArrays
from parity.pipeline.candidate_draws import candidate_draws
from parity.pipeline.request import Request
from parity.report.errors import by_the_harness, raised_by
from parity.trace.computed_constants import computed_in
from parity.trace.graph import Spot, Trace
from parity.weights import Signature

MOST_NUMBERS = 4096
"""How many numbers of a reference are kept, by which constants of the candidate are recognised."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """The reference, live or from a recording.

    Attributes:
        framework: "PyTorch" or "JAX".
        task: what it computes: inputs, loss, outputs, device.
        inputs: every set of inputs and targets, in its own layout.
        weights: by name, starting_weights to float32, so that all precisions start from the same numbers.
        signatures: what the weight plan knows of each weight, first uses included.
        trainable: names of the weights that gradients are compared of.
        tables: names of weights that may stay without a partner.
        outputs: of the first inputs, without noise, in float64, by its own names.
        numbers: those that its program holds, by which float32 constants of the candidate are recognised.
        narrow: bfloat16 and float16 inside it, with the first place of each.
        computed: those of them that it computes in, rather than rounding single values to them.
        notes: what was done to the model or chosen for it.
        remarks: what is worth saying of it besides.
        left: outputs that cannot be compared, with their types.
        model: the model itself; None where only its recording is here.
        trace: of the forward pass, where there is one.
        output_dtypes: of a recording: dtype of a run -> dtypes of its outputs.
        draws: the random numbers that it draws, in order, if they are shared with the candidate.
        slope: of a recording: a finite difference of its loss along all trained weights, if measured.
    """

    framework: str
    task: Task
    inputs: tuple[Arrays, ...]
    weights: Arrays
    signatures: Mapping[str, Signature]
    trainable: tuple[str, ...]
    tables: tuple[str, ...]
    outputs: Arrays
    numbers: tuple[float, ...] = ()
    narrow: Mapping[str, Spot] = dataclasses.field(default_factory=dict)
    computed: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    model: Model | None = None
    trace: Trace | None = None
    output_dtypes: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    slope: Slope | None = None
    draws: tuple[Draw, ...] = ()

    def program(self, task: Task | None = None, *, trainable: Collection[str] | None = None) -> Program:
        """The reference's program.

        Args:
            task: None for its own.
            trainable: names of the weights to differentiate by; None for all that are trained.

        Raises:
            ValueError: if only its recording is here.
        """
        if self.model is None:
            raise ValueError("the reference is not here: only its recording is")
        return self.model.program(self.task if task is None else task, trainable=trainable)


def open_reference(request: Request, progress: Progress) -> Reference:
    """Open the reference, run it once as it is and once lifted, and trace its forward pass.

    Raises:
        TypeError, ValueError: for a model or inputs that cannot be run; what the model itself raises is
            passed on with a note.

    Args:
        request: what is to be compared.
        progress: called with each step, in words.
    """
    progress("reading the reference")
    given = request.inputs[0]
    task = Task(request.input_names, request.losses[0], device=request.settings.device)
    inputs = {name: given[name] for name in task.inputs}
    params = request.weights.reference_params
    streaming = request.streaming
    framework = framework_of(request.reference, params, "PyTorch")
    drawing = framework == "JAX" and candidate_draws(request)
    model = open_model(
        request.reference,
        params,
        inputs,
        default="PyTorch",
        role="reference",
        streaming=streaming,
        drawing=drawing,
    )
    if request.weights.weights_file is not None and streaming is None:
        raise ValueError(
            "`weights_file` is read one tensor at a time: by `parity.record` with `stream` alone"
        )
    _require_values(model)
    weights = starting_weights(model.weights, f"the {model.framework} weights")
    program = model.program(task, trainable=())
    with raised_by(model.framework):
        out = program.returned(weights, given)
        picked = request.outputs.picked(out, 0)
        name_outputs(picked)
        left = unnamed_outputs(picked)
    census = program.census(weights, given)
    drawn = program.draws(weights, given) if drawing or census.random else ()
    task = task._replace(shares=() if drawn else None)
    with by_the_harness("lifting the reference to float64"):
        model.program(task, trainable=()).require_repeatable(weights, given, census)
    task = task._replace(
        outputs=lambda out: name_outputs(request.outputs.picked(out, 0)),
        rounding=bool(census.narrow) and not census.computed,
    )
    program = model.program(task._replace(loss=None), trainable=())
    with by_the_harness("lifting the reference to float64"):
        outputs = program(weights, given, "float64")["outputs"]
        trace = program.trace(weights, given, False)
        uses = program.uses(weights, given, trace)
    return Reference(
        model.framework,
        task,
        request.inputs,
        weights,
        {name: signature._replace(use=uses.get(name)) for name, signature in model.signatures.items()},
        model.trainable if streaming is None else (),  # the forward pass alone
        model.tables,
        outputs,
        _numbers(trace),
        census.narrow,
        census.computed,
        model.notes,
        model.remarks(given, task),
        left,
        model,
        trace,
        draws=drawn,
    )


def _numbers(trace: Trace) -> tuple[float, ...]:
    """What a trace holds, and what it computes from constants alone, small tables first."""
    found = dict.fromkeys(trace.numbers())
    for computed in sorted(computed_in(trace), key=lambda computed: computed.wide.size):
        if len(found) + computed.wide.size > MOST_NUMBERS:
            break
        found |= dict.fromkeys(computed.wide.reshape(-1).tolist())
    return tuple(found)


def _require_values(model: Model) -> None:
    """A reference must have weights of its own.

    Raises:
        ValueError: if it has only shapes.
    """
    shapes = getattr(model, "shapes_only", ())
    if shapes:
        some = ", ".join(shapes[:6]) + (", ..." if len(shapes) > 6 else "")
        raise ValueError(
            f"the reference has only shapes for its weights ({some}); give their values as `reference_params`"
        )


def starting_weights(weights: Arrays, whose: str) -> Arrays:
    """Weights in float32, from which all precisions start.

    Raises:
        ValueError: if one has NaN in it, naming it; of an unread one, when it is read.

    Args:
        weights: arrays by name.
        whose: how a message calls them: "the JAX weights".
    """
    if isinstance(weights, UnreadArrays):
        return weights.each(lambda name, array: starting_weights({name: array}, whose)[name])
    narrow = {name: in_float32(array) for name, array in weights.items()}
    broken = [name for name, array in narrow.items() if is_float(array) and np.isnan(array).any()]
    if broken:
        raise ValueError(f"{whose} {', '.join(broken)} have NaN in them: nothing can be compared")
    return narrow
