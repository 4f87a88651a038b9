"""`check`: do a PyTorch model and a JAX model compute the same outputs and gradients?"""

import dataclasses
import os
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PyTree

from parity.frameworks.task import Task
from parity.frameworks.torch.torch_program import TorchProgram
from parity.numerics import finite_differences
from parity.numerics.arrays import DTYPES, Arrays, require_dtypes
from parity.numerics.noise import Side, Stage, Subject, measure
from parity.numerics.precision import environment, pinned, require_device
from parity.numerics.yardstick import FORWARD, compare
from parity.pipeline import promotions
from parity.pipeline.inputs import name_inputs
from parity.pipeline.outcome import Outcome, reporting
from parity.pipeline.pairs import Oracle, Pair
from parity.pipeline.preparing import prepare
from parity.pipeline.runs import MOVED, moved_alike, runs_of, said
from parity.pipeline.search import search
from parity.report.results import ParityError, Quantity, Report, Verdict
from parity.weights import Pins, Plan


def check(
    torch_model: Any,
    jax_model: Any,
    inputs: Any,
    *,
    targets: Any = None,
    loss: tuple[Any, Any] | None = None,
    template: PyTree | None = None,
    params: PyTree | None = None,
    torch_params: Mapping[str, Any] | None = None,
    pins: Pins | None = None,
    allow_unused: Collection[str] = (),
    allow_missing: Collection[str] = (),
    layout: Mapping[str, tuple[int, ...]] | None = None,
    outputs: Any = None,
    dtypes: Sequence[str] | None = None,
    oracles: Mapping[str, Oracle] | None = None,
    differences: bool = True,
    jitter: bool = True,
    localise: bool = True,
    reproduce: str | os.PathLike[str] | None = None,
    tolerance: tuple[float, float] | None = None,
    name: str = "check",
    seed: int = 0,
    device: str = "cpu",
    stage: Stage = lambda text: None,
) -> Report:
    """Compare weights, outputs, loss and gradients of a PyTorch model and a JAX model.

    The PyTorch weights are loaded into the JAX model by a plan found from kinds, shapes, names, order of
    first use and, where that leaves ties, by running; or the user's own conversion (`params`) is checked
    against that plan and then used. Both sides run with and without one-ulp noise in every dtype, and once
    more in float64 with every weight moved, and are judged by the yardstick. Where they differ, both
    computations are traced and the place, and if possible the cause, is named. Neither model is changed,
    and global precision settings and random states are restored.

    Args:
        torch_model: an `nn.Module`, or a function `f(params, *inputs)` with `torch_params`.
        jax_model: a Flax NNX, Flax Linen or Equinox module, a pair of functions `init` and `apply` (Haiku),
            or a function `f(params, *inputs)` with `template` or `params`.
        inputs: arrays by argument name, or in order; both models get the same numbers. A list of such
            dicts is several inputs in one check (another batch size, an odd length).
        targets: array or dict of arrays for the losses.
        loss: (PyTorch loss, JAX loss), each `loss(outputs, targets)`; by default a fixed random
            projection of the outputs, so that no gradient vanishes by symmetry.
        template: params of a JAX function or module (arrays or `ShapeDtypeStruct`), to be loaded.
        params: params converted by the user, to be checked against the plan and used as they are.
        torch_params: tensors by name, if `torch_model` is a plain function.
        pins: PyTorch name -> JAX path, or -> (JAX path, permutation), where the plan needs help.
        allow_unused: PyTorch tensors that may stay unmatched.
        allow_missing: JAX leaves that may stay unmatched.
        layout: input or output name -> permutation from PyTorch's axes to JAX's, e.g. {"x": (0, 2, 3, 1)};
            images that lie channels last in JAX are recognised where the shapes tell.
        outputs: which outputs to compare where the two sides return different structures: names to keep, a
            mapping from PyTorch's names to JAX's, or a pair of functions of the return values.
        dtypes: floating dtypes to judge; by default float64 and float32, or the narrower one in use.
        oracles: further JAX programs to compare with PyTorch, by label.
        differences: whether to judge the gradients against finite differences, too.
        jitter: whether to run once more with moved weights: zeros and ones, as at the start, hide faults.
        localise: whether to look for the place and the cause of a difference.
        reproduce: directory to write the smallest reproducer of each divergence to.
        tolerance: (rtol, atol), elementwise, instead of the yardstick.
        name: of the report.
        seed: of the global generators while the models run.
        device: "cpu" or "cuda", for both sides.
        stage: told in words what is being done.

    Returns:
        A report. Bad input, and a model that raises, give one with verdict `error`.
    """
    started = time.perf_counter()
    with reporting(name) as outcome, pinned(seed=seed):
        require_device(device)
        if dtypes is not None:
            require_dtypes(dtypes)
        torch_loss, jax_loss = loss or (None, None)
        if (torch_loss is None) != (jax_loss is None):
            raise ValueError("`loss` must be (PyTorch loss, JAX loss): both functions, or leave it out")
        several = list(inputs) if _is_several(inputs) else [inputs]
        if not several:
            raise ValueError("`inputs` is empty; give at least one array, e.g. inputs={'x': x}")
        named = [name_inputs(one, targets) for one in several]
        given, input_names = named[0]
        prepared = prepare(
            torch_model,
            jax_model,
            given,
            Task(input_names, torch_loss, jax_loss, {}, device),
            template=template,
            params=params,
            torch_params=torch_params,
            pins=pins,
            allow_unused=allow_unused,
            allow_missing=allow_missing,
            layout=layout or {},
            outputs=outputs,
            stage=stage,
        )
        pair, task = prepared.pair, prepared.task
        outcome.plan, outcome.environment = pair.plan.rows(), environment(device)
        outcome.findings = (*prepared.notes, *prepared.remarks)
        judged = tuple(dtypes) if dtypes is not None else prepared.dtypes
        oracles = oracles or {}
        ours, theirs = pair.torch_program(task), pair.jax_program(task)
        programs: dict[str, Any] = {"reference": ours, "candidate": theirs}
        subjects: dict[str, Arrays] = {"reference": pair.weights, "candidate": pair.jax_weights}
        for label, oracle in oracles.items():
            programs[label], subjects[label] = pair.oracle(oracle, task, given)
        by_hand = {label for label, oracle in oracles.items() if oracle.gradients is not None}
        outcome.quantities = pair.judge_weights()
        failed: list[tuple[set[str], Arrays, Mapping[str, Arrays]]] = []
        kinks: list[str] = []
        every = [arrays for arrays, _ in named]
        unused = [name for name in pair.plan.unused if name in pair.weights]
        moving = jitter and tolerance is None
        for run in runs_of(every, pair.weights, judged, jitter=moving, tables=unused):
            weights: Mapping[str, Arrays] = subjects
            if run.title == MOVED:
                alike = moved_alike(pair.plan, pair.weights, pair.jax_weights, run.weights)
                weights = {"reference": run.weights, "candidate": {**pair.jax_weights, **alike}}
            measured = {
                label: Subject(
                    said(programs[label], {"reference": "PyTorch", "candidate": "JAX"}.get(label, label)), own
                )
                for label, own in weights.items()
            }
            sides = measure(measured, run.inputs, run.dtypes, stage, run.repeats)
            stage("judging")
            rules = dict(FORWARD)
            if theirs.undifferentiable is not None:
                rules = {group: rule for group, rule in FORWARD.items() if group != "gradients"}
            found: list[Quantity] = []
            for label in [label for label in measured if label != "reference"]:
                program = ", ".join(part for part in (label, run.title) if part)
                only = {"gradients": FORWARD["gradients"]} if label in by_hand else rules
                found += compare(sides["reference"], sides[label], only, program=program, tolerance=tolerance)
            if not run.title and differences and "float64" in judged and "gradients" in rules:
                more, kinks = _against_differences(pair, task, run.inputs, sides, stage)
                found += more
            del sides  # of large models these are gigabytes: not to be kept beside the next run's
            outcome.quantities = [*outcome.quantities, *found]
            if groups := {q.group for q in found if q.verdict is Verdict.FAIL and q.dtype == "float64"}:
                failed.append((groups, run.inputs, weights))
        narrow = [dtype for dtype in judged if dtype not in DTYPES]
        apart = [one for dtype in narrow for one in promotions.find(ours, theirs, pair.weights, given, dtype)]
        outcome.quantities = [promotions.judge(q, apart) for q in outcome.quantities]
        outcome.quantities = _with_candidate_names(outcome.quantities, pair.plan)
        outcome.not_checked = not_checked(task, judged, differences, kinks, pair.plan, jitter)
        if theirs.undifferentiable is not None:
            why = f"gradients: the JAX model cannot be differentiated ({programs['jax'].undifferentiable})"
            outcome.not_checked = (why, *outcome.not_checked)
        if localise:
            outcome.divergences = tuple(promotions.places(apart))
        if localise and failed:
            stage("looking for the place")
            groups, arrays, weights = failed[0]
            _look(outcome, programs, arrays, weights, pair, groups, reproduce, stage)
    return dataclasses.replace(outcome.report(), seconds=time.perf_counter() - started)


def _look(
    outcome: Outcome,
    programs: Mapping[str, Any],
    inputs: Arrays,
    weights: Mapping[str, Arrays],
    pair: Pair,
    failed: Collection[str],
    reproduce: str | os.PathLike[str] | None,
    stage: Stage,
) -> None:
    """Places and causes; that they cannot be found must not cost the verdict."""
    try:
        found = search(
            programs["reference"],
            programs["candidate"],
            weights["reference"],
            weights["candidate"],
            inputs,
            pair,
            failed=failed,
            reproduce=reproduce,
            stage=stage,
        )
    except Exception as error:
        outcome.findings = (
            *outcome.findings,
            f"the place was not looked for: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
        )
        if os.environ.get("PARITY_DEBUG"):
            raise
        return
    outcome.divergences, outcome.growth = (*found.divergences, *outcome.divergences), found.growth
    outcome.findings = (*outcome.findings, *found.findings)


def _is_several(inputs: Any) -> bool:
    """Whether these are several sets of inputs."""
    return isinstance(inputs, list | tuple) and bool(inputs) and all(isinstance(i, Mapping) for i in inputs)


def _against_differences(
    pair: Pair, task: Task, inputs: Arrays, sides: Mapping[str, Mapping[str, Side]], stage: Stage
) -> tuple[list[Quantity], list[str]]:
    """The gradients of both sides against finite differences of PyTorch's loss."""
    stage("finite differences")
    subject = Subject(TorchProgram(pair.reference, task, backward=False), pair.weights)
    autodiff: dict[str, Mapping[str, np.ndarray]] = {
        label: sides[label]["float64"].base["gradients"] for label in ("reference", "candidate")
    }
    return finite_differences.check_gradients(subject, inputs, autodiff)


def assert_parity(*args: Any, **kwargs: Any) -> Report:
    """`check`, raising `ParityError` with the whole report unless the verdict is pass.

    Raises:
        ParityError: an AssertionError; its `report` has the evidence.
    """
    report = check(*args, **kwargs)
    if report.verdict is not Verdict.PASS:
        raise ParityError(report)
    return report


def not_checked(
    task: Task,
    dtypes: Sequence[str],
    differences: bool,
    kinks: Sequence[str],
    plan: Plan,
    jitter: bool = True,
) -> tuple[str, ...]:
    """What a check of outputs and gradients did not look at, in words."""
    narrow = [dtype for dtype in dtypes if dtype not in DTYPES]
    lines = [f"{dtype} was not run" for dtype in DTYPES if dtype not in dtypes and not narrow]
    lines.append("gradients with respect to the inputs")
    if not jitter:
        lines.append("other weights than these: zeros and ones as at initialisation hide faults")
    if task.torch_loss is None:
        lines.append("the models' own losses (gradients are those of a random projection of the outputs)")
    if not differences or "float64" not in dtypes:
        lines.append("gradients against finite differences")
    if kinks:
        *named, last = kinks
        if "sample" in last:
            lines.append(f"finite differences of {last}")
        else:
            named.append(last)
        if named:
            lines.append(
                f"finite differences of {', '.join(named)}: the loss has a kink there or is too coarse"
            )
    lines += [f"weight {tensor}: left out as allowed" for tensor in (*plan.unused, *plan.missing)]
    return tuple(lines)


def _with_candidate_names(quantities: Sequence[Quantity], plan: Plan) -> list[Quantity]:
    names = plan.names()
    return [dataclasses.replace(q, candidate_name=q.candidate_name or names.get(q.name)) for q in quantities]
