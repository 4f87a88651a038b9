"""Both sides of a comparison in one run: programs that are here are run, those that are recorded are read."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.frameworks.model import Program
from parity.frameworks.opening import open_model
from parity.frameworks.task import Task
from parity.numerics.arrays import Arrays, Params
from parity.numerics.finite_differences import Slope, measure_slope
from parity.numerics.noise import Runnable, SideByDtype, Subject, Values, measure
from parity.numerics.progress import Progress
from parity.pipeline.candidate import Candidate
from parity.pipeline.conversions import RoundedOnce
from parity.pipeline.held_values import Key, held_in
from parity.pipeline.planning import load, plan_between
from parity.pipeline.reference import Reference
from parity.pipeline.runs import MOVED, Run, compared_tensors, in_tensors, leaves_of, program_weights
from parity.pipeline.shown import compared_part
from parity.trace.sketches import Sketched


class Oracle(NamedTuple):
    """Another candidate for the same weights: a second implementation, or gradients by hand.

    Attributes:
        model: what `check` takes as its candidate.
        template: its params, if it is a plain function.
        gradients: `gradients(params, x, targets)` instead of autodiff; then only gradients are compared.
    """

    model: object
    template: Params | None = None
    gradients: Callable[..., Params] | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """Two sides, ready to be measured run by run.

    Attributes:
        reference: the reference.
        candidate: the candidate.
        programs: label -> the program to run, gradients under the tensors' names; "reference" is missing
            where only its recording is here.
        weights: label -> what an oracle runs with; the candidate's are moved with the reference's.
        recorded: title of a run -> the reference's values, where they are recorded.
        by_hand: labels of oracles that have gradients alone.
        candidate_program: the candidate's own program, gradients under its own names, for traces.
        reference_program: the reference's; None where only its recording is here.
    """

    reference: Reference
    candidate: Candidate
    programs: Mapping[str, Runnable]
    weights: Mapping[str, Arrays]
    recorded: Mapping[str, SideByDtype]
    by_hand: frozenset[str]
    candidate_program: Program
    reference_program: Program | None

    def reference_dtypes(self, dtype: str) -> Mapping[str, str]:
        """The dtypes of the reference's outputs in a run in `dtype`, by their common names."""
        if self.reference_program is None:
            own = self.reference.output_dtypes.get(dtype, {})
            return {common: own[name] for common, name in self.candidate.outputs.items() if name in own}
        given = self.reference.inputs[0]
        found = self.reference_program.output_dtypes(self.reference.weights, given, dtype)
        return {name: kind for name, (kind, _) in found.items()}

    def candidate_held(self, key: Key) -> Sketched:
        """In what precision the candidate holds its values in the first run.

        Args:
            key: the dtype, and whether the backward pass is traced, too.
        """
        return held_in(self.candidate_program, self.candidate.weights, self.reference.inputs[0], key)

    def slope(self, run: Run, names: Sequence[str]) -> Slope | None:
        """A finite difference of the reference's loss in its first run; None where it was not recorded.

        Args:
            run: the run whose gradients are compared with it.
            names: the tensors that move.
        """
        if self.reference.model is None:
            known = self.reference.slope
            return None if known is None else known.along(names)
        return measured_slope(self, run, names)

    def sides(self, run: Run, progress: Progress) -> dict[str, SideByDtype]:
        """Every program's values in one run, by label and dtype.

        Args:
            run: the inputs, dtypes and weights to run with.
            progress: called with each step, in words.
        """
        plan, own = self.candidate.plan, self.candidate.weights
        weights = {**self.weights, **program_weights(run, plan, self.reference.weights, own)}
        # Oracles run with the weights as they are: what moves is the same function's other point.
        labels = [label for label in self.programs if run.title != MOVED or label not in self.weights]
        subjects = {label: Subject(self.programs[label], weights[label]) for label in labels}
        measured: dict[str, SideByDtype] = dict(
            measure(subjects, run.inputs, run.dtypes, progress, run.repeats)
        )
        if run.title in self.recorded:
            sides, outputs = self.recorded[run.title], self.candidate.outputs
            measured["reference"] = {
                d: compared_part(sides[d], outputs, plan.of_reference()) for d in run.dtypes
            }
        return measured


def measured(
    reference: Reference,
    candidate: Candidate,
    oracles: Mapping[str, Oracle] | None = None,
    recorded: Mapping[str, SideByDtype] | None = None,
) -> Measured:
    """Make the programs of both sides and of every oracle.

    Args:
        reference: live, or from a recording.
        candidate: live.
        oracles: further candidates, by label.
        recorded: title of a run -> the reference's values, where only its recording is here.
    """
    plan = candidate.plan
    tensors = compared_tensors(plan, reference.trainable)
    own = leaves_of(plan, tensors)
    programs: dict[str, Runnable] = {}
    reference_program = None
    if reference.model is not None:
        task = restricted(reference, candidate)
        trainable = own if plan.reversed else list(tensors)
        reference_program = reference.program(task, trainable=trainable)
        programs["reference"] = in_tensors(reference_program, plan, tensors, leaves=plan.reversed)
    program = candidate.model.program(candidate.task, trainable=list(tensors) if plan.reversed else own)
    run: Runnable = program
    if candidate.conversion is not None:
        run = RoundedOnce(program, candidate.conversion.computed)
    programs["candidate"] = in_tensors(run, plan, tensors, leaves=not plan.reversed)
    weights: dict[str, Arrays] = {}
    for label, oracle in (oracles or {}).items():
        programs[label], weights[label] = _oracle(oracle, reference, candidate, tensors)
    by_hand = frozenset(label for label, o in (oracles or {}).items() if o.gradients is not None)
    return Measured(
        reference, candidate, programs, weights, recorded or {}, by_hand, program, reference_program
    )


def restricted(reference: Reference, candidate: Candidate) -> Task:
    """The reference's task with those outputs alone that are compared, under their common names.

    Its roundings to narrow dtypes stay, unless both sides compute in one.

    Args:
        reference: with every output it has.
        candidate: whose outputs have been paired with the reference's.
    """
    every = reference.task.outputs

    def outputs(out: object) -> dict[str, Any]:
        own = every(out)
        return {common: own[name] for common, name in candidate.outputs.items()}

    kept = bool(reference.narrow) and not reference.computed & set(candidate.dtypes)
    return reference.task._replace(outputs=outputs, rounding=kept)


def _oracle(
    oracle: Oracle, reference: Reference, candidate: Candidate, tensors: frozenset[str]
) -> tuple[Runnable, Arrays]:
    """The program of another candidate, whose params may have their own paths, and its weights."""
    task = candidate.task
    inputs = {name: reference.inputs[0][name] for name in task.inputs}
    model = open_model(oracle.model, oracle.template, task.laid_out(inputs), role="oracle")
    if list(model.weights) == list(candidate.model.weights):
        plan, weights = candidate.plan, candidate.weights
    else:
        plan = plan_between(reference, model)
        weights = load(plan, reference.weights, model, converted=False)
    trainable = list(tensors) if plan.reversed else leaves_of(plan, tensors)
    more = {} if oracle.gradients is None else {"gradients": oracle.gradients}
    program = model.program(task, trainable=trainable, **more)
    return in_tensors(program, plan, tensors, leaves=not plan.reversed), weights


def measured_slope(both: Measured, run: Run, names: Sequence[str]) -> Slope:
    """A finite difference of the reference's loss.

    Args:
        both: two sides that have been measured.
        run: the run whose gradients are compared with it.
        names: the plan's tensors that move.
    """
    reference, candidate = both.reference, both.candidate
    forward = reference.program(restricted(reference, candidate), trainable=())
    if not candidate.plan.reversed:
        return measure_slope(Subject(forward, reference.weights), run.inputs, names)

    def in_tensors(tensors: Arrays, inputs: Arrays, dtype: str) -> Values:
        return forward({**reference.weights, **candidate.plan.to_leaves(tensors)}, inputs, dtype)

    planned = {name: np.asarray(candidate.weights[name]) for name in candidate.plan.names()}
    return measure_slope(Subject(in_tensors, planned), run.inputs, names)
