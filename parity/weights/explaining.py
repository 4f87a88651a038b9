"""What is wrong with a leaf that the user converted: transposed, flipped, swapped, half of a sum."""

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import round_to
from parity.weights.transfer import Transfer

MOST_AXES = 5
"""Rank up to which every permutation of axes is tried."""

BLOCKS = (2, 3, 4)
"""Numbers of equal blocks (keys and values, gates) whose order is tried."""


class Explanation(NamedTuple):
    """Why a leaf does not hold what it should.

    Attributes:
        cause: a name of `parity.diagnose.CAUSES`, or "" if it is not known.
        text: in words.
    """

    cause: str
    text: str


def explain(
    transfers: Sequence[Transfer],
    expected: Shaped[np.ndarray, "..."],
    actual: Shaped[np.ndarray, "..."],
    leaves: Mapping[str, Shaped[np.ndarray, "..."]],
    tensors: Mapping[str, Shaped[np.ndarray, "..."]],
) -> Explanation:
    """What was done to a leaf instead of what the plan says.

    Args:
        transfers: the plan's ways into this leaf.
        expected: what it should hold.
        actual: what it holds, of the same shape.
        leaves: what all leaves should hold, by path.
        tensors: PyTorch's tensors by name.
    """
    path, name = transfers[0].leaf_path, transfers[0].tensor_name
    needs = f"{path} needs " + "; ".join(dict.fromkeys(f"`{t.how}` of {t.tensor_name}" for t in transfers))
    if not actual.any():
        return Explanation("stale weights", f"all zero: was {path} loaded? {needs}")
    for dtype in ("bfloat16", "float16"):
        if _same(round_to(expected.astype(np.float64), dtype), actual.astype(np.float64)):
            return Explanation("dtype", f"rounded to {dtype}: {needs} in float32")
    stacked = len({t.tensor_name for t in transfers}) > 1 and len({t.box() for t in transfers}) > 1
    if stacked and sorted(map(_bytes, expected)) == sorted(map(_bytes, actual)):
        return Explanation("swapped weights", f"its rows are in another order: {needs}")
    for axes in itertools.permutations(range(min(expected.ndim, MOST_AXES))):
        if _same(expected.transpose(axes), actual) if expected.ndim <= MOST_AXES else False:
            kind = "transposed kernel" if expected.ndim == 2 else "kernel layout"
            word = "transposed" if expected.ndim == 2 else f"axes permuted {axes}"
            return Explanation(kind, f"{word}: {needs}")
    for transfer in transfers:
        tensor = tensors[transfer.tensor_name]
        if tensor.size == actual.size and _same(tensor.reshape(actual.shape), actual):
            text = f"{transfer.tensor_name} reshaped without moving its axes: {needs}"
            return Explanation("kernel layout", text)
    for count in range(1, expected.ndim + 1):
        for flipped in itertools.combinations(range(expected.ndim), count):
            if _same(np.flip(expected, flipped), actual):
                return Explanation("flipped kernel", f"flipped along axes {flipped}: {needs}")
    for other, leaf in leaves.items():
        if other != path and _same(leaf, actual):
            return Explanation("swapped weights", f"swapped: {path} holds what belongs to {other}; {needs}")
    if len({t.tensor_name for t in transfers}) > 1:
        for transfer in transfers:
            if transfer.target(expected).shape == expected.shape and _same(
                transfer.source(tensors[transfer.tensor_name]).reshape(expected.shape), actual
            ):
                text = f"holds {transfer.tensor_name} alone: {needs}, added up"
                return Explanation("missing term", text)
    for axis, parts in itertools.product(range(expected.ndim), BLOCKS):
        if expected.shape[axis] % parts == 0 and expected.shape[axis] > parts:
            blocks = np.split(expected, parts, axis)
            for order in itertools.permutations(range(parts)):
                if _same(np.concatenate([blocks[i] for i in order], axis), actual):
                    gates = any("gate" in t.reason for t in transfers)
                    text = f"its {parts} blocks along axis {axis} are in the order {order}: {needs}"
                    return Explanation("gate order" if gates else "packed order", text)
    if np.array_equal(np.sort(actual, axis=None), np.sort(expected, axis=None)):
        return Explanation("order", f"the same numbers in another order: {needs}")
    return Explanation("", f"other numbers than {name}: was it loaded? {needs}")


def unit_order(
    expected: Shaped[np.ndarray, "..."], actual: Shaped[np.ndarray, "..."]
) -> tuple[tuple[int, ...], ...] | None:
    """Per axis the order of units that turns one array into the other; None if there is none.

    >>> unit_order(np.array([[1, 2], [3, 4]]), np.array([[4, 3], [2, 1]]))
    ((1, 0), (1, 0))
    """
    if expected.shape != actual.shape or not expected.ndim:
        return None
    orders = []
    for axis in range(expected.ndim):
        ours, theirs = (
            [np.sort(row, axis=None).tobytes() for row in np.moveaxis(a, axis, 0)] for a in (expected, actual)
        )
        places = {row: number for number, row in enumerate(ours)}
        if len(places) < len(ours) or set(places) != set(theirs):
            return None
        orders.append(tuple(places[row] for row in theirs))
    return tuple(orders) if _same(expected[np.ix_(*orders)], actual) else None


def _bytes(row: Shaped[np.ndarray, "..."]) -> bytes:
    return np.ascontiguousarray(row).tobytes()


def _same(a: Shaped[np.ndarray, "..."], b: Shaped[np.ndarray, "..."]) -> bool:
    return a.shape == b.shape and np.array_equal(a, b)
