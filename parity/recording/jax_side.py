"""JAX's side of a comparison, with the weights and inputs of a recording of PyTorch's."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from parity import layouts
from parity.arrays import Arrays
from parity.jitter import moved_alike
from parity.noise import Sides, Stage, Subject, measure
from parity.precision import environment, pinned, require_device
from parity.programs import Task, said_by
from parity.recording.files import Recording
from parity.recording.torch_side import MOVED, all_runs, said
from parity.weights import Pins, Plan

if TYPE_CHECKING:
    from parity.pairs import Pair
    from parity.torch_side import TorchModel

NEAR = 1e-6
"""Outputs that agree to this relative difference in float64 settle which of several plans is meant."""


def record_jax(
    torch: Recording,
    jax_model: Any,
    *,
    loss: tuple[Any, Any] | None = None,
    template: Any = None,
    params: Any = None,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
    layout: Mapping[str, tuple[int, ...]] | None = None,
    outputs: Any = None,
    device: str = "cpu",
    stage: Stage = lambda text: None,
) -> Recording:
    """Run JAX's side; arguments as in `parity.check`, of which PyTorch's part may be None."""
    started = time.perf_counter()
    settings = torch.settings
    if torch.side != "torch":
        raise ValueError("`weights` is a recording of JAX's side; give that of PyTorch's")
    jax_loss = loss[1] if loss else None
    if (jax_loss is not None) != settings["own_loss"]:
        raise ValueError(
            "PyTorch's side was recorded with its own `loss`; give JAX's as loss=(None, jax_loss)"
            if settings["own_loss"]
            else "PyTorch's side was recorded without a `loss`; leave it out here, or record it with one"
        )
    with pinned(seed=settings["seed"], sides=("jax",)):
        require_device(device, ("jax",))
        task = Task(tuple(settings["inputs"]), jax_loss=jax_loss, device=device)

        def plan_of(theirs: Any, task: Task) -> Plan:
            return _plan(torch, theirs, task, pins, allow_unused, allow_missing)

        given = params if params is not None else template
        said_so = {name: tuple(axes) for name, axes in (layout or {}).items()}
        found = _candidates(
            torch, jax_model, given, task, said_so, outputs, plan_of, params is not None, stage
        )
        pair, task, notes = (
            min(found, key=lambda one: _distance(torch, *one[:2])) if len(found) > 1 else found[0]
        )
        compared = _compared(torch, pair, task)
        program = pair.jax_program(task)
        runs: dict[str, Sides] = {}
        first = torch.runs[""]
        for title, arrays, weights, dtypes in all_runs(
            torch.inputs, pair.weights, tuple(first), MOVED in torch.runs
        ):
            own = pair.jax_weights
            if title == MOVED:
                own = {**own, **moved_alike(pair.plan, pair.weights, own, weights)}
            runs[title] = measure({"jax": Subject(said(program, "JAX"), own)}, arrays, dtypes, stage)["jax"]
        plan = pair.plan
        return Recording(
            "jax",
            torch.name,
            runs,
            environment(device, ("jax",)),
            {
                "jax_names": plan.names(),
                "outputs": compared,
                "undifferentiable": program.undifferentiable,
            },
            quantities=tuple(pair.judge_weights()),
            plan=plan.rows(),
            key=torch.key,
            not_checked=tuple(
                f"weight {name}: left out as allowed" for name in (*plan.unused, *plan.missing)
            ),
            findings=notes,
            seconds=time.perf_counter() - started,
        )


Found = tuple["Pair", Task, tuple[str, ...]]
"""A pair that can be run, its task, and what was chosen, in words."""


def _candidates(
    torch: Recording,
    jax_model: Any,
    given: Any,
    task: Task,
    layout: layouts.Layout,
    outputs: Any,
    plan_of: Callable[[Any, Task], Plan],
    converted: bool,
    stage: Stage,
) -> list[Found]:
    """Every layout of the inputs with which the JAX model runs and its weights pair up.

    Raises:
        Exception: the first that the model or the plan raised, if there is no such layout.
    """
    from parity.jax_models import read_jax
    from parity.jax_side import JaxProgram
    from parity.pairs import joined
    from parity.preparing import settle_outputs

    inputs = {name: torch.inputs[0][name] for name in task.inputs}
    recorded = torch.runs[""][next(iter(torch.runs[""]))].base["outputs"]
    picks = (None, outputs[1]) if isinstance(outputs, tuple) and len(outputs) == 2 else outputs
    found: list[Found] = []
    first: Exception | None = None
    for candidate in layouts.candidates(inputs, {n: a for n, a in layout.items() if n in inputs}):
        stage("reading the JAX model" if not candidate else "trying channels last")
        try:
            with said_by("JAX"):
                laid_out = {n: a.transpose(candidate[n]) if n in candidate else a for n, a in inputs.items()}
                theirs = read_jax(jax_model, given, laid_out)
                shapes = JaxProgram(theirs, task._replace(layout=candidate)).returned_shapes(torch.inputs[0])
            settled, notes = settle_outputs(task._replace(layout=candidate), recorded, shapes, picks, layout)
            pair = joined(_model(torch), theirs, plan_of(theirs, settled), converted=converted)
        except Exception as error:  # another layout may do; if none does, the first error is the user's
            first = first or error
            continue
        chosen = layouts.in_words({n: a for n, a in candidate.items() if n not in layout})
        found.append((pair, settled, (*theirs.notes, *notes, *chosen)))
    if not found:
        raise first or ValueError("no layout of the inputs fits the JAX model")
    return found


def _plan(
    torch: Recording,
    theirs: Any,
    task: Task,
    pins: Pins | None,
    allow_unused: Collection[str],
    allow_missing: Collection[str],
) -> Plan:
    """The plan, with the evidence of PyTorch's recording; ties are settled by its outputs."""
    from parity.jax_side import JaxProgram
    from parity.pairs import find
    from parity.trace.graph import Kind
    from parity.trace.uses import jax_uses

    given = torch.inputs[0]
    program = JaxProgram(theirs, task)
    names = [name if kind is Kind.WEIGHT else None for kind, name in program.arguments({}, given)]
    uses = {name: s.use for name, s in torch.signatures.items() if s.use is not None}

    def try_plan(plan: Plan) -> float:
        leaves = plan.to_jax({n: a for n, a in torch.weights.items() if n not in plan.unused})
        return float(_gap(torch, program(leaves, given, "float64")["outputs"]) <= NEAR)

    return find(
        _model(torch),
        theirs,
        pins,
        allow_unused,
        allow_missing,
        uses=(uses, jax_uses(program.jaxpr({}, given), names)),
        try_plan=try_plan,
    )


def _distance(torch: Recording, pair: "Pair", task: Task) -> float:
    """How far the outputs are from those recorded."""
    from parity.jax_side import JaxProgram

    program = JaxProgram(pair.jax, task)
    return _gap(torch, program(pair.jax_weights, torch.inputs[0], "float64")["outputs"])


def _gap(torch: Recording, outputs: Arrays) -> float:
    """The largest relative difference from PyTorch's outputs in float64; infinite for another shape."""
    dtype, side = next(iter(torch.runs[""].items()))
    recorded = (side.base if dtype == "float64" else side.other)["outputs"]
    gaps = [0.0]
    for name, ours in recorded.items():
        if name in outputs and outputs[name].shape == ours.shape and ours.size:
            gaps.append(float(np.max(np.abs(outputs[name] - ours)) / (np.max(np.abs(ours)) or 1.0)))
        elif name in outputs and outputs[name].shape != ours.shape:
            gaps.append(np.inf)
    return float(np.nan_to_num(max(gaps), nan=np.inf))


def _compared(torch: Recording, pair: "Pair", task: Task) -> list[str]:
    """The outputs that both sides have.

    Raises:
        ValueError: if the recorded loss, a projection of the outputs, is made of some that JAX lacks.
    """
    side = next(iter(torch.runs[""].values()))
    recorded = side.base["outputs"]
    from parity.jax_side import JaxProgram

    names = list(task.jax_outputs(JaxProgram(pair.jax, task).returned_shapes(torch.inputs[0])))
    common = [name for name in recorded if name in names]
    if task.jax_loss is None and set(names) != set(recorded):
        raise ValueError(
            f"PyTorch's side recorded the outputs {', '.join(recorded)}, of which JAX's model returns "
            f"{', '.join(common) or 'none'}; the gradients compared are those of all of them together, so "
            f"record PyTorch's side with outputs={common!r}"
        )
    return common


def _model(torch: Recording) -> "TorchModel":
    """PyTorch's model as far as the recording knows it."""
    from parity.torch_side import TorchModel

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
