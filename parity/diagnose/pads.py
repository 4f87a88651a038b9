"""Settings of windows: the reference's per axis, and the paddings that are tried."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.diagnose.fault import Fault
from parity.trace.graph import Node
from parity.trace.vocabulary import each_axis

Pads = tuple[tuple[int, int], ...]

Windowing = int | tuple[int, ...] | Pads
"""A setting of a window, for all axes or for each."""

WIDEST = 8
"""Entries of padding at most, on one side."""


class Pooled(NamedTuple):
    """The settings of a pooling along its spatial axes.

    Attributes:
        padding: (before, after) per axis.
        stride: steps per axis.
        dilation: distance of the taps per axis.
    """

    padding: Pads
    stride: tuple[int, ...]
    dilation: tuple[int, ...]


def reference_operation(fault: Fault, prefixes: Collection[str]) -> Node | None:
    """The reference's first operation at the fault whose name begins with one of these; None if none does.

    Args:
        fault: the fault.
        prefixes: beginnings of names, in either vocabulary.
    """
    for index in (*fault.reference_scope, *fault.reference_inputs):
        node = fault.reference.nodes[index]
        if node.operation.startswith(tuple(prefixes)):
            return node
    return None


def pooled(node: Node, count: int) -> Pooled | None:
    """The settings of the reference's pooling along `count` axes; None if it slides along others.

    Args:
        node: the pooling: aten's `max_pool2d` and its like, or LAX's `reduce_window_max` and its like.
        count: number of spatial axes of the candidate's pooling.
    """
    params = node.params
    if "window_dimensions" in params:
        spatial = sliding_axes(params["window_dimensions"], params["window_strides"])
        if len(spatial) != count:
            return None
        return Pooled(
            as_ints(tuple(params["padding"][axis] for axis in spatial)),
            as_ints(tuple(params["window_strides"][axis] for axis in spatial)),
            as_ints(tuple(params["window_dilation"][axis] for axis in spatial)),
        )
    # aten puts the settings of an axis of its own in front of a single one.
    size = each_axis(params["kernel_size"], count)
    stride = each_axis(params.get("stride") or size, len(size))[-count:]
    padding = each_axis(params.get("padding", 0), len(size))[-count:]
    return Pooled(
        tuple((p, p) for p in padding), stride, each_axis(params.get("dilation", 1), len(size))[-count:]
    )


def sliding_axes(window: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The axes along which a window slides: longer than one entry, or with a stride.

    Args:
        window: its length along each axis.
        strides: its step along each axis.
    """
    return [axis for axis, n in enumerate(window) if n > 1 or strides[axis] > 1]


def as_ints(value: Any) -> Any:
    """A setting in plain tuples and ints, to be compared and printed."""
    if isinstance(value, list | tuple):
        return tuple(as_ints(v) for v in value)
    return int(value) if isinstance(value, np.integer) else value


def other_pads(padding: Sequence[tuple[int, int]], reaches: Sequence[int]) -> Iterator[Pads]:
    """Paddings to try: the same total divided otherwise, then other totals for all axes alike.

    Args:
        padding: (before, after) per axis, as it is.
        reaches: entries that the window spans per axis.
    """
    totals = [int(low) + int(high) for low, high in padding]
    most = min(max([*totals, *[r - 1 for r in reaches]]), WIDEST)
    seen = {as_ints(tuple(padding))}
    divided = [tuple((min(low, n), n - min(low, n)) for n in totals) for low in range(most + 1)]
    alike = [((low, high),) * len(totals) for low, high in itertools.product(range(most + 1), repeat=2)]
    for pads in (*divided, *alike):
        if pads not in seen:
            seen.add(pads)
            yield pads
