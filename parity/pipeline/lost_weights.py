"""Weights of one loop's state that the other's does not hold: which, what is nearest, and what to do."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped

from parity.weights import WeightError

MOST_NAMED = 8
"""Weights that the message lists."""


def lost_weights(
    names: Sequence[str], tensors: Mapping[str, np.ndarray], leaves: Mapping[str, np.ndarray]
) -> WeightError:
    """The error that names every tensor without a leaf that holds its numbers.

    Args:
        names: of the tensors.
        tensors: all of them.
        leaves: those of JAX's state that have no partner.
    """
    lines = []
    for name in names[:MOST_NAMED]:
        tensor = tensors[name]
        near = sorted(
            ((_apart(tensor, leaf), path) for path, leaf in leaves.items() if leaf.size == tensor.size),
        )
        told = f"no leaf without a partner has its {tensor.size} numbers' size"
        if near:
            apart, path = near[0]
            told = f"nearest is {path} {leaves[path].shape}, whose sorted numbers differ by up to {apart:.2g}"
        lines.append(f"{name} {tensor.shape}: {told}")
    if len(names) > MOST_NAMED:
        lines.append(f"and {len(names) - MOST_NAMED} more")
    return WeightError(
        "both states must start from the same weights. JAX's state holds the numbers of these tensors of "
        "PyTorch nowhere:\n  "
        + "\n  ".join(lines)
        + "\nConvert PyTorch's weights before JAX's state is made, e.g. with "
        "`parity.plan_weights(module, port, inputs).to_candidate(arrays)`, or `parity weights pair.py --save`"
    )


def _apart(tensor: Shaped[np.ndarray, "..."], leaf: Shaped[np.ndarray, "..."]) -> float:
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(np.sort(tensor, axis=None) - np.sort(leaf, axis=None))
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0))
