"""Tensors of safetensors files, read one at a time: a model's weights need not fit into memory.

Files are read, not mapped: what is mapped counts as the memory of the process.
"""

import functools
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import numpy_dtype
from parity.numerics.unread import Unread, UnreadArrays

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
"""A file, a directory of files, or several of either."""

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Dtypes by what safetensors calls them."""


def files_of(paths: Paths) -> tuple[Path, ...]:
    """The safetensors files that are meant, absolute, each once.

    Args:
        paths: a file, a directory, of which all `*.safetensors` are meant, or several of either.

    Raises:
        ValueError: if one does not exist, or a directory has none.
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    found: dict[Path, None] = {}
    for path in (Path(one).absolute() for one in given):
        inside = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
        if not inside or not inside[0].is_file():
            what = "holds no *.safetensors" if path.is_dir() else "does not exist"
            raise ValueError(f"{path} {what}; give the safetensors file(s) of the weights")
        found |= dict.fromkeys(inside)
    return tuple(found)


def stored_tensors(files: Sequence[str | os.PathLike[str]]) -> UnreadArrays:
    """The tensors of some files, in the dtypes that they are stored in; only the headers are read at once.

    Args:
        files: of safetensors.

    Raises:
        ValueError: if a file cannot be read, or two hold a tensor of the same name.
    """
    tensors: dict[str, Unread] = {}
    where: dict[str, Path] = {}
    for path in map(Path, files):
        for name, tensor in _tensors_of(path):
            if name in tensors:
                raise ValueError(f"{name!r} is both in {where[name]} and in {path}; give one of the files")
            tensors[name], where[name] = tensor, path
    return UnreadArrays(tensors)


def _tensors_of(path: Path) -> Iterator[tuple[str, Unread]]:
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
    except (OSError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    header.pop("__metadata__", None)
    for name, row in header.items():
        if row["dtype"] not in DTYPES:
            raise ValueError(f"{name!r} in {path} is stored in {row['dtype']}, which cannot be read here")
        dtype, shape = numpy_dtype(DTYPES[row["dtype"]]), tuple(row["shape"])
        start = 8 + size + row["data_offsets"][0]
        yield name, _unread(path, start, dtype, shape)


def _unread(path: Path, start: int, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> Unread:
    inner = shape[1:]
    step = math.prod(inner) * dtype.itemsize
    return Unread(
        shape,
        dtype,
        functools.partial(_read, path, start, dtype, shape),
        lambda index: _read(path, start + range(shape[0])[index] * step, dtype, inner),
    )


def _read(
    path: Path, start: int, dtype: "np.dtype[Any]", shape: tuple[int, ...]
) -> Shaped[np.ndarray, "..."]:
    size = math.prod(shape) * dtype.itemsize
    try:
        data = np.fromfile(path, np.uint8, size, offset=start)
    except OSError as error:
        raise ValueError(f"{path} can no longer be read: {error}") from error
    if data.size != size:
        raise ValueError(f"{path} ends before its tensors do; it was cut short")
    return data.view(dtype).reshape(shape)
