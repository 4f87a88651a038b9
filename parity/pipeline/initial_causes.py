"""What two samples of a block differ in, and what to do about it, in sentences."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from parity.numerics.draw_samples import Law, Sample
from parity.numerics.draw_statistics import Measure, Statistic
from parity.pipeline.initial_blocks import Block
from parity.pipeline.initial_laws import Family, family_of, law_in_words, number_in_words, ratio_in_words

_PARTS = (Statistic.PART_MEAN, Statistic.PART_SIZE)
_ANGLES = (Statistic.ROW_ANGLES, Statistic.COLUMN_ANGLES, Statistic.ROW_NORMS, Statistic.COLUMN_NORMS)

_FLAX = "that is lecun_normal, Flax's default: draw it uniformly up to <reference>'s bound"


class Told(NamedTuple):
    """Both sides of a block that differ.

    Attributes:
        block: what is paired.
        reference, candidate: the two samples.
        odd: entries that are fixed on one side and not so on the other.
        failed: statistics that tell the two sides apart.
    """

    block: Block
    reference: Sample
    candidate: Sample
    odd: Bool[np.ndarray, "..."]
    failed: Collection[Measure]

    @property
    def laws(self) -> tuple[Law, Law]:
        """The moments of both."""
        return self.reference.law(), self.candidate.law()


def sentences(told: Told) -> tuple[str, ...]:
    """What differs, what each side does, and what to change; at least one sentence.

    Args:
        told: a block that fails.
    """
    whole = told.odd.all() or told.reference.fixed.all() or told.candidate.fixed.all()
    if told.odd.any() and not whole:
        return (_odd_entries(told),)
    families = [family_of(law, orthogonal=_gain(s) > 0) for law, s in _both(told)]
    if Family.FILLED in families or Family.FIXED in families:
        return _fixed(told, families)
    part = _part(told)
    if part:
        return (part,)
    what = _difference(told, families)
    words = [
        law_in_words(law, family, told.block.fans, _gain(sample))
        for (law, sample), family in zip(_both(told), families, strict=True)
    ]
    lines = [what]
    if words[0] != words[1]:
        lines.append(f"<reference> {words[0]}, <candidate> {words[1]}; {_advice(told, families)}")
    else:
        lines.append(f"both {words[0].replace('draws', 'draw', 1)} over all: {_advice(told, families)}")
    return tuple(lines)


def copied(names: Sequence[str], *, of_candidate: bool) -> str:
    """That several leaves of one side are copies of each other.

    Args:
        names: of the leaves on the side that has the copies.
        of_candidate: whether that is the candidate.
    """
    side, other = ("<candidate>", "<reference>") if of_candidate else ("<reference>", "<candidate>")
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    advice = (
        "one random key serves them all: split it, and give each its own"
        if of_candidate
        else ("one tensor or one seed serves them all: do the same, or draw each anew there")
    )
    return (
        f"{side} draws the same numbers, but for a factor, for {listed} in every draw, where {other} draws "
        f"each by itself; {advice}"
    )


def _both(told: Told) -> list[tuple[Law, Sample]]:
    return list(zip(told.laws, (told.reference, told.candidate), strict=True))


def _odd_entries(told: Told) -> str:
    """Entries of a block that are fixed on one side: a padding row."""
    on_reference = bool(told.reference.fixed[told.odd].all())
    side, other = ("<reference>", "<candidate>") if on_reference else ("<candidate>", "<reference>")
    sample = told.reference if on_reference else told.candidate
    values = sample.first[told.odd]
    value = number_in_words(float(values[0])) if np.ptp(values) == 0 else "the same numbers"
    axis, where = _place(told.odd)
    hint = ""
    if axis == "row" and value == "0" and told.odd.ndim == 2:
        hint = ": the row of `padding_idx`, which an embedding sets to zero"
    return f"{where} is {value} in every draw of {side}, and not so in {other}{hint}"


def _place(odd: Bool[np.ndarray, "..."]) -> tuple[str, str]:
    """Whether odd entries are whole rows or columns, and which."""
    for axis, word in enumerate(("row", "column")[: odd.ndim]):
        others = tuple(other for other in range(odd.ndim) if other != axis)
        whole = odd.all(axis=others)
        if np.array_equal(odd, np.broadcast_to(np.expand_dims(whole, others), odd.shape)):
            indices = np.flatnonzero(whole)
            word = "entry" if odd.ndim == 1 else word
            if len(indices) == 1:
                return word, f"{word} {indices[0]}"
            if indices[-1] - indices[0] == len(indices) - 1:
                plural = "entries" if word == "entry" else f"{word}s"
                return word, f"each of {plural} {indices[0]} to {indices[-1]}"
    return "", f"each of {int(odd.sum())} of {odd.size} entries"


def _fixed(told: Told, families: Sequence[Family]) -> tuple[str, ...]:
    """At least one side does not vary from draw to draw."""
    laws = told.laws
    words = [
        law_in_words(law, family, told.block.fans, _gain(sample))
        for (law, sample), family in zip(_both(told), families, strict=True)
    ]
    line = f"<reference> {words[0]}, <candidate> {words[1]}"
    last = told.block.names[0].rpartition(".")[2].partition("[")[0]
    advice = ""
    if families == [Family.FILLED, Family.FILLED]:
        advice = f"set it to {number_in_words(laws[0].mean)}, too"
        if laws[0].mean == 0 and laws[1].mean == 1 and told.reference.first.ndim == 1:
            advice += ": a scale that starts at zero closes a residual branch, so that its block starts as "
            advice += "the identity"
    elif families[0] is Family.FILLED:
        advice = f"set it to {number_in_words(laws[0].mean)}"
        if laws[0].mean == 0 and told.reference.first.ndim > 1:
            advice += ": a branch that starts at zero"
    elif families[1] is Family.FIXED:
        advice = "its numbers do not depend on the seed: draw them from the key"
    elif families[1] is Family.FILLED and told.reference.first.ndim == 1:
        advice = f"draw it as <reference> does{'; Flax leaves biases at zero' if laws[1].mean == 0 else ''}"
        if laws[1].mean == 1 and (told.block.gates or "hh" in last or "ih" in last):
            advice += "; 1 is Keras's start of a forget gate's bias"
    elif families[1] is Family.FILLED:
        advice = "draw it as <reference> does"
    return (line, advice) if advice else (line,)


def _part(told: Told) -> str:
    """A part of a block that differs where the rest does not; "" where all of it or nothing does."""
    for axis in (0, 1):
        parts = [m for m in _measures(told) if m.axis == axis and m.statistic is Statistic.PART_SIZE]
        wrong = [
            m for m in parts if m in told.failed or m._replace(statistic=Statistic.PART_MEAN) in told.failed
        ]
        if not wrong or len(wrong) > 0.6 * len(parts) or len(parts) < 3:
            continue
        start, stop = wrong[0].start, wrong[-1].stop
        between = [m for m in parts if start <= m.start and m.stop <= stop]
        if len(between) > 1.2 * len(wrong):
            continue  # not one run
        size = told.reference.first.shape[axis]
        word = ("rows", "columns")[axis] if told.reference.first.ndim > 1 else "entries"
        figures = [_moments_of_part(sample, axis, start, stop) for _, sample in _both(told)]
        rest = [_moments_of_part(sample, axis, start, stop, inside=False) for _, sample in _both(told)]
        if not _apart(figures[0], figures[1]) or _apart(rest[0], rest[1], among=2.0):
            continue  # what was not significant need not agree
        gate = ""
        if size % 4 == 0 and (start, stop) == (size // 4, size // 2) and told.block.fans.hidden:
            gate = ", the forget gate of an LSTM"
        return (
            f"{word} {start} to {stop - 1} of {size}{gate}: mean {figures[0][0]:.3g} and root mean square "
            f"{figures[0][1]:.3g} in <reference>, {figures[1][0]:.3g} and {figures[1][1]:.3g} in "
            "<candidate>; the rest agrees, so draw this part by itself"
        )
    return ""


def _apart(first: tuple[float, float], second: tuple[float, float], among: float = 1.0) -> bool:
    """Whether means or sizes of a part differ by more than a reader would call nothing, times a factor."""
    size = among * max(first[1], second[1])
    return abs(first[1] - second[1]) > 0.03 * size or abs(first[0] - second[0]) > 0.1 * size


def _measures(told: Told) -> tuple[Measure, ...]:
    return told.reference.gauge.measures


def _moments_of_part(
    sample: Sample, axis: int, start: int, stop: int, *, inside: bool = True
) -> tuple[float, float]:
    """Mean and root mean square of a part, or of the rest, over all draws."""
    values = np.array(sample.values)
    found = []
    for statistic in _PARTS:
        columns = [
            i
            for i, m in enumerate(sample.gauge.measures)
            if m.axis == axis and m.statistic is statistic
            if (start <= m.start and m.stop <= stop) is inside
        ]
        one = values[:, columns]
        is_size = statistic is Statistic.PART_SIZE
        found.append(float(np.sqrt(np.mean(one**2))) if is_size else float(one.mean()))
    return found[0], found[1]


def _difference(told: Told, families: Sequence[Family]) -> str:
    """The first figure that differs."""
    first, second = told.laws
    statistics = {measure.statistic for measure in told.failed}
    spread = first.std > 0 and second.std > 0
    ratio = max(first.std, second.std) / min(first.std, second.std) if spread else math.inf
    if spread and ratio > 1.02 and statistics & {Statistic.STD, Statistic.PART_SIZE, *_EXTREMES}:
        number = min(first.number, second.number)
        return (
            f"std {first.std:.3g} in <reference> and {second.std:.3g} in <candidate>: a ratio of "
            f"{ratio_in_words(first.std, second.std, number)}"
        )
    if Statistic.MEAN in statistics and abs(first.mean - second.mean) > 0.02 * max(first.std, second.std):
        return f"mean {first.mean:.3g} in <reference> and {second.mean:.3g} in <candidate>"
    if Family.ORTHOGONAL in families and families[0] is not families[1]:
        return f"equal std ({first.std:.3g}), but one side is orthogonal and the other is not"
    for statistic in (*_ANGLES, *_PARTS):
        columns = [i for i, m in enumerate(_measures(told)) if m in told.failed and m.statistic is statistic]
        if columns and not statistics & {Statistic.KURTOSIS, Statistic.SHARE}:
            sizes = [float(np.mean(np.array(s.values)[:, columns])) for s in (told.reference, told.candidate)]
            return f"{statistic.value}: {sizes[0]:.3g} in <reference> and {sizes[1]:.3g} in <candidate>"
    return (
        f"equal std ({first.std:.3g}), other shape: kurtosis {first.kurtosis:.3g} in <reference> and "
        f"{second.kurtosis:.3g} in <candidate>, from {first.least:.3g} to {first.greatest:.3g} and from "
        f"{second.least:.3g} to {second.greatest:.3g}"
    )


_EXTREMES = (Statistic.LEAST, Statistic.GREATEST)


def _advice(told: Told, families: Sequence[Family]) -> str:
    first, second = told.laws
    fans = told.block.fans
    if families == [Family.UNIFORM, Family.TRUNCATED] and _near(second.std, 1, fans.inputs, second):
        return _FLAX
    if Family.ORTHOGONAL not in families:
        pass
    elif families[0] is not Family.ORTHOGONAL:
        return "draw it as <reference> does (Flax draws recurrent kernels orthogonally, PyTorch does not)"
    elif families[1] is not Family.ORTHOGONAL:
        return "draw it orthogonally, with that gain"
    else:
        return "give <candidate>'s the same gain"
    if families[0] is families[1] and families[0] is not Family.UNKNOWN:
        return f"multiply <candidate>'s by {first.std / second.std:.4g}, or correct its fan or its gain"
    return "draw it as <reference> does"


def _near(std: float, numerator: float, fan: int, law: Law) -> bool:
    return fan > 0 and abs(std / math.sqrt(numerator / fan) - 1) < max(0.01, 4 / math.sqrt(law.number))


def _gain(sample: Sample) -> float:
    """The gain of a (semi-)orthogonal matrix; 0 of another."""
    names = [measure.statistic for measure in sample.gauge.measures]
    if Statistic.ROW_ANGLES not in names or sample.fixed.all():
        return 0.0
    values = np.array(sample.values)
    rows = sample.first.shape[0]
    columns = sample.first.size // rows
    angles, norms = _ANGLES[:2], _ANGLES[2:]
    short = 0 if rows <= columns else 1
    at_right = values[:, names.index(angles[short])].max() < 1e-4
    if not at_right or values[:, names.index(norms[short])].max() > 1e-2:
        return 0.0
    return math.sqrt(float(np.mean(sample.powers, axis=0)[1]) * max(rows, columns))
