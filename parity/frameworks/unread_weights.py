"""Weights of a model that are read one at a time: from files, or from the model's own where they lie."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import in_float32, is_float, numpy_dtype, to_numpy
from parity.numerics.unread import Unread, UnreadArrays


class Streaming(NamedTuple):
    """That a model's weights are read at each use.

    Attributes:
        stored: the tensors of the weights' files; None: the model's own are read.
    """

    stored: UnreadArrays | None = None


def unread_weights(
    own: Mapping[str, Any],
    stored: UnreadArrays | None,
    others: Mapping[str, Sequence[str]] | None = None,
) -> tuple[UnreadArrays, dict[str, str]]:
    """The weights of a model, unread, and the dtype that each is stored in.

    Args:
        own: the model's arrays or tensors by name, of which only the shapes count where there are files.
        stored: the tensors of the weights' files; None: the model's own are read, mapped memory for instance.
        others: further names by which a file may hold a weight.

    Raises:
        ValueError: naming every weight that no file has, or that has another shape there; without files every
            one that has no numbers.
    """
    if stored is None:
        if empty := [name for name, value in own.items() if not _has_numbers(value)]:
            raise ValueError(
                f"the weights {_some(empty)} have shapes but no numbers; name the safetensors file(s) that "
                "hold them as `weights_file`"
            )
        dtypes = {name: _dtype_name(value) for name, value in own.items()}
        return UnreadArrays({name: _of_model(value) for name, value in own.items()}), dtypes
    found: dict[str, Unread] = {}
    faults = []
    for name, value in own.items():
        names = [name, name.replace("/", "."), *(others or {}).get(name, ())]
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
    dtypes = {name: str(array.dtype) for name, array in found.items()}
    return UnreadArrays({name: _in_float32(array) for name, array in found.items()}), dtypes


def _in_float32(array: Unread) -> Unread:
    """A stored tensor as models' weights are held: float32, into which every narrower dtype fits."""
    if array.dtype.kind not in "fV":
        return array
    return array.changed(lambda entries: entries.astype(np.float32), np.dtype(np.float32))


def _of_model(value: Any) -> Unread:
    """A tensor or array of the model itself."""

    def read(part: Any) -> Shaped[np.ndarray, "..."]:
        return in_float32(to_numpy(part))

    name = _dtype_name(value)
    dtype = numpy_dtype(name)
    if is_float(np.zeros((), dtype)) or name == "bfloat16":
        dtype = np.dtype(np.complex64 if dtype.kind == "c" else np.float32)
    return Unread(tuple(value.shape), dtype, lambda: read(value), lambda index: read(value[index]))


def _has_numbers(value: Any) -> bool:
    """Whether there is more than a shape: not of what lies on PyTorch's meta device, or is JAX's struct."""
    return hasattr(value, "__array__") and not getattr(value, "is_meta", False)


def _dtype_name(value: Any) -> str:
    return str(value.dtype).removeprefix("torch.")


def _some(names: Sequence[str], between: str = ", ") -> str:
    return between.join(names[:6]) + (f"{between}..." if len(names) > 6 else "")
