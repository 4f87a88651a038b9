"""The plan between two sides that run: ties settled, other plans tried, a user's own conversion read.

What names and shapes leave open is settled by what the two sides compute.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from parity.frameworks.model import Model, Program
from parity.numerics.arrays import Arrays
from parity.numerics.progress import Progress
from parity.numerics.unread import overlaid
from parity.pipeline.conversions import Conversion, explained_part, left_out, neutral, turned_as_converted
from parity.pipeline.levelled_gradients import LevelledGradients
from parity.pipeline.planning import load, plan_between, with_uses
from parity.pipeline.reference import Reference
from parity.pipeline.request import Weights
from parity.report.errors import by_the_harness
from parity.trace.graph import Trace
from parity.weights import Plan, Signature, WeightError
from parity.weights.exchanges import is_against_evidence, moves_in_words, turns_in_words
from parity.weights.unread_plans import candidate_weights

NEAR = 1e-6
"""Outputs that agree to this relative difference in float64 settle which of several plans is meant, where the
reference has no trace."""


class SettledPlan(NamedTuple):
    """A plan and how it was come by.

    Attributes:
        plan: the plan.
        notes: what was chosen on the way, in words.
        conditions: how weights must lie, which names, shapes and usual layouts do not say, for the outputs to
            agree, in words.
        conversion: of the user's own params, where no whole plan explains them.
        apart: the `gap` that it leaves; None where it was not looked at.
    """

    plan: Plan
    notes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    conversion: Conversion | None = None
    apart: float | None = None


def gap(reference: Reference, program: Program, weights: Arrays) -> float:
    """The largest difference from the reference's outputs in float64, relative to their size.

    Args:
        reference: with its outputs on the first inputs.
        program: the candidate's, outputs under the reference's names.
        weights: what it is loaded with.

    Returns:
        Infinity where a shape differs or nothing can be compared.
    """
    outputs = program(weights, reference.inputs[0], "float64")["outputs"]
    gaps = []
    for name in [name for name in outputs if name in reference.outputs]:
        wanted, actual = (
            array.astype(np.result_type(array.dtype, np.float64))  # truth values have no difference
            for array in (reference.outputs[name], outputs[name])
        )
        if wanted.shape != actual.shape:
            return float("inf")
        size = float(np.max(np.abs(wanted), where=np.isfinite(wanted), initial=0.0)) or 1.0
        with np.errstate(invalid="ignore"):  # infinities are equal to their like: a mask's
            gaps.append(float(np.max(np.abs(actual - wanted), where=actual != wanted, initial=0.0)) / size)
    return float(np.nan_to_num(max(gaps, default=np.inf), nan=np.inf))


def settle_plan(
    reference: Reference, wishes: Weights, model: Model, program: Program, progress: Progress
) -> SettledPlan:
    """The plan, with the evidence of both computations.

    Where it does not make the two agree, others that fit are tried, unless the weights are the user's own;
    those may have no whole plan.

    Args:
        reference: with its outputs on the first inputs, and its trace where there is one.
        wishes: what the user said of the weights.
        model: the candidate.
        program: the candidate's forward pass, outputs under the reference's names.
        progress: called as each phase begins.

    Raises:
        WeightError: if weights that are not the user's own conversion do not pair up.
    """
    given = reference.inputs[0]
    progress("matching the weights")
    from parity.localise import agreement

    compared: list[Callable[[Trace], float]] = []
    first: list[Plan] = []

    def loaded(plan: Plan) -> Arrays:
        return overlaid(model.weights, candidate_weights(plan, reference.weights))

    def try_plan(plan: Plan) -> float:
        if not first:
            first.append(plan)
        weights = loaded(plan)
        if reference.trace is None:
            return float(gap(reference, program, weights) <= NEAR)
        if not compared:
            compared.append(agreement(reference.trace))
        return float(compared[0](program.trace(weights, given, False)))

    differentiate = None if reference.model is None else LevelledGradients(reference, model, program.task)
    with by_the_harness("reading how the candidate uses its weights"):
        uses = program.uses(model.weights, given)
    own = with_uses(model.signatures, uses)
    try:
        plan = plan_between(
            reference, model, wishes, uses=uses, try_plan=try_plan, differentiate=differentiate
        )
    except WeightError as error:
        if wishes.params is None:
            raise
        part = plan_between(reference, model, wishes, uses=uses, partial=True)
        conversion = _as_given(part, reference, model, program, own)
        lost = left_out(conversion, wishes, reference.tables)
        if lost and conversion.agree and not conversion.computed:  # no leaf is left that could hold these
            raise error
        says = neutral(lost, reference.weights)
        return SettledPlan(
            conversion.plan,
            _in_another_order(model, conversion),
            (says,) if says else (),
            conversion,
        )
    if wishes.params is not None:
        held = turned_as_converted(plan, reference.weights, model.weights)
        wrong = held != plan and gap(reference, program, loaded(plan)) <= NEAR  # it is the conversion
        plan = plan if wrong else held
        conversion = _as_given(plan, reference, model, program, own)
        if not conversion.computed:
            orders = conversion.plan.orders
            return SettledPlan(plan._replace(orders=orders), _in_another_order(model, conversion))
        if not conversion.agree:
            return SettledPlan(plan)
        return SettledPlan(conversion.plan, _in_another_order(model, conversion), conversion=conversion)
    if reference.trace is None:
        return SettledPlan(plan)
    apart = gap(reference, program, loaded(plan))
    if apart <= NEAR:
        return _agreed(first[0] if first else plan, plan)._replace(apart=apart)
    moves = moves_in_words(first[0], plan) if first else ""
    notes = (f"{moves}: then more of the two agrees",) if moves else ()
    from parity.pipeline.varying import vary_plan

    progress("trying other plans of the weights")
    ends = (own, reference.signatures) if plan.reversed else (reference.signatures, own)
    found = vary_plan(
        plan,
        *ends,
        reference=reference.trace,
        trace=lambda plan: program.trace(loaded(plan), given, False, replayable=True),
        weights=reference.weights,
        sizes={size for array in given.values() for size in array.shape[1:]},
        agree=lambda plan: gap(reference, program, loaded(plan)) <= NEAR,
    )
    return SettledPlan(found.plan, (*notes, *found.notes), only_if(found.changes))


def _as_given(
    plan: Plan, reference: Reference, model: Model, program: Program, own: Mapping[str, Signature]
) -> Conversion:
    """The user's params: judged by what they compute, and leaf by leaf where the plan explains them."""
    ends = (own, reference.signatures) if plan.reversed else (reference.signatures, own)
    weights = load(plan, reference.weights, model, converted=True)

    def agree(otherwise: Arrays) -> bool:
        return gap(reference, program, overlaid(weights, otherwise)) <= NEAR

    return explained_part(plan, reference.weights, model.weights, *ends, agree=agree)


def _in_another_order(model: Model, conversion: Conversion) -> tuple[str, ...]:
    orders = ", ".join(conversion.plan.orders)
    text = f"the {model.framework} params hold {orders} in another order: the same function"
    return (text,) if orders else ()


def _agreed(first: Plan, plan: Plan) -> SettledPlan:
    """The plan with which both sides agree, and what running them changed in the first one."""
    moves = moves_in_words(first, plan)
    if not moves or is_against_evidence(first, plan):
        return SettledPlan(plan, conditions=only_if([*filter(None, [moves]), *turns_in_words(first, plan)]))
    return SettledPlan(plan, (f"{moves}: then the two agree",), only_if(turns_in_words(first, plan)))


def only_if(changes: Iterable[str]) -> tuple[str, ...]:
    """The changes of a plan that made the outputs agree, as conditions.

    >>> only_if(["`fc.weight` lies channels last in the candidate"])
    ('the two agree only if `fc.weight` lies channels last in the candidate',)

    Args:
        changes: what is otherwise than names, shapes and usual layouts say, in words.
    """
    return tuple(f"the two agree only if {text}" for text in changes)
