"""What must be known before JAX's side can run: layouts, outputs and weights, settled by PyTorch's recording.

What `parity.pipeline.preparing` settles by running both models is settled here by the recorded outputs.
"""

from collections.abc import Collection
from typing import Any, NamedTuple, NoReturn

import numpy as np

from parity.frameworks.jax.jax_model import JaxModel, read_jax
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.task import Task, said_by
from parity.frameworks.torch.torch_program import TorchModel
from parity.frameworks.uses import jax_uses
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Stage, Values
from parity.pipeline import image_layouts as layouts
from parity.pipeline.pairs import Pair, find, joined
from parity.pipeline.preparing import dtypes_in_use, narrow_in, settle_outputs
from parity.pipeline.recordings import Recording
from parity.trace.graph import Kind, Spot
from parity.weights import Pins, Plan

NEAR = 1e-6
"""Outputs that agree to this relative difference in float64 settle which of several plans is meant."""


class Wishes(NamedTuple):
    """What the user says of the weights, layouts and outputs; see `parity.check`.

    Attributes:
        given: template or params.
        converted: whether they are params that the user converted.
        pins, allow_unused, allow_missing, layout, outputs: as in `parity.check`.
    """

    given: Any
    converted: bool
    pins: Pins | None
    allow_unused: Collection[str]
    allow_missing: Collection[str]
    layout: layouts.Layout
    outputs: Any


class Settled(NamedTuple):
    """A pair that can be run on JAX's side.

    Attributes:
        pair: the recorded weights and the JAX model, with the plan between them.
        task: with the layout of the inputs and the outputs that are compared.
        dtypes: to be judged.
        notes: what was chosen, in words.
        outputs: names of the outputs that are compared.
    """

    pair: Pair
    task: Task
    dtypes: tuple[str, ...]
    notes: tuple[str, ...]
    outputs: list[str]


def settle(torch: Recording, jax_model: Any, task: Task, wishes: Wishes, stage: Stage) -> Settled:
    """Try the layouts in which images may lie, the plainest first, and take the one that agrees best.

    Raises:
        Exception: the first that the model or the plan raised, if there is no such layout.
    """
    inputs = {name: torch.inputs[0][name] for name in task.inputs}
    said = {name: axes for name, axes in wishes.layout.items() if name in inputs}
    found: list[Settled] = []
    first: Exception | None = None
    for candidate in layouts.candidates(inputs, said):
        stage("trying channels last" if candidate else "reading the JAX model")
        try:
            found.append(_settled(torch, jax_model, task._replace(layout=candidate), wishes))
        except Exception as error:  # another layout may do; if none does, the first error is the user's
            first = first or error
    if not found:
        raise first or ValueError("no layout of the inputs fits the JAX model")
    if len(found) == 1:
        return found[0]
    return min(found, key=lambda one: _gap(torch, one.task, one.pair.candidate, one.pair.jax_weights))


def _settled(torch: Recording, jax_model: Any, task: Task, wishes: Wishes) -> Settled:
    given, layout = torch.inputs[0], task.layout
    with said_by("JAX"):
        laid_out = {n: given[n].transpose(layout[n]) if n in layout else given[n] for n in task.inputs}
        theirs = read_jax(jax_model, wishes.given, laid_out)
        shapes = JaxProgram(theirs, task).returned_shapes(given)
    recorded = _recorded(torch)["outputs"]
    task, notes = settle_outputs(task, recorded, shapes, wishes.outputs, wishes.layout)
    outputs = _common(list(recorded), list(task.jax_outputs(shapes)), task.jax_loss is not None)
    ours = {dtype: Spot(**spot) for dtype, spot in torch.settings["narrow"].items()}
    narrow = narrow_in(JaxProgram(theirs, task).jaxpr({}, given))
    numbers = tuple(torch.settings["numbers"])
    task = task._replace(rounding=bool(narrow) and not ours, numbers=numbers)
    dtypes, remarks = dtypes_in_use(ours, narrow)
    model = _torch_model(torch)
    plan = _plan(torch, model, theirs, task, wishes)
    chosen = layouts.in_words({name: axes for name, axes in layout.items() if name not in wishes.layout})
    return Settled(
        joined(model, theirs, plan, converted=wishes.converted),
        task,
        tuple(torch.settings["dtypes"] or dtypes),
        (*theirs.notes, *notes, *chosen, *remarks),
        outputs,
    )


def _common(ours: list[str], theirs: list[str], own_loss: bool) -> list[str]:
    """The outputs that both sides have.

    Raises:
        ValueError: if the recorded loss, a projection of the outputs, is made of some that JAX lacks.
    """
    common = [name for name in ours if name in theirs]
    if not own_loss and set(ours) != set(theirs):
        raise ValueError(
            f"PyTorch's side recorded the outputs {', '.join(ours)}, of which JAX's model returns "
            f"{', '.join(common) or 'none'}; the gradients compared are those of all of them together, so "
            f"record PyTorch's side with outputs={common!r}"
        )
    return common


def _plan(torch: Recording, model: TorchModel, theirs: JaxModel, task: Task, wishes: Wishes) -> Plan:
    """The plan, with the evidence of PyTorch's recording; ties are settled by its outputs."""
    given = torch.inputs[0]
    program = JaxProgram(theirs, task)
    names = [name if kind is Kind.WEIGHT else None for kind, name in program.arguments({}, given)]
    uses = {name: s.use for name, s in torch.signatures.items() if s.use is not None}

    def try_plan(plan: Plan) -> float:
        leaves = plan.to_leaves({n: a for n, a in model.weights.items() if n not in plan.unused})
        return float(_gap(torch, task, theirs, leaves) <= NEAR)

    return find(
        model,
        theirs,
        wishes.pins,
        wishes.allow_unused,
        wishes.allow_missing,
        uses=(uses, jax_uses(program.jaxpr({}, given), names)),
        try_plan=try_plan,
    )


def _gap(torch: Recording, task: Task, theirs: JaxModel, leaves: Arrays) -> float:
    """The largest relative difference from PyTorch's outputs in float64; infinite for another shape."""
    outputs = JaxProgram(theirs, task)(leaves, torch.inputs[0], "float64")["outputs"]
    gaps = [0.0]
    for name, ours in _recorded(torch)["outputs"].items():
        if name in outputs and outputs[name].shape != ours.shape:
            return np.inf
        if name in outputs and ours.size:
            gaps.append(float(np.max(np.abs(outputs[name] - ours)) / (np.max(np.abs(ours)) or 1.0)))
    return float(np.nan_to_num(max(gaps), nan=np.inf))


def _recorded(torch: Recording) -> Values:
    """What PyTorch's side gave in float64, in the first run."""
    dtype, side = next(iter(torch.runs[""].items()))
    return side.base if dtype == "float64" else side.other


def _torch_model(torch: Recording) -> TorchModel:
    """PyTorch's model as far as the recording knows it."""
    settings = torch.settings
    return TorchModel(
        _absent,
        dict(torch.weights),
        tuple(settings["trainable"]),
        dict(torch.signatures),
        _absent,
        tables=tuple(settings["tables"]),
    )


def _absent(*args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError("PyTorch's model is not here: only its recording is")
