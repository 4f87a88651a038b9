"""What is wrong with an array that the user converted: transposed, flipped, swapped, half of a sum.

Hypotheses are tried one after the other, the more specific first; the first that turns the planned numbers
into those held is given.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import eps_of, is_float, round_to
from parity.numerics.complex_parts import real_parts
from parity.report.kinds import CauseKind
from parity.weights.sameness import same_but_for_rounding
from parity.weights.sameness import unit_order as unit_order
from parity.weights.transfer import Transfer

MOST_AXES = 5
"""Rank up to which every permutation of axes is tried."""

BLOCKS = (2, 3, 4)
"""Numbers of equal blocks (keys and values, gates) whose order is tried."""

NARROW = {"bfloat16": 2.0**-133, "float16": 2.0**-24}
"""Narrow dtypes, each with its smallest positive number."""

SLACK = 1.01
"""Half an ulp of a narrow dtype is exceeded this much where numbers were rounded to float32 before."""

Array = Shaped[np.ndarray, "..."]


class Explanation(NamedTuple):
    """Why an array does not hold what it should.

    Attributes:
        cause: what was done to it, None if that is not known.
        text: in words, with `<reference>` where the reference is meant.
    """

    cause: CauseKind | None
    text: str


class Mismatch(NamedTuple):
    """An array that does not hold what it should.

    Attributes:
        transfers: the plan's ways into it, or out of it if the plan is reversed.
        planned: what it should hold.
        held: what it holds, of the same shape.
        others: what all arrays of its side should hold, by name.
        sources: the arrays of the other side by name.
        is_reversed: whether it is a tensor, which a reversed plan fills from leaves.
    """

    transfers: Sequence[Transfer]
    planned: Array
    held: Array
    others: Mapping[str, Array]
    sources: Mapping[str, Array]
    is_reversed: bool

    @property
    def name(self) -> str:
        """The array's name."""
        return self.transfers[0].tensor_name if self.is_reversed else self.transfers[0].leaf_path

    def source_name(self, transfer: Transfer) -> str:
        """Name of the array that a transfer fills this one from.

        Args:
            transfer: one of `transfers`.

        Returns:
            The name.
        """
        return transfer.leaf_path if self.is_reversed else transfer.tensor_name

    @property
    def needs(self) -> str:
        """What the plan says, in words."""
        inverse = "the inverse of " if self.is_reversed else ""
        ways = dict.fromkeys(f"{inverse}`{t.how}` of {self.source_name(t)}" for t in self.transfers)
        return f"{self.name} needs {'; '.join(ways)}"


def explain(
    transfers: Sequence[Transfer],
    planned: Array,
    held: Array,
    others: Mapping[str, Array],
    sources: Mapping[str, Array],
    *,
    reversed: bool = False,
) -> Explanation:
    """What was done to an array instead of what the plan says.

    Args:
        transfers: the plan's ways into this leaf; of a reversed plan those out of this tensor.
        planned: what it should hold.
        held: what it holds, of the same shape.
        others: what all arrays of its side should hold, by name.
        sources: the arrays of the other side by name.
        reversed: whether the array is a tensor, which a reversed plan fills from leaves.

    Returns:
        The first explanation that fits; its cause is None if nothing is wrong, or nothing fits.
    """
    mismatch = Mismatch(transfers, planned, held, others, sources, reversed)
    if same_but_for_rounding(planned, held):
        return Explanation(None, f"the same numbers: {mismatch.needs}")
    for hypothesis in HYPOTHESES:
        found = hypothesis(mismatch)
        if found is not None:
            return found
    first = mismatch.source_name(transfers[0])
    return Explanation(None, f"other numbers than <reference>'s {first}: was it loaded? {mismatch.needs}")


def _all_zero(mismatch: Mismatch) -> Explanation | None:
    if mismatch.held.any():
        return None
    return Explanation(CauseKind.STALE_WEIGHTS, f"all zero: was {mismatch.name} loaded? {mismatch.needs}")


def _rounded(mismatch: Mismatch) -> Explanation | None:
    """Whether every number is one of a narrow dtype, and as near as that dtype allows."""
    if not (is_float(mismatch.planned) and is_float(mismatch.held)):
        return None
    wanted, found = (real_parts(a).astype(np.float64) for a in (mismatch.planned, mismatch.held))
    if wanted.shape != found.shape:
        return None
    for dtype, least in NARROW.items():
        with np.errstate(over="ignore"):
            nearest, again = round_to(wanted, dtype), round_to(found, dtype)
        half = SLACK * eps_of(dtype) / 2
        # What overflows to infinity in the narrow dtype is compared with that infinity.
        near = np.isclose(found, np.where(np.isinf(nearest), nearest, wanted), half, least, equal_nan=True)
        if near.all() and np.array_equal(again, found, equal_nan=True):
            return Explanation(CauseKind.DTYPE, f"rounded to {dtype}: {mismatch.needs} in float32")
    return None


def _rows_swapped(mismatch: Mismatch) -> Explanation | None:
    sources = {mismatch.source_name(t) for t in mismatch.transfers}
    blocks = (
        {str(t.take) for t in mismatch.transfers}
        if mismatch.is_reversed
        else {t.box() for t in mismatch.transfers}
    )
    if len(sources) < 2 or len(blocks) < 2:
        return None
    if sorted(map(_bytes, mismatch.planned)) != sorted(map(_bytes, mismatch.held)):
        return None
    return Explanation(CauseKind.SWAPPED_WEIGHTS, f"its rows are in another order: {mismatch.needs}")


def _permuted(mismatch: Mismatch) -> Explanation | None:
    rank = mismatch.planned.ndim
    for axes in itertools.permutations(range(rank)) if rank <= MOST_AXES else ():
        if same_but_for_rounding(mismatch.planned.transpose(axes), mismatch.held):
            if rank == 2:
                return Explanation(CauseKind.TRANSPOSED_KERNEL, f"transposed: {mismatch.needs}")
            return Explanation(CauseKind.KERNEL_LAYOUT, f"axes permuted {axes}: {mismatch.needs}")
    return None


def _reshaped(mismatch: Mismatch) -> Explanation | None:
    for transfer in mismatch.transfers:
        name = mismatch.source_name(transfer)
        source = mismatch.sources[name]
        if source.size == mismatch.held.size and same_but_for_rounding(
            source.reshape(mismatch.held.shape), mismatch.held
        ):
            text = f"{name} reshaped without moving its axes: {mismatch.needs}"
            return Explanation(CauseKind.KERNEL_LAYOUT, text)
    return None


def _flipped(mismatch: Mismatch) -> Explanation | None:
    rank = mismatch.planned.ndim
    for count in range(1, rank + 1):
        for axes in itertools.combinations(range(rank), count):
            if same_but_for_rounding(np.flip(mismatch.planned, axes), mismatch.held):
                return Explanation(CauseKind.FLIPPED_KERNEL, f"flipped along axes {axes}: {mismatch.needs}")
    return None


def _swapped(mismatch: Mismatch) -> Explanation | None:
    for other, array in mismatch.others.items():
        if other != mismatch.name and same_but_for_rounding(array, mismatch.held):
            text = f"swapped: {mismatch.name} holds what belongs to {other}; {mismatch.needs}"
            return Explanation(CauseKind.SWAPPED_WEIGHTS, text)
    return None


def _term_missing(mismatch: Mismatch) -> Explanation | None:
    if mismatch.is_reversed or len({t.tensor_name for t in mismatch.transfers}) < 2:
        return None
    for transfer in mismatch.transfers:
        if transfer.target(mismatch.planned).shape != mismatch.planned.shape:
            continue
        alone = transfer.source(mismatch.sources[transfer.tensor_name]).reshape(mismatch.planned.shape)
        if same_but_for_rounding(alone, mismatch.held):
            text = f"holds {transfer.tensor_name} alone: {mismatch.needs}, added up"
            return Explanation(CauseKind.MISSING_TERM, text)
    return None


def _blocks_reordered(mismatch: Mismatch) -> Explanation | None:
    shape = mismatch.planned.shape
    for axis, parts in itertools.product(range(len(shape)), BLOCKS):
        if shape[axis] % parts or shape[axis] <= parts:
            continue
        blocks = np.split(mismatch.planned, parts, axis)
        for order in itertools.permutations(range(parts)):
            if same_but_for_rounding(np.concatenate([blocks[i] for i in order], axis), mismatch.held):
                gates = any(len(t.gates) == parts for t in mismatch.transfers)
                text = f"its {parts} blocks along axis {axis} are in the order {order}: {mismatch.needs}"
                return Explanation(CauseKind.GATE_ORDER if gates else CauseKind.PACKED_ORDER, text)
    return None


def _reordered(mismatch: Mismatch) -> Explanation | None:
    if not same_but_for_rounding(np.sort(mismatch.planned, axis=None), np.sort(mismatch.held, axis=None)):
        return None
    return Explanation(CauseKind.ORDER, f"the same numbers in another order: {mismatch.needs}")


HYPOTHESES: tuple[Callable[[Mismatch], Explanation | None], ...] = (
    _all_zero,
    _rounded,
    _rows_swapped,
    _term_missing,
    _permuted,
    _reshaped,
    _flipped,
    _swapped,
    _blocks_reordered,
    _reordered,
)
"""What may have been done, in the order in which it is tried."""


def _bytes(row: Array) -> bytes:
    return np.ascontiguousarray(row).tobytes()
