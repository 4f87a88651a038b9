"""Where prepared sets of photographs lie, and how they get there whole or not at all."""

import os
import secrets
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from data.catalogue import photographs
from data.errors import DataError, gathered
from data.sources import UNREADABLE

VARIABLE = "PARITY_DATA_DIR"
"""The environment variable that names the folder of the prepared sets."""

_STALE_AFTER_S = 3600.0


class PreparedSet(NamedTuple):
    """Photographs as they lie on the disk.

    Attributes:
        images: Grey values: uint8, or float32 in [0, 1] where they were published as floats.
        labels: The column of each image's class, as in `Entry.classes`.
        origin: What it was made of: a file's name and SHA-256, or a folder's name.
    """

    images: UInt8[np.ndarray, "N 64 64"] | Float32[np.ndarray, "N 64 64"]
    labels: UInt8[np.ndarray, " N"]
    origin: str = ""


def folder(directory: str | os.PathLike[str] | None = None) -> Path:
    """Finds the folder of the prepared sets; it need not exist.

    Args:
        directory: The folder itself; None for `$PARITY_DATA_DIR` or, where that is not set, the platform's
            cache folder.

    Returns:
        The folder.
    """
    chosen = directory or os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("parity-networks"))


def path(name: str, directory: str | os.PathLike[str] | None = None) -> Path:
    """Says where the prepared set of that name lies, or would lie.

    Args:
        name: A set of photographs.
        directory: See `folder`.

    Returns:
        The path of its npz file.

    Raises:
        DataError: If `name` is unknown or needs no preparation.
    """
    photographs(name)
    return folder(directory) / f"{name}.npz"


def read(name: str, file: Path) -> PreparedSet:
    """Reads a prepared set and checks all of it. Nothing is ever unpickled.

    Args:
        name: A set of photographs.
        file: An npz file with `images` (N, 64, 64), `labels` (N,) and, if it says so, its `origin`.

    Returns:
        The set.

    Raises:
        DataError: If the file is missing, corrupt, or does not hold such a set.
    """
    if not file.is_file():
        raise DataError(f"{str(file)!r} does not exist: run `python -m data prepare {name} SOURCE`")
    again = f"the prepared set {str(file)!r} is corrupt; prepare {name} again"
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            origin = str(arrays["origin"]) if "origin" in arrays else ""
            found = PreparedSet(arrays["images"], arrays["labels"], origin)
    except (*UNREADABLE, AttributeError, TypeError) as error:  # the last two: a lone array, which is no npz
        raise gathered(again, [str(error) or type(error).__name__]) from error
    if faults := _faults(name, found):
        raise gathered(again, faults)
    return found


def write(name: str, prepared: PreparedSet, directory: str | os.PathLike[str] | None = None) -> Path:
    """Writes a prepared set in one step: whoever looks sees the old set or the whole new one.

    Args:
        name: A set of photographs.
        prepared: The set.
        directory: See `folder`; made if need be.

    Returns:
        The path of the file.

    Raises:
        DataError: If `prepared` is not a sound set, or the place cannot be written to; an older set stays.
    """
    target = path(name, directory)
    if faults := _faults(name, prepared):
        raise gathered(f"{name} is not written", faults)
    # Beside the target, for a rename across file systems is a copy; with a name that no reader looks for.
    temporary = target.with_name(f".{name}.{secrets.token_hex(8)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(name, target.parent)
        try:
            with temporary.open("xb") as stream:
                np.savez(stream, **prepared._asdict())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write {str(target)!r} ({error.strerror}): "
            f"give another folder by ${VARIABLE} or `directory`"
        ) from error
    return target


def _faults(name: str, prepared: PreparedSet) -> list[str]:
    """Lists what is wrong with the arrays; later checks rest on the shapes, so those come alone."""
    classes = photographs(name).classes
    images, labels = prepared.images, prepared.labels
    faults = []
    if images.dtype not in (np.uint8, np.float32) or images.ndim != 3 or images.shape[1:] != (64, 64):
        faults.append(f"`images` must be uint8 or float32 (N, 64, 64), got {images.dtype} {images.shape}")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        faults.append(f"`labels` must be uint8, one for each image, got {labels.dtype} {labels.shape}")
    if faults:
        return faults
    if images.dtype == np.float32 and not np.all((images >= 0) & (images <= 1)):  # false for NaN too
        faults.append("`images` has pixels that are NaN or outside [0, 1]")
    if np.any(labels >= len(classes)):
        faults.append(f"`labels` must be below {len(classes)}, got {labels.max()}")
    faults += [
        f"class {kind!r} is empty" for column, kind in enumerate(classes) if not np.any(labels == column)
    ]
    return faults


def _sweep(name: str, where: Path) -> None:
    """Removes what killed runs left behind, but not what another run may be writing just now."""
    for stray in where.glob(f".{name}.*.tmp"):
        if time.time() - stray.stat().st_mtime > _STALE_AFTER_S:
            stray.unlink(missing_ok=True)
