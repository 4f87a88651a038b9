"""Nests of dicts, lists and tuples, taken apart into named arrays and built again: batches and metrics."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from parity.numerics.arrays import round_to, to_numpy

LONE = "metric"
"""The name of metrics that are one number."""


def named_arrays(batch: object) -> dict[str, np.ndarray]:
    """The arrays of a batch by name, in float32's numbers, so that all precisions start from the same.

    >>> list(named_arrays(({"x": np.ones(2)}, np.zeros(3))))
    ['0/x', '1']

    Args:
        batch: an array, or a nest of dicts, lists and tuples of arrays and numbers.

    Raises:
        TypeError: if something in it holds no numbers, naming it.
    """
    found = {}
    for name, value in named_leaves(batch):
        try:
            array = to_numpy(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"`{name}` is of type {type(value).__name__}: {error}") from error
        if array.dtype.kind not in "fciub":
            raise TypeError(
                f"`{name}` is of type {type(value).__name__}; every entry of a batch must be an array or a "
                "number"
            )
        with np.errstate(over="ignore"):
            found[name] = round_to(array, "float32")
    return found


def rebuilt(batch: object, arrays: Mapping[str, Any], convert: Callable[[Any], object]) -> Any:
    """A batch of the form of another one.

    Args:
        batch: gives the form.
        arrays: what it holds, by the names of `named_arrays`.
        convert: makes an array of a framework of each.
    """

    def build(value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, Mapping):
            return {key: build(inner, (*path, str(key))) for key, inner in value.items()}
        if isinstance(value, tuple | list):
            built = [build(inner, (*path, str(number))) for number, inner in enumerate(value)]
            return type(value)(*built) if hasattr(value, "_fields") else type(value)(built)
        return convert(arrays["/".join(path) or LONE])

    return build(batch, ())


def named_metrics(metrics: object) -> dict[str, np.ndarray]:
    """Metrics by name, floating ones in float64.

    Args:
        metrics: a dict of numbers or arrays, nested or not; or one number.

    Raises:
        TypeError: if one of them holds no numbers, naming it.
    """
    found = {}
    for name, value in named_leaves(metrics):
        array = None if value is None or isinstance(value, str) else to_numpy(value)
        if array is None or array.dtype.kind not in "fciub":
            raise TypeError(
                f"the metric `{name}` is of type {type(value).__name__}; it must be a number or an array"
            )
        found[name] = np.array(array)
    return found


def named_leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """What a nest of dicts, lists and tuples holds, each with its name.

    >>> list(named_leaves({"loss": 1.0, "rates": [2, 3]}))
    [('loss', 1.0), ('rates/0', 2), ('rates/1', 3)]

    Args:
        value: the nest; a leaf alone is called "metric".
        path: to it.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from named_leaves(inner, (*path, str(key)))
    elif isinstance(value, tuple | list):
        for number, inner in enumerate(value):
            yield from named_leaves(inner, (*path, str(number)))
    else:
        yield "/".join(path) or LONE, value
