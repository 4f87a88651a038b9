"""Where two programs part, why, and how their difference grows along the computation."""

import dataclasses
import math
import re
from collections.abc import Sequence

from parity.report.kinds import CauseKind, Kind, Stage

_OF_A_PLACE = re.compile(r"line \d+|number \d+ of \d+")
"""Numbers in a cause that say where, and not what."""

_NUMBER = re.compile(r"(?<![\w./])\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w/])")
"""Other numbers in it; those in names are none."""

CALLED = "called from"
"""Operation of a place that calls the one before it, where several calls lead there."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a program an operation stands.

    Attributes:
        operation: the framework's name of it: "dot_general", "aten.native_layer_norm".
        module: module path ("encoder.layer.3.norm") or JAX's name stack; "" where there is none.
        file: source file of the model's author (frames of frameworks left out); "" if unknown.
        line: line in it, from 1; 0 if unknown.
        code: that line of source, stripped.
        step: for an operation inside a loop, which iteration, e.g. "scan step 2"; else "".
        layer: class of the module, of a library's module with its settings: "GELU(approximate='none')"; ""
            if unknown.
    """

    operation: str
    module: str = ""
    file: str = ""
    line: int = 0
    code: str = ""
    step: str = ""
    layer: str = ""


@dataclasses.dataclass(frozen=True)
class Cause:
    """Why two programs differ: a change to the candidate that was tried and made it match.

    Attributes:
        name: the kind of fault; the word for it will do, too.
        text: what differs and what to do, e.g. "eps is 1e-06 in JAX and 1e-05 in PyTorch".
        residual: relative difference that is left with the change applied.
        whole: whether the outputs that failed agree then, too; else only the value at the place, since there
            is another fault.
    """

    name: CauseKind
    text: str
    residual: float
    whole: bool = True

    def __post_init__(self) -> None:
        """Take the kind of fault as a word, too.

        Raises:
            ValueError: if there is no such kind.
        """
        object.__setattr__(self, "name", CauseKind(self.name))


@dataclasses.dataclass(frozen=True)
class Divergence:
    """A place where two programs part: all that goes in agrees, what comes out does not.

    Attributes:
        stage: weights, forward or gradients; the word for it will do, too.
        reference: the operations of the reference there, the likeliest culprit first; empty when the
            candidate computes something extra.
        candidate: the operations of the candidate there, likewise.
        kind: how it shows; the word for it will do, too.
        detail: what else is known, as a sentence, e.g. both orders of an operand.
        relative_error: max |j - t| over max |t| of the value that comes out; NaN if nothing pairs up.
        relative_yardstick: the difference that rounding alone explains there, in the same unit.
        shapes: of the reference's and the candidate's value.
        cause: the hypothesis that made it match, or None.
        formulas: what the reference and the candidate compute there of the values that agree, where that is
            short.
        recorded: whether it was found in recorded values, which cannot be computed again: no cause was tried,
            and the error is that of the output.
    """

    stage: Stage
    reference: tuple[Place, ...]
    candidate: tuple[Place, ...]
    kind: Kind = Kind.VALUE
    detail: str = ""
    relative_error: float = math.nan
    relative_yardstick: float = math.nan
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    cause: Cause | None = None
    formulas: tuple[str, str] | None = None
    recorded: bool = False

    def __post_init__(self) -> None:
        """Take stage and kind as words, too.

        Raises:
            ValueError: if there is no such stage or kind.
        """
        object.__setattr__(self, "stage", Stage(self.stage))
        object.__setattr__(self, "kind", Kind(self.kind))

    def repeats(self, other: "Divergence") -> bool:
        """Whether this is the same fault as another: the same cause, or the same formulas, at the same lines.

        What one line of the candidate's does wrong, several of the reference's may do right. A library's
        layers with the same settings are alike, wherever they are called. Weights are alike that were
        converted with the same mistake.
        """

        def lines(divergence: Divergence) -> list[tuple[str, int]]:
            places = [*divergence.reference[:1], *divergence.candidate[:1]]
            named = [(p.layer, 0) if "(" in p.layer or not p.file else (p.file, p.line) for p in places]
            return [name for name in named if name[0]]

        if self.cause is None or other.cause is None:
            alike = (
                self.cause is other.cause and self.formulas is not None and self.formulas == other.formulas
            )
            return alike and bool(lines(self)) and lines(self) == lines(other)
        if Stage.WEIGHTS in (self.stage, other.stage):
            alike = (self.cause.name, _mistake(self)) == (other.cause.name, _mistake(other))
            return alike and self.stage is other.stage
        if not lines(self):
            return False
        if self.cause.name is not other.cause.name:
            return False
        same_text = self.cause.text == other.cause.text
        if lines(self) == lines(other):  # in another call the operands have other names
            return same_text or _what(self) == _what(other)
        to_mend = [p.file and (p.file, p.line) for p in (*self.candidate[:1], *other.candidate[:1])]
        return same_text and all(to_mend) and len(set(to_mend)) == 1


def _what(divergence: Divergence) -> list[str]:
    """The operations that come first on both sides, and the numbers of the cause but for those of lines."""
    text = "" if divergence.cause is None else _OF_A_PLACE.sub("", divergence.cause.text)
    places = (*divergence.reference[:1], *divergence.candidate[:1])
    return [*(place.operation for place in places), *_NUMBER.findall(text)]


def _mistake(divergence: Divergence) -> str:
    """What is wrong with a weight, without its names and without what would be right for it alone."""
    text = "" if divergence.cause is None else divergence.cause.text.partition(": ")[0]
    for place in (*divergence.reference, *divergence.candidate):
        text = text.replace(place.module, "")
    return text


def once_each(divergences: Sequence[Divergence]) -> list[list[Divergence]]:
    """Every fault with the places where it shows: many modules may run one line of code.

    Args:
        divergences: in the order in which they are to be told.

    Returns:
        Groups of divergences that repeat each other, in the same order.
    """
    faults: list[list[Divergence]] = []
    for divergence in divergences:
        known = next((fault for fault in faults if divergence.repeats(fault[0])), None)
        if known is None:
            faults.append([divergence])
        else:
            known.append(divergence)
    return faults


@dataclasses.dataclass(frozen=True)
class Growth:
    """How far the two sides are apart at one matched operation, in the order of computation.

    Attributes:
        stage: forward or gradients; the word for it will do, too.
        reference, candidate: the two operations.
        relative_error: max |j - t| over max |t| of their sorted entries.
        relative_yardstick: the difference that rounding alone explains there, in the same unit.
        matched: whether they agree.
    """

    stage: Stage
    reference: Place
    candidate: Place
    relative_error: float
    relative_yardstick: float
    matched: bool

    def __post_init__(self) -> None:
        """Take the stage as a word, too.

        Raises:
            ValueError: if there is no such stage.
        """
        object.__setattr__(self, "stage", Stage(self.stage))
