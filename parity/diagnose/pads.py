"""Settings of windows: PyTorch's arguments per axis, and the paddings that are tried."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.diagnose.fault import Fault

Pads = tuple[tuple[int, int], ...]

WIDEST = 8
"""Entries of padding at most, on one side."""


def reference_settings(fault: Fault, names: Sequence[str]) -> Mapping[str, Any]:
    """The arguments of the first of PyTorch's operations at the fault whose name begins with one of these."""
    for index in (*fault.reference_scope, *fault.reference_inputs):
        node = fault.reference.nodes[index]
        if any(node.operation.startswith(name) for name in names):
            return node.params
    return {}


def pooled(settings: Mapping[str, Any], count: int) -> Mapping[str, tuple[int, ...]]:
    """A pooling's settings along its axes, without those that PyTorch puts in front of a single one."""
    size = each(settings["kernel_size"], range(count))
    found = {"kernel_size": size, "stride": each(settings.get("stride") or size, range(len(size)))}
    for name, default in (("padding", 0), ("dilation", 1)):
        found[name] = each(settings.get(name, default), range(len(size)))
    return {name: values[-count:] for name, values in found.items()}


def each(value: Any, axes: Sequence[Any]) -> tuple[int, ...]:
    """A number, or one per axis, as one per axis."""
    values = tuple(int(v) for v in value) if isinstance(value, list | tuple) else (int(value),)
    return values * len(axes) if len(values) == 1 else values


def plain(value: Any) -> Any:
    """A setting in plain tuples and ints, to be compared and printed."""
    if isinstance(value, list | tuple):
        return tuple(plain(v) for v in value)
    return int(value) if isinstance(value, np.integer) else value


def other_pads(padding: Sequence[Any], reaches: Sequence[int]) -> Iterator[Pads]:
    """The same total divided otherwise first, for all axes alike; then other totals."""
    totals = [int(low) + int(high) for low, high in padding]
    most = min(max([*totals, *[r - 1 for r in reaches]]), WIDEST)
    seen = {plain(tuple(padding))}
    divided = [tuple((min(low, n), n - min(low, n)) for n in totals) for low in range(most + 1)]
    alike = [((low, high),) * len(totals) for low, high in itertools.product(range(most + 1), repeat=2)]
    for pads in (*divided, *alike):
        if pads not in seen:
            seen.add(pads)
            yield pads
