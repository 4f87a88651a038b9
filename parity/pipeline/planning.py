"""The weights between two opened sides: planned, loaded, and judged one by one."""

import contextlib
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from parity.frameworks.model import Model
from parity.numerics.arrays import Arrays, eps_of
from parity.numerics.measured_leaf import FLOOR_ULPS
from parity.numerics.unread import overlaid
from parity.pipeline.reference import starting_weights
from parity.pipeline.request import Weights
from parity.report.results import AS_STORED, LIMIT, Quantity, Stage, Verdict
from parity.report.sides import Sides
from parity.weights import Pins, Plan, Signature, Transfer, Use, WeightError, find_plan
from parity.weights.evidence import Known
from parity.weights.explaining import Explanation, explain
from parity.weights.matching import Differentiate
from parity.weights.names import without_numbers
from parity.weights.sameness import same_but_for_rounding
from parity.weights.unread_plans import candidate_weights

MOST_CHOICES = 8
"""Ways to leave out some of the tables that are tried, where all or none do not fit."""

MOST_SUMS = 10**5
"""Ways of which the numbers are counted for that."""

HELD = LIMIT * FLOOR_ULPS
"""Roundings of float32 that a weight may be off the planned one and still pass, as in `judge_weights`."""


@runtime_checkable
class Weighted(Protocol):
    """What planning reads of a side, live or recorded."""

    @property
    def framework(self) -> str:
        """The framework that the side belongs to."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """What is known of each weight, by name."""

    @property
    def tables(self) -> Collection[str]:
        """Weights that may stay without a partner."""


def plan_between(
    reference: Weighted,
    candidate: Weighted,
    wishes: Weights | None = None,
    *,
    uses: Mapping[str, Use] | None = None,
    try_plan: Callable[[Plan], float] | None = None,
    differentiate: Differentiate | None = None,
    partial: bool = False,
) -> Plan:
    """The weight plan of two sides.

    The tensors of the plan are PyTorch's where the frameworks differ, and the reference's where not. Tables
    that the user's own modules keep (positions, masks) may stay without a partner.

    Args:
        reference: with signatures that have their first uses, where known.
        candidate: likewise, without.
        wishes: pins, and what may be unused or missing.
        uses: first uses of the candidate's weights, where known.
        try_plan: how well a plan makes the two sides agree, 0 to 1, to settle ties.
        differentiate: both sides' gradients, as `find_plan` takes them, to settle ties at once.
        partial: whether weights may be left over.

    Raises:
        WeightError: naming every weight that is unused, missing or ambiguous.
    """
    wishes = wishes or Weights()
    alike = reference.framework == candidate.framework
    turned = not alike and candidate.framework == "PyTorch"
    own = with_uses(candidate.signatures, uses)
    tensors, leaves = (own, reference.signatures) if turned else (reference.signatures, own)
    unused, missing = wishes.unused, wishes.missing
    if turned:
        unused, missing = missing, unused
    pins = _turned(wishes.pins) if turned and wishes.pins else wishes.pins
    tables = (candidate if turned else reference).tables

    # Another package's moving average has leaves that only training reads.
    unread = [] if alike or turned or not uses else [name for name in own if name not in uses]

    def plan(without: Collection[str], apart: Collection[str] = (), lacking: Collection[str] = ()) -> Plan:
        return find_plan(
            {name: one for name, one in tensors.items() if name not in apart},
            leaves,
            alike=alike,
            reversed=turned,
            try_plan=try_plan,
            differentiate=differentiate,
            pins=pins,
            allow_unused=[*(name for name in unused if name not in apart), *without],
            allow_missing=[*missing, *lacking],
            sides=Sides.of(reference.framework, candidate.framework),
            partial=partial,
        )

    try:
        return plan(())
    except WeightError:
        if unread:
            with contextlib.suppress(WeightError):
                return plan((), lacking=unread)
        if not tables:
            raise
        for without, apart in ((tables, ()), ((), tables)):  # a table may have taken the place of a weight
            with contextlib.suppress(WeightError):
                found = plan(without, apart)
                return found._replace(unused=(*found.unused, *(name for name in tensors if name in apart)))
        some: list[Plan] = []
        for without in _some_tables(tables, tensors, leaves):
            with contextlib.suppress(WeightError):
                some.append(plan(without))
        if not some:
            raise
        return some[0] if try_plan is None else max(some, key=try_plan)


def _some_tables(tables: Collection[str], tensors: Known, leaves: Known) -> Iterator[tuple[str, ...]]:
    """The tables of which as many numbers are left out as the other side lacks, alike in every layer."""
    by_role: dict[str, list[str]] = {}
    for name in tables:
        by_role.setdefault(without_numbers(name), []).append(name)
    sizes = {role: sum(math.prod(tensors[name].shape) for name in names) for role, names in by_role.items()}
    more = sum(math.prod(one.shape) for one in tensors.values())
    more -= sum(math.prod(one.shape) for one in leaves.values())
    chosen = (own for count in range(1, len(by_role)) for own in itertools.combinations(by_role, count))
    some = itertools.islice(chosen, MOST_SUMS)
    fitting = (own for own in some if sum(sizes[role] for role in own) == more)
    for own in itertools.islice(fitting, MOST_CHOICES):
        yield tuple(name for role in own for name in by_role[role])


def with_uses(known: Mapping[str, Signature], uses: Mapping[str, Use] | None) -> dict[str, Signature]:
    """What is known of weights, with their first uses.

    Args:
        known: what is known of each weight.
        uses: first uses, where known.
    """
    return {name: one._replace(use=(uses or {}).get(name, one.use)) for name, one in known.items()}


def _turned(pins: Pins) -> Pins:
    """Pins of a JAX reference's leaves, as pins of the PyTorch candidate's tensors.

    Raises:
        WeightError: for a pin that gives more than the candidate's name.
    """
    if odd := [name for name, pin in pins.items() if not isinstance(pin, str)]:
        raise WeightError(
            f"`pins` of a JAX reference with a PyTorch candidate must give the candidate's name alone; "
            f"{', '.join(odd)} give more"
        )
    return {str(pin): name for name, pin in pins.items()}


def load(plan: Plan, weights: Arrays, model: Model, *, converted: bool) -> Arrays:
    """What the candidate runs with: the reference's weights by the plan, or the user's own conversion.

    Args:
        plan: the plan.
        weights: the reference's.
        model: the candidate.
        converted: whether the model's own weights are the user's conversion.

    Raises:
        ValueError: if a converted weight has NaN in it, naming it.
    """
    planned = candidate_weights(plan, weights)
    if not converted:
        return overlaid(starting_weights(model.weights, "the candidate's weights"), planned)
    own = starting_weights(model.weights, f"the {model.framework} params")
    # What differs by float32's rounding alone (a sum of two biases) takes part in full precision.
    same = {name: array for name, array in planned.items() if same_but_for_rounding(array, own[name], HELD)}
    return overlaid(own, same)


def judge_weights(plan: Plan, weights: Arrays, own: Arrays) -> list[Quantity]:
    """Every planned weight makes the round trip bit for bit, and the candidate holds the reference's numbers.

    Args:
        plan: the plan.
        weights: the reference's.
        own: what the candidate runs with.
    """
    wanted = plan.to_candidate(weights, exact=True)
    again = plan.to_candidate(plan.to_reference(wanted))
    return [_judge(plan, name, wanted, again[name], own[name], weights) for name in wanted]


def _judge(
    plan: Plan,
    name: str,
    all_wanted: Arrays,
    again: Shaped[np.ndarray, "..."],
    actual: Shaped[np.ndarray, "..."],
    weights: Arrays,
) -> Quantity:
    transfers = _transfers(plan, name)
    wanted = all_wanted[name]
    # Infinities, as a mask holds them, are equal to their like: their difference would be NaN.
    with np.errstate(invalid="ignore"):
        difference = float(np.max(np.abs(actual - wanted), where=actual != wanted, initial=0.0))
    scale = float(np.max(np.abs(wanted), where=np.isfinite(wanted), initial=0.0))
    floor = FLOOR_ULPS * eps_of("float32") * scale  # a converted checkpoint may have passed float32
    rho = 0.0 if difference == 0 else difference / floor if floor else math.inf
    notes: tuple[str, ...] = ()
    passed = True
    if not np.array_equal(again, wanted, equal_nan=True):
        passed, notes = False, ("the round trip to <reference> and back changes the numbers",)
    elif not rho <= LIMIT:
        passed = False
        notes = (_explained(plan, transfers, wanted, actual, all_wanted, weights).text,)
    partners = [t.leaf_path if plan.reversed else t.tensor_name for t in transfers]
    return Quantity(
        Stage.WEIGHTS,
        "weights",
        ", ".join(dict.fromkeys(partners)),
        AS_STORED,
        Verdict.PASS if passed else Verdict.FAIL,
        rho=rho,
        difference=difference,
        scale=scale,
        floor=floor,
        candidate_name=name,
        shape=transfers[0].leaf_shape if plan.reversed else transfers[0].tensor_shape,
        notes=notes,
    )


def _transfers(plan: Plan, name: str) -> list[Transfer]:
    """The ways into one weight of the candidate."""
    return [t for t in plan.transfers if (t.tensor_name if plan.reversed else t.leaf_path) == name]


def _explained(
    plan: Plan,
    transfers: list[Transfer],
    wanted: Shaped[np.ndarray, "..."],
    actual: Shaped[np.ndarray, "..."],
    all_wanted: Arrays,
    weights: Arrays,
) -> Explanation:
    return explain(transfers, wanted, actual, all_wanted, weights, reversed=plan.reversed)


def wrong_weights(plan: Plan, weights: Arrays, own: Arrays) -> dict[str, tuple[list[str], Explanation]]:
    """Weights of the candidate that do not hold the reference's numbers, with partners and what is wrong.

    Args:
        plan: from the reference's weights to the candidate's.
        weights: the reference's.
        own: the candidate's.

    Returns:
        By name of the candidate's weight: its partners, and what explains the difference.
    """
    all_wanted = plan.to_candidate(weights, exact=True)
    wrong = {}
    for name, wanted in all_wanted.items():
        if not same_but_for_rounding(wanted, own[name], HELD):
            transfers = _transfers(plan, name)
            partners = [t.leaf_path if plan.reversed else t.tensor_name for t in transfers]
            why = _explained(plan, transfers, wanted, own[name], all_wanted, weights)
            wrong[name] = (list(dict.fromkeys(partners)), why)
    return wrong
