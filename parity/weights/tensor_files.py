"""Weights on disk: safetensors, written atomically, never pickled."""

import os
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from parity.numerics.arrays import Arrays
from parity.report.atomic import write_atomically


def save_weights(weights: Arrays, path: str | os.PathLike[str]) -> None:
    """Write named arrays to a safetensors file; an interrupted write leaves the old file as it was.

    Args:
        weights: the arrays by name.
        path: the file.

    Raises:
        ValueError: if `path` lies in a directory that does not exist.
    """
    from safetensors.numpy import save

    data = save({name: np.asarray(array, order="C") for name, array in weights.items()})
    write_atomically(path, data)


def load_weights(path: str | os.PathLike[str]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Read named arrays from a safetensors file.

    Args:
        path: the file.

    Returns:
        The arrays by name.

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
