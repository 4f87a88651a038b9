"""What a trace holds in place of values: traces of runs whose values do not fit into memory."""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.numerics.unread import Unread
from parity.trace.graph import Node, NodeKind

Keep = Callable[[Node], Any]
"""`keep(node) -> what the trace holds in place of its value`, asked once, when that has been computed."""


def absent(value: Any) -> Any:
    """A value of which only shape and dtype are known; a random key, which holds no numbers, as it is.

    Args:
        value: an array or tensor.
    """
    if "key<" in str(value.dtype):
        return value
    dtype = np.dtype(str(value.dtype).removeprefix("torch.").replace("bfloat16", "float32"))
    return Unread(tuple(value.shape), dtype, _nothing, _no_row)


def _nothing() -> np.ndarray:
    return np.zeros(0)


def _no_row(index: int) -> np.ndarray:
    return np.zeros(0)


def is_absent(value: Any) -> bool:
    """Whether only shape and dtype of a node's value are known.

    Args:
        value: what a node holds.
    """
    return isinstance(value, Unread) and value.read is _nothing


def forget(node: Node) -> Any:
    """Keep no value.

    Args:
        node: with its value.
    """
    return absent(node.value)


def of_constants() -> Keep:
    """Keep what is computed from constants alone: tables and masks, by which the other side's are known."""
    alone: list[bool] = []

    def keep(node: Node) -> Any:
        made = node.kind is NodeKind.OPERATION and all(alone[producer] for producer in node.inputs)
        alone.append(node.kind is NodeKind.CONSTANT or made)
        return np.array(node.array) if alone[-1] else absent(node.value)

    return keep
