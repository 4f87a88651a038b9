"""Roundings that one side makes and the other does not, in a run in a narrow dtype: judged and placed.

Two frameworks round a fused operation differently often enough, once each. What differs by more than one
rounding was written differently: a softmax in float32 on one side, a norm that stays in bfloat16.
"""

import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Sequence

from parity.frameworks.model import Model
from parity.localise.comparison import Comparison
from parity.localise.held import Apart, held_apart
from parity.numerics.arrays import DTYPES
from parity.numerics.progress import Progress
from parity.pipeline.measuring import Measured
from parity.pipeline.traces import traced
from parity.report.errors import in_one_line
from parity.report.results import Divergence, Place, Quantity, Stage, Verdict
from parity.report.results import Kind as Difference
from parity.trace.graph import Node

NARROWED = {"float64": "float32"}
"""To which dtype a run in a wide one may round; a narrow one rounds to itself."""

ONE_ROUNDING = {"float64": 0}
"""Different operations that may round otherwise: none in a run in float64, one in a narrow dtype."""

LARGEST = 2**30
"""Bytes of a side's values above which they are not kept for this."""

MOST_SHOWN = 3
"""Places of one run; who mends the first looks again."""


@dataclasses.dataclass(frozen=True)
class Roundings:
    """What differs in a run in one dtype.

    Attributes:
        dtype: of the run.
        comparison: both sides' traces.
        apart: the values, in the order of the candidate's computation.
    """

    dtype: str
    comparison: Comparison
    apart: Sequence[Apart]

    @property
    def narrow(self) -> str:
        """The dtype that is rounded to."""
        return NARROWED.get(self.dtype, self.dtype)

    @property
    def telling(self) -> bool:
        """Whether more is rounded otherwise than two frameworks may."""
        lines = {(node.spot.file, node.spot.line, node.operation) for node in map(self._rounding, self.apart)}
        most = max([len(lines), *(one.inside for one in self.apart)])
        return most > ONE_ROUNDING.get(self.dtype, 1)

    def _rounding(self, one: Apart) -> Node:
        """The value that is rounded."""
        sides = self.comparison.candidate if one.by_candidate else self.comparison.reference
        return sides.nodes[one.j if one.by_candidate else one.t]

    def reaches(self, name: str) -> bool:
        """Whether an output is computed from a value that is rounded otherwise."""
        trace = self.comparison.candidate
        index = trace.outputs.get("outputs", {}).get(name)
        return index is not None and bool({one.j for one in self.apart} & trace.ancestors([index]))


def compared(both: Measured, dtypes: Sequence[str], progress: Progress) -> tuple[list[Roundings], list[str]]:
    """Compare where both sides round, in every run in a narrow dtype and of two programs in float64.

    What cannot be traced must not cost the verdict: then the comparison is a line of what was not checked.
    With PARITY_DEBUG set an error is raised.

    Args:
        both: the two sides, whose outputs agree in float64.
        dtypes: that were judged.
        progress: called with each step, in words.

    Returns:
        What differs, by dtype; and where this was not compared, in words.
    """
    found, unsaid = [], []
    wide = all(map(in_float64, (both.reference.model, both.candidate.model)))
    for dtype in dtypes:
        if dtype in DTYPES and not (dtype == "float64" and wide):
            continue
        progress(f"comparing where both sides round in {dtype}")
        try:
            roundings = roundings_of(both, dtype)
        except Exception as error:
            if os.environ.get("PARITY_DEBUG"):
                raise
            unsaid.append(f"where both sides round in {dtype}: {in_one_line(error)}")
            continue
        found += [roundings] if roundings.apart else []
    return found, unsaid


def roundings_of(both: Measured, dtype: str) -> Roundings:
    """Compare where both sides round in a run in `dtype`.

    Args:
        both: the two sides, whose outputs agree in float64.
        dtype: of the run.

    Raises:
        ValueError: if the reference is only recorded.
        MemoryError: if the values of the reference take too much memory to keep those of both sides.
    """
    program, candidate = both.reference_program, both.candidate
    if program is None or both.reference.trace is None:
        raise ValueError("the reference is not here: only its recording is")
    size = sum(_bytes_of(node) for node in both.reference.trace.nodes)
    if size > LARGEST:
        raise MemoryError(
            f"keeping every value would take {size / 2**30:.1f} GiB for each side (at most "
            f"{LARGEST / 2**30:.0f}); give a smaller batch"
        )
    given = both.reference.inputs[0]
    first = traced(program, both.reference.weights, given, False, rounded=dtype)
    second = traced(both.candidate_program, candidate.weights, given, False, rounded=dtype)
    comparison = Comparison(first[0], second[0], first[1], second[1])
    return Roundings(dtype, comparison, held_apart(comparison, NARROWED.get(dtype, dtype)))


def _bytes_of(node: Node) -> int:
    """Memory of a value in float64."""
    return 8 * math.prod(int(n) for n in node.value.shape)


def in_float64(model: Model | None) -> bool:
    """Whether a model keeps its trained weights in float64: then it is a program in float64.

    Args:
        model: None where only its recording is here.
    """
    stored = {model.dtypes[name] for name in model.trainable} if model is not None else set()
    return stored == {"float64"}


def judge(quantity: Quantity, roundings: Roundings) -> Quantity:
    """The quantity, failed if what it is computed from is rounded otherwise on the two sides.

    Args:
        quantity: as its numbers were judged.
        roundings: of the run in its dtype.
    """
    same = (quantity.group, quantity.program, quantity.dtype) == ("outputs", "candidate", roundings.dtype)
    if not same or not roundings.telling or not roundings.reaches(quantity.name):
        return quantity
    note = f"the two sides round to {roundings.narrow} at different places on the way to it"
    return dataclasses.replace(quantity, verdict=Verdict.FAIL, notes=(note, *quantity.notes))


def remarks(roundings: Roundings) -> Iterator[str]:
    """What is said of a single rounding that one side has and the other has not.

    Args:
        roundings: what differs.
    """
    if roundings.telling:
        return
    for one in roundings.apart[:1]:
        place = roundings.comparison.candidate.nodes[one.j].place
        where = f" ({place.file}:{place.line})" if place.file else ""
        side = "<candidate>" if one.by_candidate else "<reference>"
        yield (
            f"in a run in {roundings.dtype} {side} alone rounds one value to {roundings.narrow}{where}: one "
            "rounding, which is no fault"
        )


def places(roundings: Roundings) -> Iterator[Divergence]:
    """The lines at which the two sides round otherwise, each once.

    Args:
        roundings: what differs.
    """
    if not roundings.telling:
        return
    comparison, narrow = roundings.comparison, roundings.narrow
    found: dict[tuple[str, int, str, int, bool], tuple[Apart, Place, Place]] = {}
    for one in roundings.apart:
        t, j = comparison.reference.nodes[one.t].place, comparison.candidate.nodes[one.j].place
        found.setdefault((t.file, t.line, j.file, j.line, one.by_candidate), (one, t, j))
    for one, t, j in itertools.islice(found.values(), MOST_SHOWN):
        rounds, keeps = ("<candidate>", "<reference>") if one.by_candidate else ("<reference>", "<candidate>")
        what = "on the way to this value" if one.inside else "this value"
        detail = f"in a run in {roundings.dtype} {rounds} rounds {what} to {narrow}, {keeps} does not"
        advice = "keep it wide, and cast behind it" if one.by_candidate else "cast it in <candidate>, too"
        yield Divergence(Stage.FORWARD, (t,), (j,), Difference.DTYPE, f"{detail}: {advice}")
