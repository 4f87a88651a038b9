"""Arrays written to safetensors files as they come: more than fit into memory."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from parity.numerics.unread import Unread, held
from parity.weights.stored_tensors import stored_tensors
from parity.weights.tensor_files import save_weights

SHARD = 2**26
"""Bytes after which a file is written and the next one begun."""


class ShardWriter:
    """Files `STEM-0.safetensors`, `STEM-1.safetensors` and so on, each written whole or not at all."""

    def __init__(self, place: Path, stem: str) -> None:
        """Nothing is written yet.

        Args:
            place: an existing directory.
            stem: what the names of the files begin with.
        """
        self.place, self.stem = place, stem
        self.files: list[Path] = []
        self._waiting: dict[str, Shaped[np.ndarray, ...]] = {}
        self._size = 0
        self._written: dict[str, Unread] = {}

    def put(self, name: str, array: Shaped[np.ndarray, "..."]) -> Unread:
        """Take an array, which may change afterwards.

        Args:
            name: by which it is stored.
            array: of NumPy.

        Returns:
            The same, read from its file once that is written.
        """
        self._waiting[name] = np.array(array, order="C")
        self._size += array.nbytes
        if self._size >= SHARD:
            self.flush()
        shape, dtype = array.shape, array.dtype
        return Unread(
            shape, dtype, lambda: self._stored(name).read(), lambda index: self._stored(name).row(index)
        )

    def _stored(self, name: str) -> Unread:
        return held(self._waiting[name]) if name in self._waiting else self._written[name]

    def flush(self) -> None:
        """Write what waits to be written."""
        if self._waiting:
            path = self.place / f"{self.stem}-{len(self.files)}.safetensors"
            save_weights(self._waiting, path)
            self.files.append(path)
            self._written |= stored_tensors([path]).unread
            self._waiting, self._size = {}, 0
