"""A loss that adds up over other axes before it computes on: over the classes in place of the samples."""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from parity.diagnose.fault import Fault
from parity.diagnose.reductions import KINDS
from parity.diagnose.tolerances import SAME_DECIMALS
from parity.diagnose.trials import Change
from parity.diagnose.whole_losses import behind, constant_divisors, of_a_loss, place_of, starts
from parity.localise.comparison import Value
from parity.report.kinds import CauseKind

MOST_AXES = 4
"""Axes of a value of which every choice is tried."""


def other_axes(fault: Fault) -> Iterator[Change]:
    """Reductions of one shape over other axes, the counts that follow with them."""
    if not of_a_loss(fault):
        return
    following = behind(fault, starts(fault))
    for shape, axes, nodes in _groups(fault, following):
        for count in range(1, len(shape)):
            for others in itertools.combinations(range(len(shape)), count):
                if others != axes:
                    yield from _along(fault, nodes, following, (shape, axes, others))


def _groups(
    fault: Fault, following: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], list[int]]]:
    """Reductions that leave several numbers, all of one shape and axes together and each alone."""
    found: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for index in following:
        node = fault.node(index)
        if node.operation in KINDS and fault.value(index).size > 1:
            shape = fault.value(node.inputs[0]).shape
            axes = tuple(int(a) for a in fault.candidate.evaluations[node.step].params["axes"])
            if len(shape) <= MOST_AXES:
                found.setdefault((shape, axes), []).append(index)
    for (shape, axes), nodes in found.items():
        for some in [nodes, *([i] for i in nodes if len(nodes) > 1)]:
            yield shape, axes, some


def _along(
    fault: Fault,
    nodes: list[int],
    following: list[int],
    sizes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> Iterator[Change]:
    """The reductions of some nodes along other axes, with the divisors as they are, and with those of it."""
    shape, axes, others = sizes
    functions = {
        fault.node(i).step: functools.partial(_reduced, fault.node(i).operation, others) for i in nodes
    }
    text = f"<reference> reduces over axes {others} of shape {shape}, <candidate> over axes {axes}"
    text += f": use axes {others}"
    whole = int(np.prod(shape))
    now, new = (int(np.prod([shape[a] for a in some])) for some in (axes, others))
    for counts in ({now: new, whole // now: whole // new}, {whole // now: whole // new}, {}):
        yield Change(
            CauseKind.AXIS,
            text,
            _divisors(fault, following, counts),
            functions,
            everywhere=True,
            candidate_places=place_of(fault, nodes[0]),
        )


def _reduced(operation: str, axes: tuple[int, ...], values: Sequence[Value]) -> Sequence[Value]:
    return [np.asarray(KINDS[operation](np.asarray(values[0]), axis=axes))]


def _divisors(fault: Fault, following: Sequence[int], counts: Mapping[int, int]) -> dict[int, Value]:
    """Constants that something is divided by, a count each, and what the count is instead."""
    found: dict[int, Value] = {}
    for index in following:
        for operand, divisor, inverse in constant_divisors(fault, index):
            new = counts.get(round(divisor)) if np.isfinite(divisor) else None
            if new is not None and round(divisor - round(divisor), SAME_DECIMALS) == 0:
                found[operand] = np.full_like(fault.value(operand), 1 / new if inverse else new)
    return found
