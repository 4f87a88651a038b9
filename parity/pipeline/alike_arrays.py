"""Arrays that hold the same numbers at the start, told apart: a target network, an average, zero biases.

What stands beside them is the best evidence, then their names, then how they move in the first steps.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.weights import Transfer
from parity.weights.likeness import likeness

BESIDE, NAMED, MOVED, RANKED = 100.0, 10.0, 1.0, 1e-3
"""Costs of another neighbour, of names without a common word, of other moves, and of another rank."""

History = Sequence[Mapping[str, np.ndarray]]
"""Arrays by name: at the start, and behind each of the first steps."""


def told_apart(
    ways: Mapping[tuple[str, str], Transfer],
    known: Mapping[str, str],
    tensors: History,
    leaves: History,
) -> list[Transfer]:
    """The likeliest pairs.

    Args:
        ways: of each tensor and leaf that hold the same numbers, how.
        known: tensor -> leaf, of those that are settled.
        tensors: the reference's arrays over time.
        leaves: the candidate's.
    """
    from scipy.optimize import linear_sum_assignment

    names = list(dict.fromkeys(name for name, _ in ways))
    paths = list(dict.fromkeys(path for _, path in ways))
    if len(names) == len(paths) == 1:
        return list(ways.values())
    beside = {(_above(name, "."), _above(path, "/")) for name, path in known.items()}
    settled = {above for above, _ in beside}
    alike = likeness(names, paths)
    cost = np.full(alike.shape, 1e6)
    for (name, path), way in ways.items():
        row, column = names.index(name), paths.index(path)
        above = _above(name, ".")
        stranger = above in settled and (above, _above(path, "/")) not in beside
        rank = abs(row / len(names) - column / len(paths))
        cost[row, column] = (
            BESIDE * stranger
            + NAMED * (1 - round(float(alike[row, column]), 6))
            + MOVED * _apart(way, tensors, leaves)
            + RANKED * rank
        )
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return [ways[key] for r, c in pairs if (key := (names[r], paths[c])) in ways]


def _above(name: str, between: str) -> str:
    return name.rpartition(between)[0]


def _apart(way: Transfer, tensors: History, leaves: History) -> float:
    """How differently a tensor and a leaf move: 0 where they move alike, 1 where one stands still."""
    last = min(len(tensors), len(leaves)) - 1
    tensor, leaf = tensors[last].get(way.tensor_name), leaves[last].get(way.leaf_path)
    if not last or tensor is None or leaf is None:
        return 0.0
    with np.errstate(all="ignore"):
        one = way.to_leaf(tensor - tensors[0][way.tensor_name])
        other = leaf - leaves[0][way.leaf_path]
        size = float(np.linalg.norm(one) + np.linalg.norm(other))
        apart = float(np.linalg.norm(one - other)) / size if size else 0.0
    return min(apart, 1.0) if np.isfinite(apart) else 1.0
