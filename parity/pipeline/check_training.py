"""`check_training`: do two models train alike, and if not, from which step and phase on?"""

import inspect
from collections.abc import Mapping
from typing import Any

from parity.numerics.noise import Subject
from parity.numerics.progress import Progress, no_progress
from parity.pipeline.request import Settings, Weights
from parity.pipeline.step_functions import check_steps
from parity.pipeline.training_pairs import check_pair
from parity.pipeline.training_programs import check_programs
from parity.report.results import ParityError, Report, Verdict
from parity.report.sides import TORCH_AND_JAX, Sides


def check_training(
    reference: object,
    candidate: object,
    batches: Any,
    *,
    loss: tuple[Any, Any] | None = None,
    optimizer: object = None,
    scheduler: object = None,
    updates_per_step: int = 1,
    clip: object = None,
    accumulate: int = 1,
    average: object = None,
    autocast: object = None,
    steps: int | None = None,
    candidate_batches: Any = None,
    outputs: object = None,
    layout: Mapping[str, tuple[int, ...]] | None = None,
    weights: Weights | None = None,
    settings: Settings | None = None,
    progress: Progress = no_progress,
    decided_by: Mapping[str, str] | None = None,
    scales: Mapping[str, float] | None = None,
    oracles: Mapping[str, Subject] | None = None,
    sides: Sides = TORCH_AND_JAX,
    state: object = None,
    name: str = "training",
) -> Report:
    """Compare how two models train, step by step, or two programs that train by themselves.

    **Two models.** Both start from the same weights and see the same batches, drawn once. They train twice.
    Freely, each from its own weights: the loss of every step, and the weights after it. And every step from
    equal weights, those that the reference had there: its loss, gradients, the state of the optimiser where
    optax names it as PyTorch does, and the update. The report begins with the first step in which they part
    and the first phase of it: `report.parting`.

    Models run as in `parity.check`: a PyTorch module in its own mode, a JAX model as it is called there.

        parity.check_training(
            module, port, loader, loss=(torch_loss, jax_loss),
            optimizer=(torch.optim.AdamW(module.parameters()), optax.adamw(1e-3)), steps=100)

    **Two programs** of your own, as `parity.Subject(program, weights)`: they return two groups of values
    under the reference's names: "updates", per weight the change that the first step makes to it; and
    "curve", per metric an array whose first axis is time. Curves are judged point by point.

    **Two step functions** of your own, with `state`, where nothing else fits (several optimisers, a target
    network, a loss scale): each is `step(state, batch) -> (state, metrics)`, or returns only metrics where
    it changes its state in place. The states are compared as trees: weights are paired by their numbers,
    and so are the slots of optimisers.

        parity.check_training(torch_step, jax_step, batches, state=(torch_state, jax_state), steps=50)

    Args:
        reference: a torch.nn.Module; or a `parity.Subject`.
        candidate: a JAX model, as in `parity.check`; or a `parity.Subject`.
        batches: an iterable of (inputs, targets), one for each step; inputs an array, a list of arrays, or a
            dict by argument name. For programs: named arrays that both read.
        loss: (PyTorch's, JAX's), each `loss(outputs, targets) -> number`; or each (number, {name: part}), or
            {name: part} whose sum is differentiated: then the parts are compared, too.
        optimizer: a torch.optim optimiser over the module's parameters, or a function of the parameters that
            makes one; alone, and JAX's side is translated (`parity.optimizers.to_optax`), or in a pair with
            the optax transformation of the JAX side.
        scheduler: of torch.optim.lr_scheduler over that optimiser, or a function of the optimiser that makes
            one. Optax's schedule is in its transformation. ReduceLROnPlateau follows the loss of the step;
            optax's transformation gets it as `value`.
        updates_per_step: updates for one step of the scheduler: the batches of an epoch, where it steps once
            an epoch.
        clip: the largest norm of all gradients (PyTorch's `clip_grad_norm_`, and JAX's where it is
            translated), or a function that is called with PyTorch's parameters before each step. Optax's
            clipping is in its transformation.
        accumulate: batches of one step: PyTorch's optimiser gets the mean of their gradients, as where a loop
            divides each loss by their number; optax's accumulation is in its transformation
            (`optax.MultiSteps`).
        average: of the weights after each update: the decay of an exponential average that both keep; or a
            pair of PyTorch's `AveragedModel` (or a decay) and JAX's function (average, params) -> average or
            (average, params, num_averaged) -> average (or a decay, or a `parity.optimizers.Averaging`).
        autocast: a `torch.autocast(...)` in which a loop computes the module and PyTorch's loss. JAX's model
            casts by itself, as its policy says. A `GradScaler` is a factor that is taken out again before the
            step: leave it out.
        steps: how many steps; None for all batches, at most 200.
        candidate_batches: what the candidate's own data pipeline gives, where it has one, as `batches`, in
            its own layout or the reference's: compared with `batches`, batch by batch (phase "data"). Both
            models are trained on `batches`.
        outputs: as in `parity.check`.
        layout: as in `parity.check`.
        weights: as in `parity.check`.
        settings: `dtypes`, `seed` and `device` are used; see `parity.Settings`.
        progress: called with a short description as each phase begins.
        decided_by: of programs: for curves that count decisions (accuracies), the curve that holds the
            margins of the decisions, shape (time, samples).
        scales: of programs: for curves that are a small difference of larger numbers, the size of those.
        oracles: of programs: further ones to compare with the reference, by label.
        sides: of programs: what the two are called in the report.
        state: of step functions: what each begins with, (PyTorch's, JAX's). PyTorch's is any nest of modules,
            optimisers, schedulers, tensors and numbers; JAX's a pytree, or Flax NNX modules and optimisers.
            Both hold the same weights. Every run begins with a copy.
        name: of the report.

    Returns:
        The report.

    Raises:
        TypeError, ValueError: if an argument cannot be used, or a program returns other groups.
        WeightError: if the weights do not pair up.
        Exception: what a model or a program raises, with a note that names it.
    """
    if state is not None:
        given = {"loss": loss, "optimizer": optimizer, "scheduler": scheduler, "clip": clip}
        given |= {"average": average, "outputs": outputs, "layout": layout, "weights": weights}
        given |= {"accumulate": None if accumulate == 1 else accumulate}
        given |= {"decided_by": decided_by, "scales": scales, "oracles": oracles}
        given |= {"candidate_batches": candidate_batches, "autocast": autocast}
        _refuse(given, "with `state`, step functions do all of a step")
        return check_steps(
            reference,
            candidate,
            batches,
            state=state,
            steps=steps,
            settings=settings,
            progress=progress,
            name=name,
        )
    if inspect.isfunction(reference) and not isinstance(candidate, Subject):
        raise TypeError(
            "the reference is a function: of two models it must be a torch.nn.Module; two step functions, "
            "step(state, batch) -> (state, metrics), need `state=(PyTorch's, JAX's)`"
        )
    if isinstance(reference, Subject) or isinstance(candidate, Subject):
        given = {"loss": loss, "optimizer": optimizer, "scheduler": scheduler, "clip": clip, "steps": steps}
        given |= {"candidate_batches": candidate_batches, "autocast": autocast}
        _refuse(given, "two programs train by themselves")
        if not (isinstance(reference, Subject) and isinstance(candidate, Subject)):
            raise TypeError(
                "one of the two is a `parity.Subject`: give two models, or two programs as `Subject`s"
            )
        return check_programs(
            reference,
            candidate,
            batches,
            decided_by=decided_by,
            scales=scales,
            oracles=oracles,
            settings=settings,
            sides=sides,
            name=name,
        )
    _refuse(
        {"decided_by": decided_by, "scales": scales, "oracles": oracles},
        "two models have no curves of their own",
    )
    return check_pair(
        reference,
        candidate,
        batches,
        loss=loss,
        optimizer=optimizer,
        scheduler=scheduler,
        updates_per_step=updates_per_step,
        clip=clip,
        accumulate=accumulate,
        average=average,
        autocast=autocast,
        steps=steps,
        candidate_batches=candidate_batches,
        progress=progress,
        outputs=outputs,
        layout=layout,
        weights=weights,
        settings=settings,
        name=name,
    )


def _refuse(given: Mapping[str, object], why: str) -> None:
    """Raise if an argument of the other form is given."""
    used = [name for name, value in given.items() if value is not None]
    if used:
        raise TypeError(f"{', '.join(f'`{name}`' for name in used)} cannot be used: {why}")


def assert_training_parity(*args: Any, **kwargs: Any) -> Report:
    """`check_training`, raising `ParityError` with the whole report unless the verdict is pass.

    Args:
        *args: of `check_training`.
        **kwargs: of `check_training`.

    Returns:
        The report, which passed.

    Raises:
        ParityError: an AssertionError; its `report` has the evidence.
    """
    report = check_training(*args, **kwargs)
    if report.verdict is not Verdict.PASS:
        raise ParityError(report)
    return report
