"""Training by users' own step functions: the state compared as a tree, step by step."""

import dataclasses
import time
from collections.abc import Iterable
from typing import Any

from parity.frameworks.environment import environment
from parity.frameworks.kept_steps import KeptStep
from parity.numerics.arrays import DTYPES
from parity.numerics.precision import pinned, require_device
from parity.numerics.progress import Progress
from parity.pipeline.outcome import Outcome
from parity.pipeline.request import Settings
from parity.pipeline.stepped_batches import read_own_batches
from parity.pipeline.stepped_causes import parting_of_steps, with_advice
from parity.pipeline.stepped_judging import Loops
from parity.pipeline.stepped_places import look_into_the_step
from parity.pipeline.stepped_runs import tried
from parity.pipeline.stepped_statistics import biased_statistics
from parity.pipeline.stepped_views import views_of
from parity.pipeline.training_judging import as_accurate, by_effect
from parity.pipeline.undetermined import depend_on, in_words
from parity.pipeline.undetermined_slots import undetermined_entries, with_slots
from parity.pipeline.updated_statistics import biased_in_words
from parity.report.results import Quantity, Report
from parity.report.sides import TORCH_AND_JAX


def check_steps(
    torch_step: Any,
    jax_step: Any,
    batches: Iterable[Any],
    *,
    state: Any,
    steps: int | None,
    settings: Settings | None,
    progress: Progress,
    name: str,
) -> Report:
    """`parity.check_training` of two step functions.

    Args:
        torch_step: PyTorch's `step(state, batch) -> (state, metrics)`, or only metrics where it changes the
            state in place.
        jax_step: JAX's, likewise.
        batches: one for each step.
        state: (PyTorch's, JAX's), from the same weights.
        steps: how many; None for all batches, at most 200.
        settings: `dtypes`, `seed` and `device` are used.
        progress: called with a short description as each phase begins.
        name: of the report.

    Raises:
        TypeError, ValueError: if an argument cannot be used.
        WeightError: if the states do not start from the same weights.
        Exception: what a step raises, with a note that names the side and the step.
    """
    from parity.frameworks.jax.jax_stepped import JaxSide
    from parity.frameworks.torch.torch_stepped import TorchSide

    started = time.perf_counter()
    settings = settings or Settings()
    torch_state, jax_state = _states(torch_step, jax_step, state)
    forms, arrays = read_own_batches(batches, steps)
    dtypes = tuple(settings.dtypes or DTYPES)
    with pinned(seed=settings.seed):
        require_device(settings.device)
        if settings.device != "cpu":
            raise ValueError(
                f"`device` is {settings.device!r}: two step functions are compared on the CPU; leave it out"
            )
        reference = TorchSide(torch_step, torch_state, forms, settings.seed)
        candidate = JaxSide(jax_step, jax_state, forms)
        kept = KeptStep(torch_step), KeptStep(jax_step)
        progress("the first steps of both sides")
        try:
            tried(reference, arrays[:1], kept[0], "float32")
        finally:
            changed = reference.put_back()
        if changed:
            raise ValueError(
                f"PyTorch's step changed {changed} of the state that you gave, not of the copy that it was "
                "called with: let it take modules and optimisers from its argument `state`"
            )
        views = views_of(reference, candidate, arrays, kept)
        outcome = Outcome(name, sides=TORCH_AND_JAX)
        outcome.plan, outcome.doubts = views.plan.rows(), views.plan.doubts()
        outcome.environment = environment(settings.device)
        loops = Loops(views, arrays, dtypes, progress)
        found = loops.compared()
        entries = undetermined_entries(found.equal, views.slots.names)
        if entries and depend_on(entries, [*found.stepped, *found.free]):
            loops = dataclasses.replace(loops, hidden=with_slots(entries, views.slots.names))
            found = loops.compared()
            outcome.not_checked = (in_words(entries),)
        free, less_accurate = as_accurate(found.free)
        judged, kept_otherwise = by_effect(found.stepped)
        kept_biased = (
            biased_statistics(judged, found.equal, views.start) if candidate.has_norms_of_a_library else {}
        )
        judged, free = ([q for q in some if q.name not in kept_biased] for some in (judged, free))
        outcome.quantities = [*judged, *free]
        outcome.findings = (
            *views.findings,
            *less_accurate,
            *kept_otherwise,
            *biased_in_words(kept_biased),
            *_on_draws(reference.draws, candidate.draws),
        )
        outcome.not_checked = (*outcome.not_checked, *views.not_checked)
        progress("looking for the step, the phase and the cause")

        def without_jit() -> list[Quantity]:
            again = JaxSide(jax_step, jax_state, forms, without_jit=True)
            again.looks_at_numbers = candidate.looks_at_numbers
            return loops.stepped_again(found, again)

        outcome.parting = parting_of_steps(judged, found.equal, views, without_jit)
        if settings.localise and not (reference.draws or candidate.draws or candidate.looks_at_numbers):
            look_into_the_step(outcome, judged, views, found.inputs, progress)
        outcome.parting = with_advice(outcome.parting, views)
        if candidate.looks_at_numbers:
            outcome.findings = (
                *outcome.findings,
                "JAX's step looks at numbers while it runs and cannot be traced: in float64 it ran as it "
                "stands, with what it rounds to float32 by name",
            )
    return outcome.report(time.perf_counter() - started)


def _on_draws(reference: bool, candidate: bool) -> tuple[str, ...]:
    """What is to be said of steps that draw random numbers."""
    words = [word for word, draws in (("<reference>", reference), ("<candidate>", candidate)) if draws]
    if not words:
        return ()
    draw = "both draw" if len(words) > 1 else "draws"
    return (
        f"{' and '.join(words)} {draw} random numbers in a step, which step functions do not share: switch "
        "dropout off, or draw the numbers once and give them in the batches",
    )


def _states(torch_step: Any, jax_step: Any, state: Any) -> tuple[Any, Any]:
    """The two states.

    Raises:
        TypeError: if they, or the step functions, cannot be used.
    """
    for step, side in ((torch_step, "PyTorch"), (jax_step, "JAX")):
        if not callable(step):
            raise TypeError(
                f"{side}'s step is of type {type(step).__name__}; with `state` the first two arguments are "
                "step functions, `step(state, batch) -> (state, metrics)`"
            )
    if not isinstance(state, tuple | list) or len(state) != 2:
        raise TypeError(
            f"`state` is of type {type(state).__name__}; it must be a pair, (PyTorch's state, JAX's state)"
        )
    return state[0], state[1]
