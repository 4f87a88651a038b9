"""The form of a schedule, read off its rates: a line, a cosine, powers, stairs, with or without a warm-up."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from parity.pipeline.step_multiples import ALIKE, MOST_NAMED, Steps, same

FEW_RATES = 3
"""Steps that must follow a formula before it is believed, beyond those that fix its numbers."""

POWERS = (2.0, 0.5, 3.0, 0.9, 1.5, 4.0)
"""Powers of polynomial schedules in use; 1 is a line."""


def form_of(rates: Steps, start: int = 0) -> str:
    """The form of a schedule as a predicate, such as "stays at 0.1"; "" if it has none that is known.

    >>> form_of(np.array([0.1, 0.1, 0.1, 0.1]))
    'stays at 0.1'
    >>> form_of(0.1 * 0.9 ** np.arange(8.0))
    'is multiplied by 0.9 in each step'
    >>> form_of(np.minimum(np.arange(1.0, 12.0) / 4, 1.0))
    'rises in a line from 0.25 to 1 at step 3, then stays at 1'
    >>> form_of((1 + np.cos(np.pi * np.arange(9.0) / 10)) / 2)
    'falls as half a cosine over 10 steps to 0'
    >>> form_of((1 + np.cos(np.pi * (np.arange(20.0) % 8) / 8)) / 2)
    'falls as half a cosine over 8 steps to 0, and starts again at steps 8, 16'

    Args:
        rates: of each step.
        start: the number of the first of them.
    """
    if same(rates, rates[0]):
        return f"stays at {rates[0]:.6g}"
    if same(rates[:2], rates[0]):
        flat = changes(rates)[0] - 1
        rest = form_of(rates[flat:], start + flat) if len(rates) - flat > FEW_RATES else ""
        if rest and flat < len(rates) // 3 and not rest.startswith(("is", "changes")):
            return f"stays at {rates[0]:.6g} up to step {start + flat}, then {rest}"
    if cycle := _one_cycle(rates):
        return cycle
    if (top := ramp_end(rates)) and top < len(rates) - 1:
        rest = form_of(rates[top:], start + top).removeprefix(f"stays at {rates[top]:.6g} up to")
        rise = f"rises in a line from {rates[0]:.6g} to {rates[top]:.6g} at step {start + top}"
        if rest.startswith("rises"):
            return ""  # no line: any two points lie on one
        if rest.startswith(" step"):
            return f"{rise}, stays there up to{rest}"
        return f"{rise}, then {rest}" if rest else ""
    return _restarts(rates, start) or next(_forms(rates, start), "")


def ramp_end(rates: Steps) -> int:
    """The step up to which rates rise by equal amounts, from the first on; 0 where they do not.

    Args:
        rates: of each step.
    """
    rises = np.diff(rates)
    if not len(rises) or rises[0] <= 0:
        return 0
    equal = np.abs(rises - rises[0]) <= 10 * ALIKE * np.abs(rates[1:])
    return len(rises) if equal.all() else int(np.argmin(equal))


def changes(rates: Steps) -> list[int]:
    """The steps whose rate is not that of the step before.

    Args:
        rates: of each step.
    """
    return [n for n in range(1, len(rates)) if not same(rates[n : n + 1], float(rates[n - 1]))]


def listed(steps: list[int]) -> str:
    """Some steps in words.

    Args:
        steps: all of them.
    """
    return ", ".join(map(str, steps[:MOST_NAMED])) + (", ..." if len(steps) > MOST_NAMED else "")


def _forms(rates: Steps, start: int) -> Iterator[str]:
    """Forms that fit, from the first step on; behind the last change nothing is asked of them."""
    moved = changes(rates)
    body = rates[: moved[-1] + 1]
    end, numbers = len(body) - 1, np.arange(len(body), dtype=np.float64)
    stops = f" up to step {start + end}, and stays there" if len(body) < len(rates) else ""
    if 0 < len(moved) <= len(rates) // 3:
        factors = np.array([rates[n] / rates[n - 1] for n in moved]) if rates.all() else np.zeros(0)
        by = f" by {factors[0]:.6g}" if len(factors) and same(factors, factors[0]) else ""
        if by:
            yield f"is multiplied{by} at step{'s' * (len(moved) > 1)} {listed([n + start for n in moved])}"
        else:
            levels = ", ".join(f"{rates[n]:.6g}" for n in moved[:MOST_NAMED])
            yield f"changes at step{'s' * (len(moved) > 1)} {listed([n + start for n in moved])} to {levels}"
        return
    if len(body) < FEW_RATES + 1:
        return
    falls = np.diff(body)
    if _all_near(falls, falls[0], body):
        slope = "falls" if falls[0] < 0 else "rises"
        yield f"{slope} in a line by {abs(falls[0]):.6g} a step{stops}"
    if body.all():
        factors = body[1:] / body[:-1]
        if same(factors, factors[0]):
            yield f"is multiplied by {factors[0]:.6g} in each step{stops}"
    if told := _cosine(body):
        yield told
    if (body > 0).all():
        for name, power in (("1 / sqrt(1 + t / {})", 2.0), ("1 / (1 + t / {})", 1.0)):
            line = (body[0] / body) ** power - 1
            if line[1] > 0 and same(line[1:], line[1] * numbers[1:]):
                yield f"falls as {name.format(f'{1 / line[1]:.6g}')}"
    if (body >= 0).all() and body[0] > 0:
        for power in POWERS:
            line = 1 - (body / body[0]) ** (1 / power)
            if line[1] > 0 and np.abs(line - line[1] * numbers).max() <= 100 * ALIKE:
                yield f"falls as (1 - t / {1 / line[1]:.6g}) to the power of {power:g}"


def _all_near(values: Steps, value: float, rates: Steps) -> bool:
    return bool(np.all(np.abs(values - value) <= 10 * ALIKE * np.abs(rates).max()))


def _cosine(rates: Steps) -> str:
    """``floor + (top - floor) (1 + cos(pi t / T)) / 2`` in words; "" if it is none."""
    wave = _wave(rates)
    near = 1000 * ALIKE * abs(float(rates[0]))
    if wave is None or abs(wave.high - rates[0]) > near:
        return ""
    return f"falls as half a cosine over {wave.length:.6g} steps to {wave.floor(near):.6g}"


class _Wave(NamedTuple):
    """A cosine through rates: steps from its highest to its lowest point, and these."""

    length: float
    low: float
    high: float

    def floor(self, near: float) -> float:
        """The lowest point, 0 where it is that near to it."""
        return 0.0 if abs(self.low) <= near else self.low


def _wave(rates: Steps) -> _Wave | None:
    """The cosine that goes through rates, wherever it begins; None if none does.

    Of it ``r[t+1] + r[t-1] = 2 c r[t] + 2 (1 - c) middle``, with ``c = cos(pi / T)``.
    """
    if len(rates) < FEW_RATES + 2:
        return None
    rows = np.stack([rates[1:-1], np.ones(len(rates) - 2)], axis=1)
    sums = rates[2:] + rates[:-2]
    (twice, constant), *_ = np.linalg.lstsq(rows, sums, rcond=None)
    cosine, scale = float(twice) / 2, float(np.abs(rates).max())
    if not -1 < cosine < 1 - 1e-9 or np.abs(rows @ [twice, constant] - sums).max() > 100 * ALIKE * scale:
        return None
    length, middle = np.pi / np.arccos(cosine), float(constant) / (2 - float(twice))
    angles = np.pi * np.arange(len(rates)) / length
    waves = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    sides, *_ = np.linalg.lstsq(waves, rates - middle, rcond=None)
    if np.abs(waves @ sides + middle - rates).max() > 1000 * ALIKE * scale:
        return None
    reach = float(np.hypot(*sides))
    return _Wave(float(length), middle - reach, middle + reach)


def _one_cycle(rates: Steps) -> str:
    """A rise as half a cosine and a fall as half of another one, in words; "" if it is none."""
    top, near = int(np.argmax(rates)), 1000 * ALIKE * float(np.abs(rates).max())
    rises = (_wave(rates[:end]) for end in (top + 1, top))  # the highest rate may be of either part
    up = next((wave for wave in rises if wave is not None and abs(wave.low - rates[0]) <= near), None)
    falls = (_wave(rates[begin:]) for begin in (top, top + 1))
    down = next((wave for wave in falls if wave is not None), None)
    if up is None or down is None or not top:
        return ""
    return (
        f"rises as half a cosine over {up.length:.6g} steps from {up.low:.6g} to {up.high:.6g}, then falls "
        f"as one over {down.length:.6g} steps to {down.floor(1e-9 * down.high):.6g}"
    )


def _restarts(rates: Steps, start: int) -> str:
    """A fall that starts again, in words; "" if it is none."""
    jumps = [n for n in range(1, len(rates)) if rates[n] > rates[n - 1] * (1 + 10 * ALIKE)]
    if not jumps or jumps[0] <= FEW_RATES or any(b - a == 1 for a, b in itertools.pairwise(jumps)):
        return ""
    first = form_of(rates[: jumps[0]], start)
    if not first.startswith("falls"):
        return ""
    again = [n + start for n in jumps]
    return f"{first}, and starts again at step{'s' * (len(again) > 1)} {listed(again)}"
