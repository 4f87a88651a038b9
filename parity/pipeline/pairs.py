"""Two models with the weight plan between them: what Python code needs to convert weights."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from parity.frameworks.opening import open_model
from parity.numerics.arrays import Arrays
from parity.numerics.progress import Progress
from parity.pipeline.candidate import settle_candidate
from parity.pipeline.pinned_sides import pinned_for
from parity.pipeline.planning import load, plan_between
from parity.pipeline.reference import open_reference, starting_weights
from parity.pipeline.request import Request, Settings, Weights
from parity.weights import Plan
from parity.weights.completeness import require_decided


class Pair(NamedTuple):
    """Two opened models, the plan between them, and the weights of each side in its own layout.

    Attributes:
        reference, candidate: the models.
        plan: the weight plan.
        weights: the reference's, by name, in float32.
        candidate_weights: what the plan makes of them, or the user's own conversion.
    """

    reference: Any
    candidate: Any
    plan: Plan
    weights: Arrays
    candidate_weights: Arrays


def match(
    reference: object, candidate: object, weights: Weights | None = None, inputs: Arrays | None = None
) -> Pair:
    """Open two models and plan the weights from names, kinds and shapes alone; nothing runs.

    Args:
        reference: as in `parity.check`.
        candidate: as in `parity.check`.
        weights: as in `parity.check`.
        inputs: arrays by argument name, for a candidate that draws its own params.

    Raises:
        TypeError: if a model is of a kind that cannot be opened.
        WeightError: if the weights do not pair up, naming every weight.
    """
    given, weights = inputs or {}, weights or Weights()
    first = open_model(reference, weights.reference_params, given, default="PyTorch", role="reference")
    converted = weights.params is not None
    second = open_model(candidate, weights.params if converted else weights.template, given, role="candidate")
    plan = plan_between(first, second, weights)
    own = starting_weights(first.weights, f"the {first.framework} weights")
    return Pair(first, second, plan, own, load(plan, own, second, converted=converted))


def plan_weights(
    reference: object,
    candidate: object,
    inputs: object,
    *,
    outputs: object = None,
    layout: Mapping[str, tuple[int, ...]] | None = None,
    weights: Weights | None = None,
    settings: Settings | None = None,
    progress: Progress = lambda text: None,
) -> Plan:
    """The weight plan of `parity.check`: which weight of the one side is which of the other, and how it lies.

    What names and shapes leave open is settled by running both models.

    Args:
        reference: as in `parity.check`.
        candidate: as in `parity.check`.
        inputs: as in `parity.check`; the first set is used.
        outputs: as in `parity.check`.
        layout: as in `parity.check`.
        weights: as in `parity.check`.
        settings: as in `parity.check`; seed and device are used.
        progress: called with a short description as each phase begins.

    Returns:
        The plan; `to_candidate(state)` and `to_reference(params)` convert weights, `print(plan)` shows it.

    Raises:
        TypeError, ValueError: if an argument cannot be used.
        WeightError: if the weights do not pair up, naming every weight, or if running both sides does not
            decide between several plans, because these compute different things.
        Exception: what a model raises, with a note that names the side.
    """
    request = Request.of(
        reference, candidate, inputs, outputs=outputs, layout=layout, weights=weights, settings=settings
    )
    with pinned_for(request):
        plan = settle_candidate(open_reference(request, progress), request, progress).plan
    require_decided(plan)
    return plan
