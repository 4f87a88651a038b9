"""Where a step of users' own loops differs: traced on both sides, from the weights it begins with."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.frameworks.stepping import Made, StepFunction
from parity.numerics.arrays import Arrays
from parity.numerics.progress import Progress
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.equal_constants import with_equal_constants
from parity.pipeline.judging import Failed
from parity.pipeline.measuring import Measured, measured
from parity.pipeline.model_partings import with_place
from parity.pipeline.outcome import Outcome
from parity.pipeline.reference import open_reference
from parity.pipeline.request import Request, Settings, Weights
from parity.pipeline.runs import Run
from parity.pipeline.slot_views import SlotView, only_leaf
from parity.pipeline.step_rows import START, steps_of
from parity.pipeline.stepped_causes import PHASES
from parity.pipeline.stepped_runs import Viewed, place_start
from parity.pipeline.stepped_views import Views
from parity.pipeline.traces import LiveTraces
from parity.pipeline.training_causes import failures
from parity.report.errors import why_unplaced
from parity.report.partings import Parting, Phase
from parity.report.results import Quantity
from parity.weights import Plan, Transfer

Values = Callable[[Made], Mapping[str, Any]]
"""What of a step is compared, by common names and in the layout of PyTorch's tensors."""


def look_into_the_step(
    outcome: Outcome, judged: Sequence[Quantity], views: Views, inputs: Arrays, progress: Progress
) -> None:
    """Add the place where two step functions part, and its cause, to what is said of their parting.

    Args:
        outcome: to add to, with its parting.
        judged: quantities from equal weights, over time.
        views: both sides by common names.
        inputs: batches, and what every step begins with.
        progress: called as each phase begins.
    """
    parting = outcome.parting
    if parting is None:
        return
    try:
        there = [
            q
            for at, q in failures(judged)
            if at == parting.step and PHASES[q.group] is parting.phase and _is_placeable(q, views)
        ]
        if not there:
            return
        steps = steps_of(inputs)[: parting.step + 1]
        functions = [_function_at(side, steps) for side in views.sides]
        both = _both(functions, _values(there, views), views.plan, steps[-1])
        if parting.phase is Phase.METRICS and len(there) > 1:
            both = _both(functions, _values([_first(there, both)], views), views.plan, steps[-1])
        _look(outcome, parting, both, progress)
    except Exception as error:  # what cannot be placed is no less judged
        if os.environ.get("PARITY_DEBUG"):
            raise
        outcome.unplaced = why_unplaced(error)
        outcome.findings = (*outcome.findings, outcome.unplaced)


def _is_placeable(quantity: Quantity, views: Views) -> bool:
    """Whether what differs is an array that a step makes: no count, and of a tensor that is one leaf."""
    if quantity.group == "slots":
        return bool(views.slots.path_in_jax(quantity.name))
    if quantity.group in ("update", "statistics"):
        return bool(only_leaf(views.plan, quantity.name))
    return quantity.group == "metrics"


def _first(metrics: Sequence[Quantity], both: Measured) -> Quantity:
    """The metric that the least is computed for: others may differ because of it, behind an update."""
    trace = both.candidate_program.trace(both.candidate.weights, both.reference.inputs[0], False)
    outputs = trace.outputs["outputs"]
    return min(metrics, key=lambda q: len(trace.ancestors([outputs[q.name]])) if q.name in outputs else 0)


def _look(outcome: Outcome, parting: Parting, both: Measured, progress: Progress) -> None:
    """Trace the step on both sides, and look for the place in what they compute."""
    from parity.pipeline.search import search  # needs both frameworks' rooms, which a pass does not

    run = Run("", both.reference.inputs[0], both.reference.weights, ("float64",), 1)
    progress("looking for the place in the step")
    found = search(both, Failed(frozenset({"outputs"}), run), LiveTraces(both), None, progress)
    outcome.divergences, outcome.growth, outcome.unplaced = found.divergences, found.growth, found.unplaced
    outcome.findings = (*outcome.findings, *found.findings, *filter(None, (found.unplaced,)))
    outcome.parting = with_place(parting, found.divergences)


def _both(
    functions: Sequence[StepFunction], values: tuple[Values, Values], plan: Plan, groups: Mapping[str, Arrays]
) -> Measured:
    """The step of both sides as two models, whose weights are those that it begins with."""
    names = list(groups["0"])
    reference, candidate = (
        _as_a_model(step, names, read) for step, read in zip(functions, values, strict=True)
    )
    start = {name: np.asarray(array, np.float32) for name, array in groups[START].items()}
    leaves = plan.to_leaves(start, exact=True)
    request = Request.of(
        reference,
        candidate,
        groups["0"],
        weights=Weights(
            template={path: np.asarray(leaf, np.float32) for path, leaf in leaves.items()},
            reference_params=start,
            pins=_pins(plan),
        ),
        settings=Settings(dtypes=("float64",), finite_differences=False, moved_weights=False),
    )
    known = open_reference(request, _quietly)
    settled = settle_candidate(known, request, _quietly)
    return measured(*with_equal_constants(known, settled, _quietly))


def _quietly(_: str) -> None:
    """Say nothing of what is only made ready."""


def _function_at(viewed: Viewed, steps: Sequence[Mapping[str, Arrays]]) -> StepFunction:
    """A side's last of some steps, with the state that it begins with; those before it are made."""
    *earlier, last = steps
    with viewed.kept.restored():
        loop = viewed.side.begin("float64")
        for groups in earlier:
            place_start(viewed, loop, groups)
            loop.step(groups["0"])
        place_start(viewed, loop, last)
        return loop.function()


def _as_a_model(step: StepFunction, names: Sequence[str], read: Values) -> Callable[..., Mapping[str, Any]]:
    def model(weights: Mapping[str, Any], *batch: Any) -> Mapping[str, Any]:
        return read(step(weights, dict(zip(names, batch, strict=True))))

    return model


def _pins(plan: Plan) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The pairs that the plan has found, of whole tensors and whole leaves."""
    return {
        t.tensor_name: (t.leaf_path, t.axes or tuple(range(len(t.tensor_shape))))
        for t in plan.transfers
        if _is_whole(t)
    }


def _is_whole(transfer: Transfer) -> bool:
    """Whether a whole tensor is a whole leaf, in some order of its axes."""
    return transfer.view is None and not (transfer.take or transfer.put or transfer.flip)


def _values(there: Sequence[Quantity], views: Views) -> tuple[Values, Values]:
    """What differs in a step, as read from what each side has made."""
    groups = {q.group for q in there}
    names = [q.name for q in there]
    if groups == {"metrics"}:
        return _of_metrics(views.sides[0].metrics, names), _of_metrics(views.sides[1].metrics, names)
    if groups == {"slots"}:
        return _of_slots(views.slots, names)
    return _of_weights(views.plan, names)


def _of_metrics(own: Mapping[str, str], names: Sequence[str]) -> Values:
    def read(made: Made) -> Mapping[str, Any]:
        found = {name: made.metrics[own[name]] for name in names if own[name] in made.metrics}
        if not found:
            raise TypeError(
                f"{names[0]} is a number of Python's: return it as an array, without `.item()` or `float`"
            )
        return found

    return read


def _of_weights(plan: Plan, names: Sequence[str]) -> tuple[Values, Values]:
    return _of_states(plan, {name: (name, only_leaf(plan, name), name) for name in names})


def _of_slots(view: SlotView, names: Sequence[str]) -> tuple[Values, Values]:
    tensors = {name: view.names[name][0] for name in names}
    paths = {name: view.path_in_jax(name) for name in names}
    return _of_states(
        view.paired.plan,
        {name: (view.in_torch[name], path, tensors[name]) for name, path in paths.items()},
    )


def _of_states(plan: Plan, own: Mapping[str, tuple[str, str, str]]) -> tuple[Values, Values]:
    """Values of both states; by common name PyTorch's own name, JAX's path, and the tensor of that layout."""
    layouts = {tensor: _layout(plan, tensor) for _, _, tensor in own.values()}

    def in_torch(made: Made) -> Mapping[str, Any]:
        return {name: made.state[mine] for name, (mine, _, _) in own.items() if mine in made.state}

    def in_jax(made: Made) -> Mapping[str, Any]:
        return {name: layouts[tensor](made.state[path]) for name, (_, path, tensor) in own.items()}

    return in_torch, in_jax


def _layout(plan: Plan, tensor: str) -> Callable[[Any], Any]:
    """The way of a leaf to its tensor's layout, as an operation on arrays of JAX."""
    transfer = next(t for t in plan.transfers if t.tensor_name == tensor)
    if _is_whole(transfer):
        axes = transfer.axes or tuple(range(len(transfer.tensor_shape)))
        moved = tuple(transfer.tensor_shape[axis] for axis in axes)
        return lambda leaf: leaf.reshape(moved).transpose(np.argsort(axes))
    counted = np.arange(np.prod(transfer.leaf_shape, dtype=int)).reshape(transfer.leaf_shape)
    part = plan._replace(transfers=tuple(t for t in plan.transfers if t.leaf_path == transfer.leaf_path))
    order = np.asarray(part.to_tensors({transfer.leaf_path: counted.astype(np.float64)})[tensor]).astype(int)
    return lambda leaf: leaf.reshape(-1)[order]
