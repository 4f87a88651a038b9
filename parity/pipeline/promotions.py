"""Outputs that one side returns in a wider dtype than the other, in a run in bfloat16 or float16.

JAX promotes where a value meets a float32 array of no axes; PyTorch does not. The numbers hardly differ, and
all that follows runs in another precision.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from parity.numerics.arrays import EPS
from parity.report.results import Divergence, Quantity, Stage, Verdict
from parity.report.results import Kind as Difference
from parity.trace.graph import Node, NodeKind, Spot


class Apart(NamedTuple):
    """An output that the two sides return in different dtypes, in a run in a narrow one."""

    name: str
    dtype: str
    reference: str
    candidate: str
    spot: Spot | None


def differing_dtypes(
    reference: Mapping[str, str], candidate: Mapping[str, tuple[str, Spot | None]], dtype: str
) -> list[Apart]:
    """The outputs whose dtypes differ in a run in `dtype`.

    Args:
        reference: dtype of each of the reference's outputs.
        candidate: dtype of each of the candidate's, and where it became wider.
        dtype: of the run.
    """
    floating = [n for n in reference if n in candidate and {reference[n], candidate[n][0]} <= set(EPS)]
    return [
        Apart(name, dtype, reference[name], *candidate[name])
        for name in floating
        if reference[name] != candidate[name][0]
    ]


def judge(quantity: Quantity, apart: Sequence[Apart]) -> Quantity:
    """The quantity, failed if the two sides return it in different dtypes.

    Args:
        quantity: as its numbers were judged.
        apart: outputs whose dtypes differ.
    """
    for one in apart:
        same = (one.name, one.dtype) == (quantity.name, quantity.dtype)
        if same and quantity.group == "outputs" and quantity.program == "candidate":
            note = f"<reference> returns {one.reference} here, <candidate> {one.candidate}"
            return dataclasses.replace(quantity, verdict=Verdict.FAIL, notes=(note, *quantity.notes))
    return quantity


def places(apart: Sequence[Apart]) -> Iterator[Divergence]:
    """The places where the candidate's values left the narrow dtype, each once."""
    for spot, of in itertools.groupby(apart, key=lambda one: one.spot):
        one, *_ = of
        detail = (
            f"in a run in {one.dtype} <reference> returns {one.reference} and <candidate> {one.candidate}"
        )
        if spot is not None:
            detail += "; this is where <candidate>'s value becomes wider, and it stays so"
            place = Node("convert_element_type", NodeKind.OPERATION, (), None, spot).place
            yield Divergence(Stage.FORWARD, (), (place,), Difference.DTYPE, detail)
