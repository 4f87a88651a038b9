"""Weights of a model that are read one at a time: from files, or from the model's own where they lie."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import in_float32, numpy_dtype, to_numpy
from parity.numerics.unread import Unread, UnreadArrays, held


class Streaming(NamedTuple):
    """That a model's weights are read at each use.

    Attributes:
        stored: the tensors of the weights' files; None: the model's own are read.
        to_be_loaded: whether the model gets other weights, so that its own may have shapes and no numbers.
    """

    stored: UnreadArrays | None = None
    to_be_loaded: bool = False


def unread_weights(
    own: Mapping[str, Any], streaming: Streaming, others: Mapping[str, Sequence[str]] | None = None
) -> tuple[UnreadArrays, dict[str, str]]:
    """The weights of a model, unread, and the dtype that each is stored in.

    Args:
        own: the model's arrays or tensors by name, of which only the shapes count where there are files.
        streaming: where to read.
        others: further names by which a file may hold a weight.

    Raises:
        ValueError: naming every weight that no file has, or that has another shape there; without files every
            one that has no numbers and needs them.
    """
    if streaming.stored is not None:
        found = _found(own, streaming.stored, others or {})
        return UnreadArrays({name: _in_float32(array) for name, array in found.items()}), {
            name: str(array.dtype) for name, array in found.items()
        }
    empty = [name for name, value in own.items() if not _has_numbers(value)]
    if empty and not streaming.to_be_loaded:
        raise ValueError(
            f"the weights {_some(empty)} have shapes but no numbers; name the safetensors file(s) that hold "
            "them as `weights_file`"
        )
    return UnreadArrays({name: _of_model(value) for name, value in own.items()}), {
        name: _dtype_name(value) for name, value in own.items()
    }


def names_in_files(name: str, others: Sequence[str]) -> tuple[str, ...]:
    """The names by which a file may hold a weight: a leaf's path with dots, too.

    Args:
        name: the model's own.
        others: by which the model has the same weight, tied.

    >>> names_in_files("head/kernel", ["embed/table"])
    ('head/kernel', 'head.kernel', 'embed/table')
    """
    return (name, name.replace("/", "."), *others)


def _found(
    own: Mapping[str, Any], stored: UnreadArrays, others: Mapping[str, Sequence[str]]
) -> dict[str, Unread]:
    """The model's weights among those of the files."""
    found: dict[str, Unread] = {}
    faults = []
    for name, value in own.items():
        names = names_in_files(name, others.get(name, ()))
        there = next((stored.unread[one] for one in names if one in stored), None)
        if there is None:
            faults.append(f"{name} is missing")
        elif there.shape != tuple(value.shape):
            faults.append(f"{name} has shape {there.shape}, where the model has {tuple(value.shape)}")
        else:
            found[name] = there
    if faults:
        raise ValueError(
            f"the weights' files do not fit the model: {_some(faults, '; ')}; they hold {_some(list(stored))}"
        )
    return found


def _in_float32(array: Unread) -> Unread:
    """A stored tensor as models' weights are held: float32, into which every narrower dtype fits."""
    if array.dtype.kind not in "fV":
        return array
    return array.changed(lambda entries: entries.astype(np.float32), np.dtype(np.float32))


def _of_model(value: Any) -> Unread:
    """A tensor or array of the model itself; zeros that take no memory for one that has none."""

    def read(part: Any) -> Shaped[np.ndarray, "..."]:
        return in_float32(to_numpy(part))

    zero = in_float32(to_numpy(np.zeros((), numpy_dtype(_dtype_name(value)))))
    shape = tuple(value.shape)
    if not _has_numbers(value):
        return held(np.broadcast_to(zero, shape))
    return Unread(shape, zero.dtype, lambda: read(value), lambda index: read(value[index]))


def _has_numbers(value: Any) -> bool:
    """Whether there is more than a shape: not of what lies on PyTorch's meta device, or is JAX's struct."""
    return hasattr(value, "__array__") and not getattr(value, "is_meta", False)


def _dtype_name(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:6]) + (f"{between}..." if len(names) > 6 else "")
