"""Losses of differences, added up: squares, magnitudes, Huber's, the logarithm of cosh."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.functions import huber
from parity.diagnose.numbers import is_number
from parity.diagnose.phrases import number
from parity.diagnose.targets import Array
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import behind, is_value, of_a_loss, place_of, starts
from parity.report.kinds import CauseKind
from parity.trace.graph import Node

FEWEST = 2
"""Differences of which a function must be known: of one, every function is a multiple of every other."""

MOST_SETTINGS = 6
"""Numbers of a side that are tried as the setting of a loss."""


class Loss(NamedTuple):
    """A function of a difference.

    Attributes:
        name: as a sentence calls it.
        of: the function, entry by entry.
        setting: the number where it bends; 0 for one without.
    """

    name: str
    of: Callable[[Array], Array]
    setting: float = 0.0


FIXED = (
    Loss("the square", np.square),
    Loss("half the square", lambda d: np.square(d) / 2),
    Loss("the magnitude", np.abs),
    Loss("the logarithm of cosh", lambda d: np.logaddexp(d, -d) - np.log(2.0)),
)
"""Losses without a setting."""


def with_setting(c: float) -> tuple[Loss, ...]:
    """The losses that have a number.

    Args:
        c: the number, more than 0.
    """
    set_to = number(c)
    smooth = Loss(f"smooth L1 of beta {set_to}", lambda d: huber(d, c) / c, c)
    bent = (
        Loss(f"Huber's loss of delta {set_to}", lambda d: huber(d, c), c),
        *((smooth,) if c != 1 else ()),  # then the two are the same
        Loss(f"the root of the square and {set_to} squared", lambda d: np.sqrt(d**2 + c**2), c),
    )
    if c >= 1:
        return bent
    return *bent, Loss(f"the quantile loss of {set_to}", lambda d: np.where(d < 0, -c * d, (1 - c) * d), c)


def other_losses(fault: Fault) -> Iterator[Change]:
    """Another function of the difference of output and target than the reference's."""
    if not of_a_loss(fault):
        return
    begins = [i for i in starts(fault) if fault.value(i).dtype.kind == "f"]
    following = behind(fault, begins)
    wanted = _losses(_numbers(fault.reference.nodes))
    own = _losses(_numbers([fault.node(i) for i in fault.candidate.ancestors(following[-1:])]))
    for difference in _differences(fault, begins, following):
        for node, now, reduced in _recognised(fault, difference, own, following):
            for other in wanted:
                if other.name == now.name:
                    continue
                text = f"<reference> takes {other.name} of the differences, <candidate> {now.name}"
                value = np.asarray(reduced(other.of(difference))).reshape(fault.value(node).shape)
                yield Change(
                    CauseKind.SCALE if _is_multiple(now, other, difference) else CauseKind.ACTIVATION,
                    text + _advice(now, other),
                    {node: value},
                    everywhere=True,
                    candidate_places=place_of(fault, node),
                )


def _recognised(
    fault: Fault, difference: Array, losses: Sequence[Loss], following: Sequence[int]
) -> Iterator[tuple[int, Loss, Callable[[Array], Array]]]:
    """Values that are one of the losses of a difference, of each entry, or their mean or sum."""
    for loss in losses:
        value = loss.of(difference)
        for reduced in (np.asarray, np.mean, np.sum):
            wanted = np.asarray(reduced(value))
            for node in following:
                if fault.value(node).size == wanted.size and is_value(fault.value(node), wanted):
                    yield node, loss, reduced
                    break


def _differences(fault: Fault, begins: Sequence[int], following: Sequence[int]) -> Iterator[Array]:
    """What a loss may be a function of: differences that are computed, and those of what it is given."""
    seen: list[Array] = []
    for index in following:
        value = fault.value(index)
        if fault.node(index).operation.strip("_") in ("sub", "rsub") and value.dtype.kind == "f":
            seen.append(value)
    for place, one in enumerate(begins):
        seen += [
            fault.value(one) - fault.value(other).reshape(fault.value(one).shape)
            for other in begins[place + 1 :]
            if fault.value(other).size == fault.value(one).size
        ]
    yield from (value for value in seen if value.size >= FEWEST)


def _losses(settings: Sequence[float]) -> list[Loss]:
    return [*FIXED, *(loss for c in settings for loss in with_setting(c))]


def _numbers(nodes: Sequence[Node]) -> list[float]:
    """Numbers that a loss may be set to, as they are written: those of operations, and constants."""
    found: dict[float, None] = {}
    for node in nodes:
        if node.backward:
            continue
        found.update((float(v), None) for v in node.params.values() if is_number(v) and v > 0)
        if node.fixed and node.array.size == 1 and node.array.dtype.kind == "f":
            found[float(node.array.reshape(()))] = None
    plain = [value for value in found if 0 < value < np.inf]
    return sorted(plain, key=lambda value: value in (1.0, 2.0))[:MOST_SETTINGS]


def _is_multiple(now: Loss, other: Loss, difference: Array) -> bool:
    """Whether the two are one function but for a factor."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = other.of(difference) / now.of(difference)
    known = factors[np.isfinite(factors)]
    return known.size > 0 and bool(np.allclose(known, known[0], rtol=1e-9))


def _advice(now: Loss, other: Loss) -> str:
    """What to do where a factor is all."""
    if not other.setting or now.setting != other.setting:
        return f": use {other.name}"
    if other.name.startswith("smooth") and now.name.startswith("Huber"):
        return f": smooth L1 is Huber's loss divided by its beta: divide by {number(other.setting)}"
    if other.name.startswith("Huber") and now.name.startswith("smooth"):
        return f": smooth L1 is Huber's loss divided by its beta: multiply by {number(other.setting)}"
    return f": use {other.name}"
