"""The candidate's weights by a plan, each made of the reference's when it is read."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays
from parity.numerics.unread import Unread, UnreadArrays
from parity.weights.plan import Plan
from parity.weights.transfer import Transfer


def candidate_weights(plan: Plan, weights: Arrays) -> Arrays:
    """The reference's weights as the candidate's: `Plan.to_candidate`, exact; unread ones stay unread.

    Args:
        plan: from one side's weights to the other's.
        weights: the reference's.
    """
    if not isinstance(weights, UnreadArrays):
        return plan.to_candidate(weights, exact=True)
    names = dict.fromkeys(_candidates(plan, transfer) for transfer in plan.transfers)
    return UnreadArrays({name: _unread(plan, name, weights) for name in names})


def _candidates(plan: Plan, transfer: Transfer) -> str:
    return transfer.tensor_name if plan.reversed else transfer.leaf_path


def _unread(plan: Plan, name: str, weights: UnreadArrays) -> Unread:
    """One weight of the candidate."""
    own = [transfer for transfer in plan.transfers if _candidates(plan, transfer) == name]
    # On the way back, tensors that add up in a leaf share it: all of them are asked together.
    leaves = {transfer.leaf_path for transfer in own}
    together = [transfer for transfer in plan.transfers if transfer.leaf_path in leaves]
    shape = own[0].tensor_shape if plan.reversed else own[0].leaf_shape

    def made(transfers: Sequence[Transfer]) -> Shaped[np.ndarray, "..."]:
        part = plan._replace(transfers=tuple(transfers), unused=(), missing=())
        sources = {t.leaf_path if plan.reversed else t.tensor_name for t in transfers}
        return part.to_candidate({source: weights[source] for source in sources}, exact=True)[name]

    def row(index: int) -> Shaped[np.ndarray, "..."]:
        if plan.reversed or name in plan.orders or not all(_in_one_row(transfer) for transfer in own):
            return np.asarray(made(together)[index])
        return made([_as_row(t) for t in own if t.put[0] == range(shape[0])[index]])

    sources = [weights.unread[t.leaf_path if plan.reversed else t.tensor_name] for t in own]
    return Unread(shape, sources[0].dtype, lambda: made(together), row)


def _in_one_row(transfer: Transfer) -> bool:
    """Whether a transfer fills a part of one entry of the leaf's first axis, such as one layer of a stack."""
    return bool(transfer.put) and isinstance(transfer.put[0], int)


def _as_row(transfer: Transfer) -> Transfer:
    """A transfer into one entry of the leaf's first axis, as one into that entry."""
    return transfer._replace(leaf_shape=transfer.leaf_shape[1:], put=transfer.put[1:])
