"""Which distribution the draws of a block look like, in words: its family, and the rule behind its size."""

import enum
import math
from typing import NamedTuple

from parity.numerics.draw_samples import Law
from parity.pipeline.initial_blocks import Fans

ENOUGH = 256
"""Entries from which on a family is recognised."""


class Family(enum.StrEnum):
    """Shapes of distributions."""

    FILLED = "filled"
    FIXED = "fixed"
    UNIFORM = "uniform"
    NORMAL = "normal"
    TRUNCATED = "truncated normal"
    ORTHOGONAL = "orthogonal"
    UNKNOWN = "unknown"


KURTOSES = {Family.UNIFORM: 1.8, Family.TRUNCATED: 2.366, Family.NORMAL: 3.0}
"""Of a normal distribution that is cut off at two standard deviations it is 2.366."""

CUT = 2 / 0.87963
"""Where that is cut off, in standard deviations after the cut."""


class Rule(NamedTuple):
    """How the size of a kernel's entries follows from its fans.

    Attributes:
        text: the rule, of a standard deviation or of a bound.
        size: what it gives.
    """

    text: str
    size: float


def family_of(law: Law, *, orthogonal: bool) -> Family:
    """The family that the moments are those of.

    Args:
        law: of the block.
        orthogonal: whether its rows or columns are at right angles in every draw.
    """
    if law.fixed:
        return Family.FILLED if law.filled else Family.FIXED
    if orthogonal:
        return Family.ORTHOGONAL
    if law.number < ENOUGH or law.std == 0:
        return Family.UNKNOWN
    family = min(KURTOSES, key=lambda one: abs(law.kurtosis - KURTOSES[one]))
    if abs(law.kurtosis - KURTOSES[family]) > max(0.08, 12 / math.sqrt(law.number)):
        return Family.UNKNOWN
    reach = max(law.greatest - law.mean, law.mean - law.least) / law.std
    limits = {Family.UNIFORM: math.sqrt(3), Family.TRUNCATED: CUT, Family.NORMAL: math.inf}
    sure = 1.02 + 2 / math.sqrt(law.number)  # mean and deviation are estimates
    return family if reach <= sure * limits[family] else Family.UNKNOWN


def law_in_words(law: Law, family: Family, fans: Fans, gain: float = 0.0) -> str:
    """What a side does, as in "<reference> ...": a verb and the distribution.

    Args:
        law: of the block.
        family: the family that it is of.
        fans: of the kernel.
        gain: of an orthogonal matrix.
    """
    if family is Family.FILLED:
        return f"sets it to {number_in_words(law.mean)}"
    if family is Family.FIXED:
        return "has the same numbers in every draw"
    if family is Family.ORTHOGONAL:
        return f"draws orthogonally, gain {gain:.3g}"
    centred = abs(law.mean) <= 6 * law.std / math.sqrt(law.number)
    centre = "" if centred else f" around {law.mean:.3g}"
    if family is Family.UNIFORM:
        if not centred:
            return f"draws uniformly from {law.least:.3g} to {law.greatest:.3g}"
        bound = max(law.greatest, -law.least)
        return f"draws uniformly up to +-{bound:.3g}{rule_of(bound, fans, law, uniform=True)}"
    name = {Family.NORMAL: "a normal distribution", Family.TRUNCATED: "a truncated normal distribution"}.get(
        family, "a distribution"
    )
    return f"draws from {name} of std {law.std:.3g}{rule_of(law.std, fans, law, uniform=False)}{centre}"


def rule_of(size: float, fans: Fans, law: Law, *, uniform: bool) -> str:
    """The rule that gives a size, in brackets; "" where none does.

    Args:
        size: bound of a uniform distribution, standard deviation of another.
        fans: of the kernel.
        law: whose number of entries says how sure the size is.
        uniform: whether it is a bound.
    """
    error = max(0.004, 8 / law.number if uniform else 4 / math.sqrt(law.number))
    if error > 0.1:
        return ""
    for rule in _rules(fans, uniform=uniform):
        if abs(size / rule.size - 1) < error:
            return f" ({rule.text})"
    return ""


def _rules(fans: Fans, *, uniform: bool) -> list[Rule]:
    """Rules in use, the commonest first."""
    rules = []
    both = fans.inputs + fans.outputs
    for text, fan in (
        ("hidden units", fans.hidden),
        ("fan_in", fans.inputs),
        ("fan_out", fans.outputs),
        ("fan_in read from the wrong axes,", fans.misread),
    ):
        if not fan:
            continue
        numerators = (1, 3, 6) if uniform else (1, 2, 1 / 3)
        for numerator in numerators:
            if numerator == 1 / 3:
                rules.append(Rule(f"1/sqrt(3 {text} {fan})", math.sqrt(numerator / fan)))
                continue
            top = "1/sqrt(" if numerator == 1 else f"sqrt({numerator}/"
            rules.append(Rule(f"{top}{text} {fan})", math.sqrt(numerator / fan)))
    xavier = 6 if uniform else 2
    if both:
        rules.append(Rule(f"Xavier's sqrt({xavier}/(fan_in + fan_out)), {both}", math.sqrt(xavier / both)))
        packed = 3 * fans.outputs + fans.inputs
        text = f"Xavier's with the fans of three such matrices packed, {packed}"
        rules.append(Rule(text, math.sqrt(xavier / packed)))
    if fans.outputs == 3 * fans.inputs > 0:  # queries, keys and values
        single = 2 * fans.inputs
        text = f"Xavier's with the fans of a third of the packed matrix, {single}"
        rules.insert(0, Rule(text, math.sqrt(xavier / single)))
    return rules


def ratio_in_words(first: float, second: float, number: int) -> str:
    """The ratio of two standard deviations, and its square where that is a whole number.

    >>> ratio_in_words(1.0, 3**0.5, 10**6), ratio_in_words(2.2, 1.0, 10**6)
    ('1.73, about sqrt(3)', '2.2')

    Args:
        first: one of them.
        second: the other.
        number: entries that the smaller sample rests on.
    """
    ratio = max(first, second) / min(first, second)
    square = round(ratio**2)
    error = max(0.004, 2 / math.sqrt(number))
    known = 1 < square <= 200 and abs(ratio / math.sqrt(square) - 1) < min(error, 1 / (6 * square))
    root = math.isqrt(square)
    exact = f", about {root if root * root == square else f'sqrt({square})'}"
    return f"{ratio:.3g}{exact if known else ''}"


def number_in_words(value: float) -> str:
    """A constant, with the rule that it may come from.

    >>> number_in_words(0.0), number_in_words(-4.59512), number_in_words(0.25)
    ('0', '-4.6 (-log((1 - p)/p) for p = 0.01)', '0.25')

    Args:
        value: what all entries are.
    """
    if value < -1 and value != round(value):
        p = 1 / (1 + math.exp(-value))
        if abs(float(f"{p:.1g}") / p - 1) < 1e-3:
            return f"{value:.3g} (-log((1 - p)/p) for p = {p:.1g})"
    return f"{value:.6g}"
