"""Running statistics of two loops: their cause, and the variance that JAX's libraries keep otherwise."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.numerics.arrays import Arrays
from parity.numerics.noise import Side
from parity.pipeline.statistics_causes import Update, biased, cause
from parity.report.results import Quantity, Verdict

MOMENTA = (0.1, 0.01, 0.001, 0.05, 0.03, 0.003, 0.02, 0.2, 0.3, 0.5)
"""Shares of a new batch that are tried."""


def updates_of(name: str, sides: tuple[Side, Side], start: Arrays) -> list[Update]:
    """A statistic before and behind every step, from equal weights.

    Args:
        name: of the tensor.
        sides: values from equal weights.
        start: before the first step, by tensor.
    """
    moved = [side.base["statistics"][name] for side in sides]
    before = start[name] + np.cumsum(moved[0], axis=0) - moved[0]
    return [Update(b, b + one, b + other) for b, one, other in zip(before, *moved, strict=True)]


def biased_statistics(
    judged: Sequence[Quantity], sides: tuple[Side, Side], start: Arrays
) -> Mapping[str, int]:
    """Variances over n values, as Flax and Haiku keep them, where PyTorch has n - 1; with n.

    Args:
        judged: quantities from equal weights.
        sides: their values.
        start: before the first step, by tensor.
    """
    found = {}
    for q in judged:
        if q.group == "statistics" and q.verdict is Verdict.FAIL:
            updates = updates_of(q.name, sides, start)
            for momentum in MOMENTA:
                counts = [biased(update, momentum) for update in updates]
                if counts[0] is not None and None not in counts:
                    found[q.name] = counts[0]
                    break
    return found


def statistics_cause(name: str, step: int, sides: tuple[Side, Side], start: Arrays) -> str:
    """What makes a statistic of the candidate another one, in words; "" where that is not clear.

    Args:
        name: of the tensor.
        step: that it fails in.
        sides: values from equal weights.
        start: before the first step, by tensor.
    """
    update = updates_of(name, sides, start)[step]
    if told := cause(update):
        return told
    counts = [count for momentum in MOMENTA if (count := biased(update, momentum)) is not None]
    if not counts:
        return ""
    return f"<candidate> keeps the variance over n = {counts[0]} values, <reference> over n - 1"
