"""What two sides that were trained make of a report: quantities, the first step and phase, what was left out.

The same for two models that are here, a recorded one and one that is here, and two recorded ones.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from parity.numerics.arrays import Arrays
from parity.pipeline.model_partings import parting_of_lone_weights, parting_of_statistics
from parity.pipeline.outcome import Outcome
from parity.pipeline.step_rows import Entries
from parity.pipeline.training_causes import history_of, parting_beside_sums
from parity.pipeline.training_data import ComparedData
from parity.pipeline.training_judging import as_accurate, by_effect, lone_updates, not_compared
from parity.pipeline.training_measured import NOTHING, Compared, Divergence
from parity.pipeline.training_optimizers import Described
from parity.pipeline.undetermined import depend_on, levelled_in_words, undetermined
from parity.pipeline.updated_statistics import Statistics
from parity.weights import Plan
from parity.weights.transfer import grouped

Trainings = Callable[[Entries], Compared]
"""Both sides trained and judged, some entries of gradients levelled (`TrainingSide.level`)."""


class Shared(NamedTuple):
    """Weights that are one on one side and several on the other.

    Attributes:
        copies: tensors that several leaves hold whole, with these.
        sums: leaves that hold sums of tensors, with these.
    """

    copies: dict[str, tuple[str, ...]]
    sums: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, plan: Plan) -> "Shared":
        """Read them off the weight plan.

        Args:
            plan: from the reference's weights to the candidate's.
        """
        held = grouped((t for t in plan.transfers if t.is_whole), lambda t: t.tensor_name)
        copies = {n: tuple(t.leaf_path for t in shared) for n, shared in held.items() if len(shared) > 1}
        sums: dict[str, tuple[str, ...]] = {}
        for leaf, fed in grouped(plan.transfers, lambda t: t.leaf_path).items():
            for block in grouped(fed, lambda t: str(t.put)).values():
                names = tuple(dict.fromkeys(t.tensor_name for t in block))
                if len(names) > 1:
                    sums[leaf] = names
        return cls(copies, sums)


def add_trained(
    outcome: Outcome,
    trainings: Trainings,
    known: Described,
    start: Arrays,
    shared: Shared,
    statistics: Statistics,
) -> Compared:
    """Add what training shows: how both sides train, and what they write to their weights.

    Args:
        outcome: to add to.
        trainings: both sides, trained; called once more if some gradients are rounding alone.
        known: of the reference's optimiser.
        start: the reference's weights before the first step, by tensor.
        shared: weights that one side holds several times.
        statistics: what is known of running statistics.

    Returns:
        Both sides trained and judged, as they are compared.
    """
    trained = trainings(NOTHING)
    entries = undetermined(trained.equal)
    if entries and depend_on(entries, [*trained.stepped, *trained.free]):
        trained = trainings(entries)
        outcome.findings = (*outcome.findings, levelled_in_words(entries))
    free, less_accurate = as_accurate(trained.free)
    judged, kept_otherwise = by_effect(trained.stepped)
    outcome.quantities = [*outcome.quantities, *judged, *free, *statistics.quantities]
    outcome.findings = (*outcome.findings, *less_accurate, *kept_otherwise, *statistics.findings)
    outcome.not_checked = (*outcome.not_checked, *not_compared(trained.equal), *statistics.not_checked)
    history = history_of(known, trained.equal[0], start, entries)
    outcome.parting = parting_beside_sums(judged, trained.equal, history, shared.copies, shared.sums)
    if outcome.parting is None:
        outcome.parting = parting_of_statistics(statistics.quantities)
    return trained


def add_before(outcome: Outcome, data: ComparedData, alone: Sequence[str]) -> None:
    """Add what differs before anything is trained: it comes first in the report.

    Args:
        outcome: to add to.
        data: batches of the candidate's own data pipeline, compared.
        alone: weights that the reference alone trains.
    """
    outcome.quantities = [*data.quantities, *outcome.quantities, *lone_updates(alone)]
    outcome.parting = data.parting or parting_of_lone_weights(alone) or outcome.parting


def add_divergence(outcome: Outcome, *found: Divergence | None) -> None:
    """Add that training diverges, where it does.

    Args:
        outcome: to add to.
        *found: of both sides.
    """
    told = "; ".join(one.words for one in found if one is not None)
    if told:
        line = f"{told}: training diverges, and steps behind it are not compared"
        outcome.findings = (*outcome.findings, line)
