"""From two models and some inputs to a pair that can be run: layouts, outputs and weights settled.

What names and shapes leave open is settled by running: which input has its channels last, which tensor is
used where and which way it lies, which of two plans makes the two sides agree.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from jaxtyping import PyTree

from parity.frameworks.jax import lift
from parity.frameworks.jax.jax_model import JaxModel, read_jax
from parity.frameworks.jax.jax_program import JaxProgram
from parity.frameworks.outputs import name_outputs, pair_outputs, unnamed_outputs
from parity.frameworks.task import Task, said_by
from parity.frameworks.torch.torch_modes import require_repeatable, training_remarks
from parity.frameworks.torch.torch_program import TorchModel, TorchProgram, read_torch
from parity.numerics.arrays import Arrays
from parity.numerics.noise import Stage
from parity.pipeline import image_layouts as layouts
from parity.pipeline.pairs import Pair, find, joined, reordered
from parity.trace.graph import Trace
from parity.weights import Pins, Plan, WeightError

SAME_OUTPUTS = 1e-9
"""Relative difference in float64 up to which two ways of loading weights give the same function."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A pair with its task, and what was chosen on the way."""

    pair: Pair
    task: Task
    notes: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float64", "float32")


def prepare(
    torch_model: Any,
    jax_model: Any,
    given: Arrays,
    task: Task,
    *,
    template: PyTree | None,
    params: PyTree | None,
    torch_params: Mapping[str, Any] | None,
    pins: Pins | None,
    allow_unused: Collection[str],
    allow_missing: Collection[str],
    layout: layouts.Layout,
    outputs: Any,
    stage: Stage,
) -> Prepared:
    """Settle everything that must be known before two models can be compared.

    Raises:
        TypeError, ValueError: for models or inputs that cannot be run, naming the side.
        WeightError: if the weights do not pair up.
    """
    stage("reading the PyTorch model")
    with said_by("PyTorch"):
        ours = read_torch(torch_model, torch_params)
        program = TorchProgram(ours, task, backward=False)
        torch_out = program.forward(ours.weights, given, "float64")
        name_outputs(_picked(torch_out, outputs, 0))
        census = program.census(ours.weights, given)
        require_repeatable(program, ours.weights, given, census.random)
    said = {name: tuple(axes) for name, axes in layout.items()}
    inputs = {name: given[name] for name in task.inputs}
    trace = with_outputs(program, task, torch_out, outputs).trace(ours.weights, given)
    found: list[Prepared] = []
    first: Exception | None = None
    for candidate in layouts.candidates(inputs, {n: a for n, a in said.items() if n in inputs}):
        stage("reading the JAX model" if not candidate else "trying channels last")
        now = task._replace(layout=candidate)
        try:
            laid_out = {n: a.transpose(candidate[n]) if n in candidate else a for n, a in inputs.items()}
            with said_by("JAX"):
                theirs = read_jax(jax_model, params if params is not None else template, laid_out)
                probe = JaxProgram(theirs, now)
                jax_out = probe.returned_shapes(given)
            now, notes = settle_outputs(now, torch_out, jax_out, outputs, said)
            known = {*inputs, *now.torch_outputs(torch_out)}
            if unknown := sorted(set(said) - known):
                raise TypeError(f"`layout` names {', '.join(unknown)}; there are {', '.join(sorted(known))}")
            closed = JaxProgram(theirs, now).jaxpr({}, given)
            narrow = narrow_in(closed)
            now = now._replace(rounding=bool(narrow) and not census.narrow, numbers=trace.numbers())
            dtypes, remarks = dtypes_in_use(census.narrow, narrow)
            plan = _plan(ours, theirs, now, given, trace, pins, allow_unused, allow_missing, stage)
            pair = joined(ours, theirs, plan, converted=params is not None)
        except Exception as error:  # another layout may do; if none does, the first error is the user's
            first = first or _clearer(error, ours, jax_model, params, template, given, pins, now)
            continue
        notes = (*notes, *layouts.in_words({n: a for n, a in candidate.items() if n not in said}))
        if not any("float" in str(value.dtype) for value in now.torch_outputs(torch_out).values()):
            remarks += ("no output is floating: values are compared, and there is nothing to differentiate",)
        remarks += stored_remarks(ours.module, params if params is not None else template)
        remarks += (*training_remarks(ours.module), *random_remarks(closed))
        other = reordered(pair) if params is not None else None
        if other is not None and outputs_apart(pair, now, given) <= SAME_OUTPUTS:
            pair = other
            notes = (*notes, "the JAX params hold hidden units in another order: the same function")
        found.append(Prepared(pair, now, (*theirs.notes, *notes), remarks, dtypes))
        if not _open_layout(inputs, said):
            break
    if not found:
        raise first or ValueError("no layout of the inputs fits the JAX model")
    return found[0] if len(found) == 1 else _best(found, given, stage)


def narrow_in(closed: Any) -> dict[str, str]:
    """bfloat16 and float16 inside a traced JAX program, with the first place of each."""
    found: dict[str, str] = {}
    for eqn, spot in lift.equations(closed.jaxpr):
        for dtype in [str(getattr(variable.aval, "dtype", "")) for variable in eqn.outvars]:
            if dtype in lift.NARROW:
                found.setdefault(dtype, f"{spot.file}:{spot.line}" if spot.file else "")
    return found


def random_remarks(closed: Any) -> tuple[str, ...]:
    """What to say about random numbers that a traced JAX program draws."""
    found = dict.fromkeys(
        f"{spot.file}:{spot.line}" if spot.file else "inside a library"
        for eqn, spot in lift.equations(closed.jaxpr)
        if eqn.primitive.name in ("random_bits", "rng_bit_generator")
    )
    if not found:
        return ()
    return (
        f"the JAX model draws random numbers ({', '.join(found)}): if this is dropout, switch it off "
        "(deterministic=True, model.eval()); otherwise give the random numbers as an input",
    )


def stored_remarks(module: Any, jax_params: Any) -> tuple[str, ...]:
    """What to say about weights that are stored in a narrow dtype."""
    import jax

    own = [p.dtype for p in module.parameters()] if module is not None else []
    theirs = [getattr(leaf, "dtype", "") for leaf in jax.tree.leaves(jax_params)]
    remarks = []
    for framework, dtypes in (("PyTorch", own), ("JAX", theirs)):
        narrow = sorted({str(d).removeprefix("torch.") for d in dtypes} & set(lift.NARROW))
        if narrow:
            where = f"the {framework} weights are stored in {', '.join(narrow)}"
            remarks.append(
                f"{where}: their numbers are used as they are, and computed with in the dtypes judged"
            )
    return tuple(remarks)


def dtypes_in_use(
    torch_narrow: Mapping[str, Any], jax_narrow: Mapping[str, str]
) -> tuple[Any, tuple[str, ...]]:
    """The dtypes to judge, and what to say about hard-coded ones."""
    both = [dtype for dtype in torch_narrow if dtype in jax_narrow]
    if both:
        return ("float64", both[0]), (
            f"both models compute in {both[0]}: judged in it and, lifted, in float64",
        )
    remarks = [
        f"the PyTorch model computes in {dtype} in {spot.module or 'its forward'} ({spot.file}:{spot.line}), "
        "the JAX model does not"
        for dtype, spot in torch_narrow.items()
    ]
    remarks += [
        f"the JAX model computes in {dtype} ({place or 'place unknown'}), the PyTorch model does not"
        for dtype, place in jax_narrow.items()
    ]
    return ("float64", "float32"), tuple(remarks)


def _clearer(
    error: Exception,
    ours: TorchModel,
    jax_model: Any,
    params: Any,
    template: Any,
    given: Arrays,
    pins: Pins | None,
    task: Task,
) -> Exception:
    """Where a model raises because a weight is missing, the list of weights says more than its error."""
    if isinstance(error, WeightError | TypeError):
        return error
    try:
        inputs = {name: given[name] for name in task.inputs}
        find(ours, read_jax(jax_model, params if params is not None else template, inputs), pins)
    except WeightError as mismatch:
        mismatch.add_note(f"the JAX model raised {type(error).__name__}: {error}")
        return mismatch
    except Exception:
        return error
    return error


def _open_layout(inputs: Arrays, said: layouts.Layout) -> bool:
    """Whether an input could lie either way and both would run: as many channels as rows."""
    return any(
        name not in said and 3 <= a.ndim <= 5 and a.shape[1] == a.shape[2] == a.shape[-1]
        for name, a in inputs.items()
    )


def _best(found: list[Prepared], given: Arrays, stage: Stage) -> Prepared:
    """Of several layouts that run, the one with which the outputs agree best."""
    stage("trying layouts")

    return min(found, key=lambda prepared: outputs_apart(prepared.pair, prepared.task, given))


def outputs_apart(pair: Pair, task: Task, given: Arrays) -> float:
    """Largest difference of the outputs in float64, relative to their size; infinite for other shapes."""
    ours = TorchProgram(pair.reference, task, backward=False)(pair.weights, given, "float64")["outputs"]
    theirs = JaxProgram(pair.candidate, task)(pair.jax_weights, given, "float64")["outputs"]
    gaps = [np.inf]
    for name in [name for name in ours if name in theirs]:
        t, j = ours[name], theirs[name]
        size = float(np.max(np.abs(t), initial=0.0)) or 1.0
        gaps.append(float(np.max(np.abs(j - t), initial=0.0)) / size if t.shape == j.shape else np.inf)
    return max(gaps[1:], default=np.inf)


def _picked(out: Any, outputs: Any, side: int) -> Any:
    """What the user's own function picks of a return value."""
    if isinstance(outputs, tuple) and len(outputs) == 2 and callable(outputs[side]):
        return outputs[side](out)
    return out


def with_outputs(program: TorchProgram, task: Task, out: Any, outputs: Any) -> TorchProgram:
    """The same program, returning all that the model returns."""
    return TorchProgram(program.model, task._replace(torch_outputs=_picker(outputs, 0, None)), backward=False)


def settle_outputs(
    task: Task, torch_out: Any, jax_out: Any, outputs: Any, said: layouts.Layout
) -> tuple[Task, tuple[str, ...]]:
    """Which of the outputs are compared, under which names and in which layout."""
    chosen = (_picked(torch_out, outputs, 0), _picked(jax_out, outputs, 1))
    rest = None if isinstance(outputs, tuple) and any(callable(o) for o in outputs) else outputs
    pairs = pair_outputs(*chosen, rest)
    names = []
    for side, paired in zip(chosen, pairs, strict=True):
        own = name_outputs(side)
        names.append(
            {common: next(n for n, v in own.items() if v is value) for common, value in paired.items()}
        )
    shapes = [{name: tuple(value.shape) for name, value in paired.items()} for paired in pairs]
    layout = layouts.of_outputs(shapes[0], shapes[1], said)
    notes = [
        f"output {text}" for text in layouts.in_words({n: a for n, a in layout.items() if n not in said})
    ]
    for framework, side, used in zip(("PyTorch", "JAX"), chosen, names, strict=True):
        left = [n for n in name_outputs(side) if n not in used.values()]
        left += list(unnamed_outputs(side))
        if left:
            notes.append(f"{framework}'s outputs {', '.join(left)}: not compared")
    task = task._replace(
        torch_outputs=_picker(outputs, 0, names[0]), jax_outputs=_picker(outputs, 1, names[1], layout)
    )
    return task, tuple(notes)


def _picker(
    outputs: Any, side: int, names: Mapping[str, str] | None, layout: layouts.Layout | None = None
) -> Callable[[Any], dict[str, Any]]:
    """From a return value to the outputs under their common names, in PyTorch's layout."""

    def pick(out: Any) -> dict[str, Any]:
        own = name_outputs(_picked(out, outputs, side))
        chosen = own if names is None else {common: own[name] for common, name in names.items()}
        for name, axes in (layout or {}).items():
            if name in chosen and chosen[name].ndim == len(axes):
                back = tuple(int(i) for i in np.argsort(axes))
                chosen[name] = chosen[name].transpose(back)
        return chosen

    return pick


def _plan(
    ours: TorchModel,
    theirs: JaxModel,
    task: Task,
    given: Arrays,
    trace: Trace,
    pins: Pins | None,
    allow_unused: Collection[str],
    allow_missing: Collection[str],
    stage: Stage,
) -> Plan:
    """The plan, with the evidence of both computations."""
    from parity.frameworks.uses import jax_uses, torch_uses
    from parity.localise.walk import agreement
    from parity.trace.graph import Kind

    stage("matching the weights")
    program = JaxProgram(theirs, task)
    closed = program.jaxpr({}, given)
    names = [name if kind is Kind.WEIGHT else None for kind, name in program.arguments({}, given)]
    compared: list[Any] = []

    def try_plan(plan: Plan) -> float:
        if not compared:
            compared.append(agreement(trace))
        leaves = plan.to_leaves({n: a for n, a in ours.weights.items() if n not in plan.unused})
        return float(compared[0](program.trace(leaves, given)))

    return find(
        ours,
        theirs,
        pins,
        allow_unused,
        allow_missing,
        uses=(torch_uses(trace), jax_uses(closed, names)),
        try_plan=try_plan,
    )
