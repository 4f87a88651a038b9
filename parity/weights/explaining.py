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
from parity.report.kinds import CauseKind
from parity.weights.sameness import same_numbers
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


class Case(NamedTuple):
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
    case = Case(transfers, planned, held, others, sources, reversed)
    if same_numbers(planned, held):
        return Explanation(None, f"the same numbers: {case.needs}")
    for hypothesis in HYPOTHESES:
        found = hypothesis(case)
        if found is not None:
            return found
    first = case.source_name(transfers[0])
    return Explanation(None, f"other numbers than <reference>'s {first}: was it loaded? {case.needs}")


def _all_zero(case: Case) -> Explanation | None:
    if case.held.any():
        return None
    return Explanation(CauseKind.STALE_WEIGHTS, f"all zero: was {case.name} loaded? {case.needs}")


def _rounded(case: Case) -> Explanation | None:
    """Whether every number is one of a narrow dtype, and as near as that dtype allows."""
    if not (is_float(case.planned) and is_float(case.held)):
        return None
    wanted, found = case.planned.astype(np.float64), case.held.astype(np.float64)
    for dtype, least in NARROW.items():
        with np.errstate(over="ignore"):
            nearest, again = round_to(wanted, dtype), round_to(found, dtype)
        half = SLACK * eps_of(dtype) / 2
        # What overflows to infinity in the narrow dtype is compared with that infinity.
        near = np.isclose(found, np.where(np.isinf(nearest), nearest, wanted), half, least, equal_nan=True)
        if near.all() and np.array_equal(again, found, equal_nan=True):
            return Explanation(CauseKind.DTYPE, f"rounded to {dtype}: {case.needs} in float32")
    return None


def _rows_swapped(case: Case) -> Explanation | None:
    sources = {case.source_name(t) for t in case.transfers}
    blocks = {str(t.take) for t in case.transfers} if case.is_reversed else {t.box() for t in case.transfers}
    if len(sources) < 2 or len(blocks) < 2:
        return None
    if sorted(map(_bytes, case.planned)) != sorted(map(_bytes, case.held)):
        return None
    return Explanation(CauseKind.SWAPPED_WEIGHTS, f"its rows are in another order: {case.needs}")


def _permuted(case: Case) -> Explanation | None:
    rank = case.planned.ndim
    for axes in itertools.permutations(range(rank)) if rank <= MOST_AXES else ():
        if same_numbers(case.planned.transpose(axes), case.held):
            if rank == 2:
                return Explanation(CauseKind.TRANSPOSED_KERNEL, f"transposed: {case.needs}")
            return Explanation(CauseKind.KERNEL_LAYOUT, f"axes permuted {axes}: {case.needs}")
    return None


def _reshaped(case: Case) -> Explanation | None:
    for transfer in case.transfers:
        name = case.source_name(transfer)
        source = case.sources[name]
        if source.size == case.held.size and same_numbers(source.reshape(case.held.shape), case.held):
            text = f"{name} reshaped without moving its axes: {case.needs}"
            return Explanation(CauseKind.KERNEL_LAYOUT, text)
    return None


def _flipped(case: Case) -> Explanation | None:
    rank = case.planned.ndim
    for count in range(1, rank + 1):
        for axes in itertools.combinations(range(rank), count):
            if same_numbers(np.flip(case.planned, axes), case.held):
                return Explanation(CauseKind.FLIPPED_KERNEL, f"flipped along axes {axes}: {case.needs}")
    return None


def _swapped(case: Case) -> Explanation | None:
    for other, array in case.others.items():
        if other != case.name and same_numbers(array, case.held):
            text = f"swapped: {case.name} holds what belongs to {other}; {case.needs}"
            return Explanation(CauseKind.SWAPPED_WEIGHTS, text)
    return None


def _term_missing(case: Case) -> Explanation | None:
    if case.is_reversed or len({t.tensor_name for t in case.transfers}) < 2:
        return None
    for transfer in case.transfers:
        if transfer.target(case.planned).shape != case.planned.shape:
            continue
        alone = transfer.source(case.sources[transfer.tensor_name]).reshape(case.planned.shape)
        if same_numbers(alone, case.held):
            text = f"holds {transfer.tensor_name} alone: {case.needs}, added up"
            return Explanation(CauseKind.MISSING_TERM, text)
    return None


def _blocks_reordered(case: Case) -> Explanation | None:
    shape = case.planned.shape
    for axis, parts in itertools.product(range(len(shape)), BLOCKS):
        if shape[axis] % parts or shape[axis] <= parts:
            continue
        blocks = np.split(case.planned, parts, axis)
        for order in itertools.permutations(range(parts)):
            if same_numbers(np.concatenate([blocks[i] for i in order], axis), case.held):
                gates = any(len(t.gates) == parts for t in case.transfers)
                text = f"its {parts} blocks along axis {axis} are in the order {order}: {case.needs}"
                return Explanation(CauseKind.GATE_ORDER if gates else CauseKind.PACKED_ORDER, text)
    return None


def _reordered(case: Case) -> Explanation | None:
    if not same_numbers(np.sort(case.planned, axis=None), np.sort(case.held, axis=None)):
        return None
    return Explanation(CauseKind.ORDER, f"the same numbers in another order: {case.needs}")


HYPOTHESES: tuple[Callable[[Case], Explanation | None], ...] = (
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
