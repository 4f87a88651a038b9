"""What was done to an array that the user converted: found whatever infinities and roundings it holds."""

from typing import Any

import numpy as np
import pytest

from parity.report.kinds import CauseKind
from parity.weights import Transfer
from parity.weights.explaining import Explanation, explain
from parity.weights.sameness import same_but_for_rounding, unit_order

RNG = np.random.default_rng(0)
W = RNG.standard_normal((8, 6)).astype(np.float32)
TURNED = Transfer("w", "k", (8, 6), (6, 8), axes=(1, 0))


def to_dtype(array: np.ndarray, dtype: str) -> np.ndarray:
    import ml_dtypes

    with np.errstate(over="ignore"):
        return array.astype(np.dtype(getattr(ml_dtypes, dtype, dtype))).astype(np.float32)


def explained(
    held: np.ndarray, planned: np.ndarray = W.T, transfer: Transfer = TURNED, **others: Any
) -> Explanation:
    return explain([transfer], planned, held, {transfer.leaf_path: planned, **others}, {"w": W})


HELD: dict[str, tuple[np.ndarray, CauseKind | None, str]] = {
    "zero": (np.zeros((6, 8), np.float32), CauseKind.STALE_WEIGHTS, "all zero"),
    "bfloat16": (to_dtype(W.T, "bfloat16"), CauseKind.DTYPE, "rounded to bfloat16"),
    "float16": (to_dtype(W.T, "float16"), CauseKind.DTYPE, "rounded to float16"),
    "reshaped": (W.reshape(6, 8), CauseKind.KERNEL_LAYOUT, "w reshaped without moving its axes"),
    "flipped": (W.T[::-1], CauseKind.FLIPPED_KERNEL, "flipped along axes (0,)"),
    "parts": (
        np.roll(W.T, 4, axis=1),
        CauseKind.PACKED_ORDER,
        "its 2 blocks along axis 1 are in the order (1, 0)",
    ),
    "sorted": (np.sort(W, axis=None).reshape(6, 8), CauseKind.ORDER, "the same numbers in another order"),
    "other": (W.T + 1, None, "other numbers than <reference>'s w"),
    "the same": (W.T, None, "the same numbers"),
    "but for rounding": (W.T * np.float32(1 + 2**-23), None, "the same numbers"),
}


@pytest.mark.parametrize("case", HELD)
def test_what_was_done(case: str) -> None:
    held, cause, text = HELD[case]
    found = explained(held)
    assert found.cause is cause
    assert text in found.text
    assert "k needs `permute (1, 0)` of w" in found.text


def test_a_square_one_transposed_and_one_in_the_place_of_another() -> None:
    square = W[:6]
    one = Transfer("w", "k", (6, 6), (6, 6), axes=(1, 0))
    found = explain([one], square.T, square, {"k": square.T, "z": -square}, {"w": square})
    assert (found.cause, found.text[:10]) == (CauseKind.TRANSPOSED_KERNEL, "transposed")
    found = explain([one], square.T, -square, {"k": square.T, "z": -square}, {"w": square})
    assert found.cause is CauseKind.SWAPPED_WEIGHTS


def test_rounding_passes_float32_first() -> None:
    """A number between float64 and bfloat16 may round to the other neighbour on its way through float32."""
    wide = np.array([1 + 2.0**-8 + 2.0**-40, 3.0, 0.7])
    held = to_dtype(wide.astype(np.float32), "bfloat16").astype(np.float64)
    assert held[0] == 1.0
    assert to_dtype(wide, "bfloat16")[0] in (1.0, 1 + 2.0**-7)
    transfer = Transfer("w", "k", (3,), (3,))
    assert explain([transfer], wide, held, {"k": wide}, {"w": wide}).cause is CauseKind.DTYPE
    off = np.array([1 + 2.0**-6, 3.0, 0.69921875])  # numbers of bfloat16, but not the nearest
    assert explain([transfer], wide, off, {"k": wide}, {"w": wide}).cause is None


def test_infinities_are_no_sign_of_rounding_or_transposing() -> None:
    mask = np.where(np.tri(4, dtype=bool), 0.0, -np.inf).astype(np.float32)
    biased = mask + RNG.standard_normal((4, 4)).astype(np.float32)
    transfer = Transfer("w", "k", (4, 4), (4, 4))

    def cause(planned: np.ndarray, held: np.ndarray) -> Any:
        return explain([transfer], planned, held, {"k": planned}, {"w": planned}).cause

    assert cause(mask, mask.copy()) is None
    assert cause(biased, biased.copy()) is None
    assert cause(biased, biased + np.float32(0.3)) is None
    assert cause(biased, np.full((4, 4), -np.inf, np.float32)) is None
    assert cause(mask, mask.T) is CauseKind.TRANSPOSED_KERNEL
    assert cause(biased, to_dtype(biased, "bfloat16")) is CauseKind.DTYPE
    assert (
        cause(np.float32(1e6) * W[:4, :4], to_dtype(np.float32(1e6) * W[:4, :4], "float16"))
        is CauseKind.DTYPE
    )
    holes = np.where(np.tri(4, dtype=bool), biased, np.nan).astype(np.float32)
    assert cause(holes, holes.copy()) is None
    assert cause(holes, holes.T) is CauseKind.TRANSPOSED_KERNEL
    assert not same_but_for_rounding(biased, mask)
    assert not same_but_for_rounding(biased, -biased)


def test_half_of_a_sum() -> None:
    one, two = W[0], W[1]
    transfers = [Transfer("b1", "b", (6,), (6,)), Transfer("b2", "b", (6,), (6,))]
    found = explain(transfers, one + two, one, {"b": one + two}, {"b1": one, "b2": two})
    assert found.cause is CauseKind.MISSING_TERM
    assert "holds b1 alone" in found.text


def test_gates_in_another_order_are_told_from_other_parts() -> None:
    packed = np.concatenate([W, W + 1, W + 2, W + 3])
    other = np.concatenate([W, W + 1, W + 3, W + 2])
    for gates, cause in (("ifgo", CauseKind.GATE_ORDER), ("", CauseKind.PACKED_ORDER)):
        transfer = Transfer("w", "k", (32, 6), (32, 6), gates=gates)
        found = explain([transfer], packed, other, {"k": packed}, {"w": packed})
        assert found.cause is cause
        assert "(0, 1, 3, 2)" in found.text


def test_rows_of_a_stack_in_another_order() -> None:
    transfers = [Transfer(f"l{i}", "k", (6,), (2, 6), put=(i,)) for i in range(2)]
    found = explain(transfers, W[:2], W[1::-1], {"k": W[:2]}, {"l0": W[0], "l1": W[1]})
    assert found.cause is CauseKind.SWAPPED_WEIGHTS


def test_a_tensor_of_a_reversed_plan() -> None:
    found = explain([TURNED], W, W.T.reshape(8, 6), {"w": W}, {"k": W.T}, reversed=True)
    assert found.cause is CauseKind.KERNEL_LAYOUT
    assert found.text == ("k reshaped without moving its axes: w needs the inverse of `permute (1, 0)` of k")


def test_order_of_units() -> None:
    assert unit_order(W, W[::-1, [1, 0, 2, 3, 5, 4]]) == ((7, 6, 5, 4, 3, 2, 1, 0), (1, 0, 2, 3, 5, 4))
    assert unit_order(W, W + 1) is None
