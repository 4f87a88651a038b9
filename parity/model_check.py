"""`check`: do a PyTorch model and a JAX model compute the same outputs and gradients?"""

import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import PyTree

from parity import finite_differences
from parity.arrays import Arrays, hold, is_float, require_dtypes, round_to
from parity.noise import Program, Subject, measure
from parity.pairs import Oracle, match
from parity.precision import environment, pinned, require_device
from parity.programs import Task, said_by
from parity.reporting import reporting
from parity.result import ParityError, Quantity, Report, Verdict
from parity.torch_side import torch_program
from parity.weights import Pins, Plan
from parity.yardstick import Rule, compare

DTYPES = ("float64", "float32")
"""Judged by default: float64 decides structure, float32 shows the accuracy people train with."""

FORWARD = {"outputs": Rule("forward"), "loss": Rule("forward"), "gradients": Rule("gradients")}
"""What a forward and backward pass is compared by."""


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
    dtypes: Sequence[str] = DTYPES,
    oracles: Mapping[str, Oracle] | None = None,
    differences: bool = True,
    tolerance: tuple[float, float] | None = None,
    name: str = "check",
    seed: int = 0,
    device: str = "cpu",
) -> Report:
    """Compare weights, outputs, loss and gradients of a PyTorch model and a JAX model.

    The PyTorch weights are loaded into the JAX model by a plan found from kinds, shapes, names and
    order; or the user's own conversion (`params`) is checked against that plan and then used. Both
    sides run with and without one-ulp noise in every dtype and are judged by `parity.yardstick`.
    Neither model is changed, and global precision settings and random states are restored.

    Args:
        torch_model: an `nn.Module`, or a function `f(params, *inputs)` with `torch_params`.
        jax_model: a Flax NNX module, or a function `f(params, *inputs)` with `template` or `params`.
        inputs: arrays by argument name, or in order; both models get the same numbers.
        targets: array or dict of arrays for the losses.
        loss: (PyTorch loss, JAX loss), each `loss(outputs, targets)`; by default a fixed random
            projection of the outputs, so that no gradient vanishes by symmetry.
        template: params of a plain JAX function (arrays or `ShapeDtypeStruct`), to be loaded.
        params: params converted by the user, to be checked against the plan and used as they are.
        torch_params: tensors by name, if `torch_model` is a plain function.
        pins: PyTorch name -> JAX path, or -> (JAX path, permutation), where the plan needs help.
        allow_unused: PyTorch tensors that may stay unmatched.
        allow_missing: JAX leaves that may stay unmatched.
        layout: input name -> permutation from PyTorch's axes to JAX's, e.g. {"x": (0, 2, 3, 1)}.
        dtypes: floating dtypes to judge.
        oracles: further JAX programs to compare with PyTorch, by label.
        differences: whether to judge the gradients against finite differences, too.
        tolerance: (rtol, atol), elementwise, instead of the yardstick.
        name: of the report.
        seed: of the global generators while the models run.
        device: "cpu" or "cuda", for both sides.

    Returns:
        A report. Bad input, and a model that raises, give one with verdict `error`.
    """
    started = time.perf_counter()
    with reporting(name) as outcome, pinned(seed=seed):
        require_device(device)
        require_dtypes(dtypes)
        given, input_names = _name_inputs(inputs, targets)
        if unknown := sorted(set(layout or {}) - set(given)):
            raise ValueError(f"`layout` names {', '.join(unknown)}; the inputs are {', '.join(given)}")
        pair = match(
            torch_model,
            jax_model,
            template=template,
            params=params,
            torch_params=torch_params,
            pins=pins,
            allow_unused=allow_unused,
            allow_missing=allow_missing,
        )
        torch_loss, jax_loss = loss or (None, None)
        if (torch_loss is None) != (jax_loss is None):
            raise ValueError("`loss` must be (PyTorch loss, JAX loss): both functions, or leave it out")
        task = Task(input_names, torch_loss, jax_loss, layout or {}, device)
        subjects = {
            "torch": Subject(_named("PyTorch", torch_program(pair.torch, task)), pair.weights),
            "jax": Subject(_named("JAX", pair.jax_program(task)), pair.jax_weights),
        }
        oracles = oracles or {}
        for label, oracle in oracles.items():
            subjects[label] = Subject(_named(label, pair.oracle_program(oracle, task)), pair.jax_weights)
        sides = measure(subjects, given, dtypes)
        quantities = pair.judge_weights()
        kinks: list[str] = []
        by_hand = {label for label, oracle in oracles.items() if oracle.gradients is not None}
        for label in ("jax", *oracles):
            rules = {"gradients": FORWARD["gradients"]} if label in by_hand else FORWARD
            quantities += compare(sides["torch"], sides[label], rules, program=label, tolerance=tolerance)
        if differences and "float64" in dtypes:
            subject = Subject(torch_program(pair.torch, task, backward=False), pair.weights)
            autodiff: dict[str, Mapping[str, np.ndarray]] = {
                label: sides[label]["float64"].base["gradients"] for label in ("torch", "jax")
            }
            judged, kinks = finite_differences.check_gradients(subject, given, autodiff)
            quantities += judged
        outcome.quantities = _with_jax_names(quantities, pair.plan)
        outcome.plan = pair.plan.rows()
        outcome.not_checked = not_checked(task, dtypes, differences, kinks, pair.plan)
        outcome.environment = environment(device)
    return dataclasses.replace(outcome.report(), seconds=time.perf_counter() - started)


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
    task: Task, dtypes: Sequence[str], differences: bool, kinks: Sequence[str], plan: Plan
) -> tuple[str, ...]:
    """What a check of outputs and gradients did not look at, in words."""
    lines = [f"{dtype} was not run" for dtype in DTYPES if dtype not in dtypes]
    lines.append("gradients with respect to the inputs")
    lines.append(
        "other weights than these: zeros and ones as at initialisation hide faults, so train a little"
    )
    if task.torch_loss is None:
        lines.append("the models' own losses (gradients are those of a random projection of the outputs)")
    if not differences or "float64" not in dtypes:
        lines.append("gradients against finite differences")
    if kinks:
        lines.append(f"finite differences of {', '.join(kinks)}: the loss has a kink there or is too coarse")
    lines += [f"weight {tensor}: left out as allowed" for tensor in (*plan.unused, *plan.missing)]
    return tuple(lines)


def _name_inputs(inputs: Any, targets: Any) -> tuple[Arrays, tuple[str, ...]]:
    """All arrays in one dict, and which of them the models take."""
    if hasattr(inputs, "shape"):
        raise TypeError("`inputs` is one array; name it, e.g. inputs={'x': x}, or put it in a list")
    if not isinstance(inputs, Mapping):
        inputs = {f"input_{i}": value for i, value in enumerate(inputs)}
    if not inputs:
        raise ValueError("`inputs` is empty; give at least one array, e.g. inputs={'x': x}")
    if targets is None:
        targets = {}
    elif not isinstance(targets, Mapping):
        targets = {"targets": targets}
    if twice := sorted(set(inputs) & set(targets)):
        raise ValueError(f"`inputs` and `targets` both have {', '.join(twice)}; rename one of them")
    arrays = {name: hold(value) for name, value in {**inputs, **targets}.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise TypeError(f"`{name}` has dtype {array.dtype}; it must be floating, integer or boolean")
        # In float32's numbers, so that all precisions start from the same.
        with np.errstate(over="ignore"):
            arrays[name] = round_to(array, "float32")
        if is_float(array) and not np.isfinite(arrays[name]).all():
            raise ValueError(
                f"`{name}` has NaN, infinity or numbers beyond float32 in it; nothing can be compared from "
                "there (give a mask as booleans)"
            )
    return arrays, tuple(inputs)


def _named(framework: str, program: Program) -> Program:
    """The same program, whose errors say which side raised them."""

    def run(own: Arrays, inputs: Arrays, dtype: str) -> Any:
        with said_by(framework):
            return program(own, inputs, dtype)

    return run


def _with_jax_names(quantities: Sequence[Quantity], plan: Plan) -> list[Quantity]:
    names = plan.names()
    return [dataclasses.replace(q, jax_name=q.jax_name or names.get(q.name)) for q in quantities]
