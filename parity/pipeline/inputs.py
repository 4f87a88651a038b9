"""The inputs of a comparison: named, checked, and in numbers that every precision can start from."""

from collections.abc import Iterable, Mapping

import numpy as np

from parity.numerics.arrays import Arrays, is_float, round_to, to_numpy


def name_inputs(inputs: object, targets: object = None) -> tuple[Arrays, tuple[str, ...]]:
    """All arrays in one dict, rounded to float32, and which of them the models take.

    Args:
        inputs: arrays by argument name, or in order.
        targets: array or dict of arrays for the losses.

    Raises:
        TypeError: if `inputs` is one array or no collection, or one of them holds no numbers.
        ValueError: if there is none, a name occurs twice, or one has NaN or infinity in it.
    """
    if hasattr(inputs, "shape"):
        raise TypeError("`inputs` is one array; name it, e.g. inputs={'x': x}, or put it in a list")
    if not isinstance(inputs, Mapping | Iterable):
        raise TypeError(f"`inputs` is of type {type(inputs).__name__}; it must be arrays by name, or a list")
    if not isinstance(inputs, Mapping):
        inputs = {f"input_{i}": value for i, value in enumerate(inputs)}
    if not inputs:
        raise ValueError("`inputs` is empty; give at least one array, e.g. inputs={'x': x}")
    if targets is None:
        targets = {}
    elif not isinstance(targets, Mapping):
        targets = {"targets": targets}
    if twice := sorted(set(inputs) & set(targets)):
        raise ValueError(f"`inputs` and `targets` both have {', '.join(twice)}; rename one of them")
    arrays = {name: to_numpy(value) for name, value in {**inputs, **targets}.items()}
    for name, array in arrays.items():
        if array.dtype.kind not in "fciub":
            raise TypeError(
                f"`{name}` has dtype {array.dtype}; it must be floating, complex, integer or boolean"
            )
        # In float32's numbers, so that all precisions start from the same.
        with np.errstate(over="ignore"):
            arrays[name] = round_to(array, "float32")
        if is_float(array) and not np.isfinite(arrays[name]).all():
            raise ValueError(
                f"`{name}` has NaN, infinity or numbers beyond float32 in it; nothing can be compared from "
                "there (give a mask as booleans)"
            )
    return arrays, tuple(inputs)


def sets_of(inputs: object) -> list[object]:
    """The sets of inputs of one comparison: those of a list of dicts, else `inputs` itself.

    Raises:
        ValueError: if there is none.
    """
    if inputs is None or (not hasattr(inputs, "shape") and not inputs):
        raise ValueError("`inputs` is empty; give at least one array, e.g. inputs={'x': x}")
    if isinstance(inputs, list | tuple) and all(isinstance(one, Mapping) for one in inputs):
        return list(inputs)
    return [inputs]
