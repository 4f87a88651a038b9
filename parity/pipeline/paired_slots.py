"""What two optimisers keep, paired by its numbers: names differ, and say nothing of what is kept."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from parity.frameworks.stepping import Held, Role
from parity.numerics.arrays import Arrays
from parity.pipeline.paired_states import PairedStates
from parity.weights import Plan

State = Mapping[str, Held]
"""All values of a state by name."""

LEAST_ALIKE = 0.5
"""The cosine between two kinds of slots below which they do not hold the same."""

SIZE_COUNTS = 1e-3
"""What a factor of e between two kinds costs beside their cosine: of two alike ones the equal is taken."""


EQUAL = 1e-9
"""What two kinds cost at most that hold the same numbers but for rounding."""


class PairedSlots(NamedTuple):
    """Kinds of slots that hold the same.

    Attributes:
        kinds: PyTorch's kind -> the path above JAX's.
        not_checked: kinds without a partner, in sentences.
        equal: whether every kind has a partner that holds the same numbers in the first steps.
    """

    kinds: Mapping[str, str]
    not_checked: tuple[str, ...]
    equal: bool


def paired_slots(reference: Sequence[State], candidate: Sequence[State], paired: PairedStates) -> PairedSlots:
    """Pair the kinds of slots whose numbers agree best over all tensors and steps.

    Args:
        reference: PyTorch's states behind the first steps.
        candidate: JAX's.
        paired: the states at their start.
    """
    from scipy.optimize import linear_sum_assignment

    reference_slots = [slots_in_torch(state) for state in reference]
    kinds = sorted({kind for found in reference_slots for kind in found})
    tops = sorted(paired.slots)
    candidate_slots = [
        {top: slots_in_jax(state, paired.slots[top], paired.plan) for top in tops} for state in candidate
    ]
    cost = np.full((len(kinds), len(tops)), 2.0)
    for row, kind in enumerate(kinds):
        for column, top in enumerate(tops):
            cost[row, column] = _unlike(
                [f.get(kind, {}) for f in reference_slots], [f[top] for f in candidate_slots]
            )
    chosen = list(zip(*linear_sum_assignment(cost), strict=True))
    pairs = {kinds[r]: tops[c] for r, c in chosen if cost[r, c] < 1 - LEAST_ALIKE}
    equal = len(pairs) == len(kinds) == len(tops) and all(cost[r, c] < EQUAL for r, c in chosen)
    lines = []
    if alone := [kind for kind in kinds if kind not in pairs]:
        lines.append(f"optimiser state {', '.join(alone)}, which only <reference> keeps")
    if alone := [top for top in tops if top not in pairs.values()]:
        lines.append(f"optimiser state {', '.join(alone)}, which only <candidate> keeps")
    return PairedSlots(pairs, tuple(lines), equal)


def slots_in_torch(state: State) -> dict[str, dict[str, np.ndarray]]:
    """Slots of a PyTorch state: kind -> tensor -> array.

    Args:
        state: by name.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    for held in state.values():
        if held.role is Role.SLOT:
            found.setdefault(held.kind, {})[held.of] = held.value
    return found


def slots_in_jax(state: State, paths: Mapping[str, str], plan: Plan) -> dict[str, np.ndarray]:
    """Slots of one kind in a JAX state, in the layout of PyTorch's tensors: tensor -> array.

    Args:
        state: by path.
        paths: the slot's path by the weight's.
        plan: of the weights.
    """
    leaves = {weight: state[path].value for weight, path in paths.items() if path in state}
    partial = plan._replace(transfers=tuple(t for t in plan.transfers if t.leaf_path in leaves), unused=())
    own = {t.leaf_path for t in partial.transfers}
    return partial.to_tensors({path: leaf for path, leaf in leaves.items() if path in own})


def _unlike(reference_slots: Sequence[Arrays], candidate_slots: Sequence[Arrays]) -> float:
    """One minus the cosine of all numbers that both keep, and a little for their size; 2 of none."""
    pairs = [
        (a[name].ravel(), b[name].ravel())
        for a, b in zip(reference_slots, candidate_slots, strict=True)
        for name in a
        if name in b
    ]
    if not pairs:
        return 2.0
    first, second = (np.concatenate(side).astype(np.float64) for side in zip(*pairs, strict=True))
    if np.array_equal(first, second):
        return 0.0
    sizes = float(np.linalg.norm(first)), float(np.linalg.norm(second))
    if not min(sizes) > 0 or not np.isfinite(sizes).all():
        return 2.0
    cosine = float(first @ second) / (sizes[0] * sizes[1])
    return 1 - cosine + SIZE_COUNTS * abs(float(np.log(sizes[0] / sizes[1])))
