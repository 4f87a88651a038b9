"""Weights on disk: safetensors, written atomically, never pickled."""

import os
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from parity.arrays import Arrays


def save_weights(weights: Arrays, path: str | os.PathLike[str]) -> None:
    """Write named arrays to a safetensors file; an interrupted write leaves the old file as it was.

    Raises:
        ValueError: if `path` lies in a directory that does not exist.
    """
    from safetensors.numpy import save

    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(f"`path` is {target}, but the directory {target.parent} does not exist; make it first")
    data = save({name: np.ascontiguousarray(array) for name, array in weights.items()})
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=target.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_weights(path: str | os.PathLike[str]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read named arrays from a safetensors file.

    Raises:
        ValueError: if the file is missing or is not safetensors, naming it.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    source = Path(path)
    if not source.is_file():
        raise ValueError(f"`path` is {source}, which does not exist")
    try:
        return dict(load_file(source))
    except SafetensorError as error:
        raise ValueError(f"{source} is not a readable safetensors file: {error}") from error
