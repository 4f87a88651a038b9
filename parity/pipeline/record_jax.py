"""JAX's side of a comparison, with the weights and inputs of a recording of PyTorch's."""

import time
from collections.abc import Collection, Mapping
from typing import Any

from parity.frameworks.task import Task
from parity.numerics.arrays import DTYPES
from parity.numerics.noise import Sides, Stage, Subject, measure
from parity.numerics.precision import environment, pinned, require_device
from parity.pipeline.recordings import Recording
from parity.pipeline.runs import MOVED, moved_alike, runs_of, said
from parity.weights import Pins


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
    from parity.pipeline.settling import Wishes, settle

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
    wishes = Wishes(
        params if params is not None else template,
        params is not None,
        pins,
        allow_unused,
        allow_missing,
        {name: tuple(axes) for name, axes in (layout or {}).items()},
        (None, outputs[1]) if isinstance(outputs, tuple) and len(outputs) == 2 else outputs,
    )
    with pinned(seed=settings["seed"], sides=("jax",)):
        require_device(device, ("jax",))
        task = Task(tuple(settings["inputs"]), jax_loss=jax_loss, device=device)
        settled = settle(torch, jax_model, task, wishes, stage)
        pair, dtypes = settled.pair, settled.dtypes
        program = pair.jax_program(settled.task)
        runs: dict[str, Sides] = {}
        moving, tables = MOVED in torch.runs, pair.reference.tables
        for run in runs_of(torch.inputs, pair.weights, dtypes, jitter=moving, tables=tables):
            own = pair.jax_weights
            if run.title == MOVED:
                own = {**own, **moved_alike(pair.plan, pair.weights, own, run.weights)}
            subject = {"jax": Subject(said(program, "JAX"), own)}
            runs[run.title] = measure(subject, run.inputs, run.dtypes, stage, run.repeats)["jax"]
        narrow = [dtype for dtype in dtypes if dtype not in DTYPES]
        not_run = [f"{dtype} was not run" for dtype in DTYPES if dtype not in dtypes and not narrow]
        left_out = [f"weight {n}: left out as allowed" for n in (*pair.plan.unused, *pair.plan.missing)]
        return Recording(
            "jax",
            torch.name,
            runs,
            environment(device, ("jax",)),
            {
                "candidate_names": pair.plan.names(),
                "outputs": settled.outputs,
                "undifferentiable": program.undifferentiable,
            },
            quantities=tuple(pair.judge_weights()),
            plan=pair.plan.rows(),
            key=torch.key,
            not_checked=(*not_run, *left_out),
            findings=settled.notes,
            seconds=time.perf_counter() - started,
        )
