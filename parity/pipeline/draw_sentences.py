"""What is said of the random draws of two sides: how many are shared, and in what they differ."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from parity.numerics.draws import Distribution, Draw
from parity.pipeline.paired_draws import Pairs
from parity.report.divergences import Divergence
from parity.report.kinds import Kind, Stage

MOST = 6
"""Sentences of a kind, at most."""

PLURALS = {
    Distribution.BERNOULLI: "Bernoulli masks",
    Distribution.INTEGERS: "of random integers",
    Distribution.GUMBEL: "of categories (Gumbel)",
}
"""How several are counted; of the others the distribution's name says it."""

RELATED = (
    {Distribution.UNIFORM, Distribution.BERNOULLI},
    {Distribution.EXPONENTIAL, Distribution.GUMBEL},
    {Distribution.EXPONENTIAL, Distribution.UNIFORM},
    {Distribution.GUMBEL, Distribution.UNIFORM},
)
"""Distributions one of which a model may make of the other."""


class DrawFault(NamedTuple):
    """A difference between the draws of both sides.

    Attributes:
        text: a sentence with `<reference>` and `<candidate>` for the sides.
        places: of the draws that it is about: file and line, or layer.
    """

    text: str
    places: tuple[str, ...]


def faults_of(pairs: Pairs, mirrored: bool = False) -> tuple[DrawFault, ...]:
    """In what the draws of both sides differ.

    Args:
        pairs: the draws of both sides.
        mirrored: whether the two agreed once masks were read from the other end.
    """
    differing = [
        DrawFault(text, _places(one, other))
        for one, other in pairs.together
        if (text := _difference(one, other, mirrored)) is not None
    ]
    return (*differing[:MOST], *_left_over(pairs)[:MOST], *_keys_used_twice(pairs)[:MOST])


def remarks_on(pairs: Pairs) -> tuple[str, ...]:
    """How many draws were shared, and which cannot be.

    Args:
        pairs: the draws of both sides.
    """
    return (*_not_shared(pairs), *_counted(pairs))


def told(divergences: Sequence[Divergence], faults: Sequence[DrawFault]) -> tuple[Divergence, ...]:
    """Divergences, those where the two sides draw other numbers with that said in the place of a cause.

    What was tried there took a drawn number for a computed one.

    Args:
        divergences: in the order in which they are told.
        faults: from `faults_of`.
    """
    return tuple(_with_fault(divergence, faults) for divergence in divergences)


def _with_fault(divergence: Divergence, faults: Sequence[DrawFault]) -> Divergence:
    if divergence.stage is Stage.WEIGHTS:
        return divergence
    here = set()
    for place in (*divergence.reference, *divergence.candidate):
        here |= {f"{place.file}:{place.line}"} if place.file else set()
        here |= {f"layer `{place.module}`"} if place.module else set()
    fault = max(faults, key=lambda fault: len(here & set(fault.places)), default=None)
    if fault is None or not here & set(fault.places):
        return divergence
    return dataclasses.replace(divergence, kind=Kind.DRAWS, detail=fault.text, cause=None, formulas=None)


def _places(*draws: Draw) -> tuple[str, ...]:
    return tuple(draw.place for draw in draws if draw.place)


def _difference(one: Draw, other: Draw, mirrored: bool) -> str | None:
    """In what two draws differ that stand for each other; None if they need not."""
    kinds = {one.distribution, other.distribution}
    if len(kinds) == 2:
        if kinds in RELATED:
            return None
        return f"<reference> draws {_in_words(one)}, <candidate> {_in_words(other)}"
    if one.distribution not in (Distribution.BERNOULLI, Distribution.INTEGERS):
        return None
    known = bool(one.parameters) and bool(other.parameters)
    if not known or all(map(_close, one.parameters, other.parameters)):
        return None
    if mirrored and _close(one.parameters[0], 1 - other.parameters[0]):
        return None
    those = "one" if one.distribution is Distribution.BERNOULLI else "ones"
    return f"<reference> draws {_in_words(one)}, <candidate> {those} {_parameters(other)}{_at(other)}"


def _left_over(pairs: Pairs) -> list[DrawFault]:
    """Draws that one side makes and the other does not; two of one kind are told together."""
    first, second = map(list, pairs.left)
    found = []
    for draw in list(first):
        partner = next((own for own in second if own.distribution is draw.distribution), None)
        if partner is not None:
            first.remove(draw)
            second.remove(partner)
            text = f"<reference> draws {_in_words(draw)}, <candidate> {_in_words(partner)}"
            found.append(DrawFault(text, _places(draw, partner)))
    counts = [sum(draw.shared for draw in side) for side in (pairs.reference, pairs.candidate)]
    for left, one, other, (many, few) in (
        (first, "<reference>", "<candidate>", counts),
        (second, "<candidate>", "<reference>", counts[::-1]),
    ):
        for draw in left:
            text = f"{one} draws {_in_words(draw)}, for which {other} draws nothing"
            never = not (pairs.candidate if other == "<candidate>" else pairs.reference)
            text += f" at all; {_to_do(one, other)}" if never else f": {_many(many)} against {few}"
            found.append(DrawFault(text, _places(draw)))
    return found


def _to_do(one: str, other: str) -> str:
    """What to do where one side draws and the other never does."""
    return (
        f"if this is dropout, switch it off in {one} (`model.eval()`, `deterministic=True`), or on in "
        f"{other} (`model.train()`, `train=True` with a key)"
    )


def _keys_used_twice(pairs: Pairs) -> list[DrawFault]:
    """Draws of one side that repeat an earlier one, where those of the other side do not."""
    found = []
    back = {other: own for own, other in enumerate(pairs.partner) if other is not None}
    for side, draws, others, partners in (
        ("<candidate>", pairs.candidate, pairs.reference, dict(enumerate(pairs.partner))),
        ("<reference>", pairs.reference, pairs.candidate, back),
    ):
        for index, draw in enumerate(draws):
            partner = partners.get(index)
            if draw.same_as is None or (partner is not None and others[partner].same_as is not None):
                continue
            first = draws[draw.same_as]
            where = f" ({first.place} and {draw.place})" if draw.place else ""
            text = (
                f"{side} uses the same key for draws {draw.same_as + 1} and {index + 1}{where}: both are the "
                "same numbers; split the key, and use each part once"
            )
            found.append(DrawFault(text, _places(draw)))
    return found


def _not_shared(pairs: Pairs) -> list[str]:
    """Draws that have no counterpart in the other framework."""
    found: dict[str, None] = {}
    for side, draws in (("<reference>", pairs.reference), ("<candidate>", pairs.candidate)):
        for draw in draws:
            if not draw.shared:
                found[
                    f"{side} draws random numbers that cannot be shared ({draw.name}{_at(draw)}): each side "
                    "has its own; give them as an input"
                ] = None
    return list(found)[:MOST]


def _counted(pairs: Pairs) -> list[str]:
    """How many draws were shared, by distribution."""
    counts = collections.Counter(one.distribution for one, _ in pairs.together)
    if not counts:
        return []
    total = sum(counts.values())
    kinds = ", ".join(_counted_kind(count, kind) for kind, count in counts.items())
    verb = "random draw was" if total == 1 else "random draws were"
    order = "" if pairs.by_order else "; they come in another order, and were matched by shape"
    return [f"{total} {verb} shared: {kinds}{order}"]


def _counted_kind(count: int, kind: Distribution) -> str:
    return f"{count} {kind.value if count == 1 else PLURALS.get(kind, kind.value)}"


def _many(count: int) -> str:
    return f"{count} draw" if count == 1 else f"{count} draws"


def _in_words(draw: Draw) -> str:
    """A draw with its parameters, shape and place."""
    if not _has_parameters(draw):
        what = "a Bernoulli mask" if draw.distribution is Distribution.BERNOULLI else _numbers(draw)
        return f"{what} of shape {draw.shape}{_at(draw)}"
    if draw.distribution is Distribution.BERNOULLI:
        return f"a Bernoulli mask {_parameters(draw)} and shape {draw.shape}{_at(draw)}"
    return f"random integers {_parameters(draw)}, of shape {draw.shape}{_at(draw)}"


def _numbers(draw: Draw) -> str:
    is_named = draw.distribution is Distribution.INTEGERS
    return draw.distribution.value if is_named else f"{draw.distribution.value} numbers"


def _has_parameters(draw: Draw) -> bool:
    return bool(draw.parameters) and draw.distribution in (Distribution.BERNOULLI, Distribution.INTEGERS)


def _parameters(draw: Draw) -> str:
    """The parameters of a mask or of integers."""
    if draw.distribution is Distribution.BERNOULLI:
        return f"of probability {draw.parameters[0]:.6g}"
    low, high = draw.parameters
    return f"from {low:.0f} to {high - 1:.0f}"


def _at(draw: Draw) -> str:
    return f" ({draw.place})" if draw.place else ""


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-7)
