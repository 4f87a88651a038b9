"""PyTorch's side of a comparison, recorded where JAX need not be installed."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.frameworks.outputs import name_outputs, pair_outputs, unnamed_outputs
from parity.frameworks.task import Task, said_by
from parity.frameworks.torch.torch_modes import require_repeatable, training_remarks
from parity.numerics import finite_differences
from parity.numerics.arrays import DTYPES, is_float, require_dtypes, round_to
from parity.numerics.noise import Sides, Stage, Subject, measure
from parity.numerics.precision import environment, pinned, require_device
from parity.pipeline.inputs import name_inputs, sets_of
from parity.pipeline.recordings import Recording, key_of
from parity.pipeline.runs import runs_of, said
from parity.report.results import Quantity
from parity.trace.graph import Trace
from parity.weights import Use


def record_torch(
    torch_model: Any,
    inputs: Any,
    *,
    targets: Any = None,
    loss: tuple[Any, Any] | None = None,
    torch_params: Mapping[str, Any] | None = None,
    outputs: Any = None,
    dtypes: Sequence[str] | None = None,
    differences: bool = True,
    jitter: bool = True,
    tolerance: tuple[float, float] | None = None,
    name: str = "check",
    seed: int = 0,
    device: str = "cpu",
    stage: Stage = lambda text: None,
) -> Recording:
    """Run PyTorch's side; arguments as in `parity.check`, of which JAX's part may be None."""
    from parity.frameworks.torch.torch_program import TorchProgram, read_torch

    started = time.perf_counter()
    if dtypes is not None:
        require_dtypes(dtypes)
    with pinned(seed=seed, sides=("torch",)):
        require_device(device, ("torch",))
        named = [name_inputs(one, targets) for one in sets_of(inputs)]
        given, input_names = named[0]
        task = Task(
            input_names, torch_loss=loss[0] if loss else None, torch_outputs=_picker(outputs), device=device
        )
        stage("reading the PyTorch model")
        with said_by("PyTorch"):
            model = read_torch(torch_model, torch_params)
            own = {
                n: round_to(a, "float32").astype(np.float32) if is_float(a) else a
                for n, a in model.weights.items()
            }
            if broken := [n for n, a in own.items() if is_float(a) and np.isnan(a).any()]:
                raise ValueError(
                    f"the PyTorch weights {', '.join(broken)} have NaN in them: nothing can be compared"
                )
            forward = TorchProgram(model, task, backward=False)
            left = unnamed_outputs(forward.forward(own, given, "float64"))
            census = forward.census(own, given)
            require_repeatable(forward, own, given, census.random)
            uses, numbers = _told_by(forward.trace(own, given))
        # Which of these JAX's side is in, too, is known when it is recorded.
        judged = tuple(dict.fromkeys((*DTYPES, *census.narrow) if dtypes is None else dtypes))
        program = said(TorchProgram(model, task), "PyTorch")
        runs: dict[str, Sides] = {}
        every, moving = [a for a, _ in named], jitter and tolerance is None
        for run in runs_of(every, own, judged, jitter=moving, tables=model.tables):
            subject = {"torch": Subject(program, run.weights)}
            runs[run.title] = measure(subject, run.inputs, run.dtypes, stage, run.repeats)["torch"]
        quantities: list[Quantity] = []
        skipped: list[str] = []
        if differences and "float64" in judged:
            stage("finite differences")
            gradients = {"reference": runs[""]["float64"].base["gradients"]}
            quantities, kinks = finite_differences.check_gradients(Subject(forward, own), given, gradients)
            if kinks:
                skipped.append(f"finite differences of {', '.join(kinks)}: a kink, or the loss is too coarse")
        else:
            skipped.append("gradients against finite differences")
        if not jitter:
            skipped.append("other weights than these: zeros and ones as at initialisation hide faults")
        notes = (f"PyTorch's outputs {', '.join(left)}: not compared",) if left else ()
        settings = {
            "inputs": list(input_names),
            "own_loss": task.torch_loss is not None,
            "trainable": list(model.trainable),
            "tables": list(model.tables),
            "tolerance": tolerance,
            "seed": seed,
            "dtypes": None if dtypes is None else list(dtypes),
            "numbers": list(numbers),
            "narrow": {dtype: spot._asdict() for dtype, spot in census.narrow.items()},
        }
        return Recording(
            "torch",
            name,
            runs,
            environment(device, ("torch",)),
            settings,
            tuple(arrays for arrays, _ in named),
            own,
            {n: s._replace(use=uses.get(n)) for n, s in model.signatures.items()},
            tuple(quantities),
            key=key_of([own, *(arrays for arrays, _ in named)]),
            not_checked=tuple(skipped),
            findings=(*training_remarks(model.module), *notes),
            seconds=time.perf_counter() - started,
        )


def _told_by(trace: Trace) -> tuple[dict[str, Use], tuple[float, ...]]:
    """What the other side needs to know of a trace: first uses of the weights, and the numbers in it."""
    from parity.frameworks.uses import torch_uses

    return torch_uses(trace), trace.numbers()


def _picker(outputs: Any) -> Callable[[Any], dict[str, Any]]:
    """From PyTorch's return value to the named arrays that are recorded."""
    if isinstance(outputs, tuple) and len(outputs) == 2 and any(callable(one) for one in outputs):
        chosen = outputs[0]
        return lambda out: name_outputs(chosen(out) if callable(chosen) else out)
    names = list(outputs) if isinstance(outputs, Mapping) else outputs
    return lambda out: pair_outputs(out, out, names)[0]
