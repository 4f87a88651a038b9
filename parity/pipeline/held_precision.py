"""Roundings that one side makes and the other does not, in a run in a narrow dtype: judged and placed.

Two frameworks round a fused operation differently often enough, once each. What differs by more than one
rounding was written differently: a softmax in float32 on one side, a norm that stays in bfloat16, a gradient
that is summed in another precision.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Iterator, Sequence

from parity.localise.held import Apart, held_apart
from parity.numerics.progress import Progress
from parity.pipeline.held_values import NARROWED, Key
from parity.report.errors import in_one_line
from parity.report.results import Divergence, Place, Quantity, Stage, Verdict
from parity.report.results import Kind as Difference
from parity.trace.graph import Node, Trace
from parity.trace.sketches import Sketched
from parity.trace.vocabulary import EXACT, SUMMING

ONE_ROUNDING = {"float64": 0}
"""Different operations that may round otherwise: none in a run in float64, one in a narrow dtype."""

MOST_SHOWN = 3
"""Places of one run; who mends the first looks again."""

GROUPS = {False: ("outputs", "loss"), True: ("gradients",)}
"""What a pass computes, by whether it is the backward one."""

Side = Callable[[Key], Sketched]
"""What is known of one side's values; it raises an error that says why it is not."""


@dataclasses.dataclass(frozen=True)
class Roundings:
    """What differs in a pass of a run in one dtype.

    Attributes:
        key: the dtype, and the pass.
        reference: the reference's trace.
        candidate: the candidate's.
        apart: the values, in the order of the candidate's computation.
    """

    key: Key
    reference: Trace
    candidate: Trace
    apart: Sequence[Apart]

    @property
    def narrow(self) -> str:
        """The dtype that is rounded to."""
        return NARROWED.get(self.key.dtype, self.key.dtype)

    @property
    def where(self) -> str:
        """The run and the pass, in words."""
        return (
            f"in the backward pass of a run in {self.key.dtype}"
            if self.key.backward
            else f"in a run in {self.key.dtype}"
        )

    @property
    def telling(self) -> bool:
        """Whether more is rounded otherwise than two frameworks may."""
        first = {(one.t, one.by_candidate): one for one in reversed(self.apart)}.values()
        lines = {(_line(self.reference.nodes[one.t]), _line(self.candidate.nodes[one.j])) for one in first}
        most = max([len(lines), self._chained(), *(one.inside for one in self.apart)])
        return most > ONE_ROUNDING.get(self.key.dtype, 1)

    def _chained(self) -> int:
        """The longest chain of sums at one line, each of the one before, that one side alone rounds."""
        lengths: dict[int, int] = {}
        nodes = self.candidate.nodes
        for one in self.apart:
            if nodes[one.j].operation in SUMMING:
                before = self._summed(one.j)
                lengths[one.j] = 1 + max((lengths.get(i, 0) for i in before), default=0)
        return max(lengths.values(), default=0)

    def _summed(self, node: int) -> Iterator[int]:
        """The sums of the same line that a sum is of, through what only moves entries."""
        nodes = self.candidate.nodes
        waiting = list(nodes[node].inputs)
        while waiting:
            index = waiting.pop()
            if nodes[index].operation in EXACT:
                waiting += nodes[index].inputs
            elif _line(nodes[index]) == _line(nodes[node]):
                yield index

    def reaches(self, group: str, name: str) -> bool:
        """Whether a value that is compared is computed from one that is rounded otherwise.

        Args:
            group: of the value.
            name: of an output; of a gradient under one side's name.
        """
        for trace, nodes in (
            (self.candidate, {one.j for one in self.apart}),
            (self.reference, {one.t for one in self.apart}),
        ):
            index = trace.outputs.get(group, {}).get(name)
            if index is not None:
                return bool(nodes & trace.ancestors([index]))
        return False


def _line(node: Node) -> tuple[str, int, str]:
    """What a layer that is called several times has in common."""
    return node.spot.file, node.spot.line, node.operation


def compared(
    reference: Side, candidate: Side, keys: Sequence[Key], progress: Progress
) -> tuple[list[Roundings], list[str]]:
    """Compare where both sides round, of two sides whose outputs agree in float64.

    Of a dtype in which the forward passes differ the backward passes are not compared: they follow.
    What cannot be traced must not cost the verdict: then the comparison is a line of what was not checked.
    With PARITY_DEBUG set an error is raised.

    Args:
        reference: one side.
        candidate: the other.
        keys: the dtypes and passes to compare.
        progress: called with each step, in words.

    Returns:
        What differs, by dtype and pass; and where this was not compared, in words.
    """
    found: list[Roundings] = []
    unsaid: list[str] = []
    for key in keys:
        if any(one.key.dtype == key.dtype and one.telling for one in found):
            continue
        progress(f"comparing where both sides round in {key}")
        try:
            one, other = reference(key), candidate(key)
            apart = held_apart(one, other, backward=key.backward)
        except Exception as error:
            if os.environ.get("PARITY_DEBUG"):
                raise
            unsaid.append(f"where both sides round in {key}: {in_one_line(error)}")
            continue
        found += [Roundings(key, one.trace, other.trace, apart)] if apart else []
    return found, unsaid


def judge(quantity: Quantity, roundings: Roundings) -> Quantity:
    """The quantity, failed if what it is computed from is rounded otherwise on the two sides.

    Args:
        quantity: as its numbers were judged.
        roundings: of the run in its dtype.
    """
    same = (quantity.program, quantity.dtype) == ("candidate", roundings.key.dtype)
    same = same and quantity.group in GROUPS[roundings.key.backward]
    if not same or not roundings.telling or not roundings.reaches(quantity.group, quantity.name):
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
        place = roundings.candidate.nodes[one.j].place
        where = f" ({place.file}:{place.line})" if place.file else ""
        side = "<candidate>" if one.by_candidate else "<reference>"
        yield (
            f"{roundings.where} {side} alone rounds one value to {roundings.narrow}{where}: one "
            "rounding, which is no fault"
        )


def places(roundings: Roundings) -> Iterator[Divergence]:
    """The lines at which the two sides round otherwise, each once.

    Args:
        roundings: what differs.
    """
    if not roundings.telling:
        return
    narrow, stage = roundings.narrow, Stage.GRADIENTS if roundings.key.backward else Stage.FORWARD
    found: dict[tuple[str, int, str, int, bool], tuple[Apart, Place, Place]] = {}
    for one in roundings.apart:
        t, j = roundings.reference.nodes[one.t].place, roundings.candidate.nodes[one.j].place
        found.setdefault((t.file, t.line, j.file, j.line, one.by_candidate), (one, t, j))
    for one, t, j in itertools.islice(found.values(), MOST_SHOWN):
        rounds, keeps = ("<candidate>", "<reference>") if one.by_candidate else ("<reference>", "<candidate>")
        what = "on the way to this value" if one.inside else "this value"
        detail = f"{roundings.where} {rounds} rounds {what} to {narrow}, {keeps} does not"
        advice = "keep it wide, and cast behind it" if one.by_candidate else "cast it in <candidate>, too"
        yield Divergence(stage, (t,), (j,), Difference.DTYPE, f"{detail}: {advice}")
