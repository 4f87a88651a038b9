"""From photographs, however they were published, to one file that `load` reads."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from data import store
from data.catalogue import photographs
from data.errors import DataError, gathered
from data.images import decode_grey, resize_bytes
from data.sources import UNREADABLE, Files, open_files

_IMAGE_SUFFIXES = (".jpg", ".jpeg")
_PET = re.compile(r"(cat|dog)\.\d+\.jpe?g", re.IGNORECASE)


class _Photograph(NamedTuple):
    """A file with the column of its class; tuples of these sort as the data set is to be sorted."""

    key: tuple[int, str]
    column: int
    name: str


def prepare(
    name: str,
    source: str | os.PathLike[str],
    *,
    directory: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Path:
    """Makes a data set of photographs and puts it where `load` finds it.

    Everything is read and checked before anything is written; then one file appears in one step.

    Args:
        name: "sign-digits" or "dogs-cats".
        source: See `build`.
        directory: Where to put it; None for `$PARITY_DATA_DIR` or the platform's cache folder.
        progress: Whether to show a progress bar on stderr.

    Returns:
        The path of the prepared set.

    Raises:
        DataError: If `name` is unknown, anything in `source` is missing, broken or of no known class, or the
            place cannot be written to. An older prepared set is left as it is.
    """
    return store.write(name, build(name, source, progress=progress), directory)


def build(name: str, source: str | os.PathLike[str], *, progress: bool = False) -> store.PreparedSet:
    """Reads a data set of photographs into memory: decoded to grey, 64 x 64 by cubic interpolation.

    Args:
        name: "sign-digits": a folder or zip that holds `Dataset/<digit>/*.JPG` at any depth (sorted by class
            column, then file name), or a folder with the published `X.npy` and `Y.npy`. "dogs-cats": a folder
            or zip that holds `cat.N.jpg` and `dog.N.jpg` anywhere (sorted by file name). Either: a set that
            is prepared already, as npz.
        source: Path of the folder or file.
        progress: Whether to show a progress bar on stderr.

    Returns:
        The set, not yet written.

    Raises:
        DataError: With every fault found, each naming its file.

    Source: Section 2 of the notebook.
    """
    classes = photographs(name).classes
    place = Path(source).expanduser()
    if place.is_file() and place.suffix.lower() == ".npz":
        return store.read(name, place)._replace(origin=_origin(place))
    if name == "sign-digits" and (place / "X.npy").exists() | (place / "Y.npy").exists():
        return _published_pair(place)
    with open_files(place) as files:
        listed, faults = _digits(files, classes) if name == "sign-digits" else _pets(files, classes)
        found = {photograph.column for photograph in listed}
        if not listed and not faults:
            nested = [file for file in files if file.lower().endswith(".zip")]
            hint = f"unpack {nested[0]!r} and give that" if nested else f"give a {photographs(name).source}"
            raise DataError(f"{str(place)!r} holds no photographs of {name}: {hint}")
        faults += [f"class {kind!r} is empty" for column, kind in enumerate(classes) if column not in found]
        images, unreadable = _decode(files, listed, progress)
    if faults := faults + unreadable:
        raise gathered(f"cannot prepare {name} from {str(place)!r}", faults)
    labels = np.array([photograph.column for photograph in listed], np.uint8)
    return store.PreparedSet(images, labels, _origin(place))


def _digits(files: Files, classes: Sequence[str]) -> tuple[list[_Photograph], list[str]]:
    """Finds `Dataset/<digit>/<image>`; pictures elsewhere (the upstream examples) are no part of the set."""
    listed, faults, roots = [], [], set()
    for name in filter(_is_image, files):
        *parents, file = name.split("/")
        if "Dataset" not in parents:
            continue
        depth = parents.index("Dataset") + 1
        roots.add("/".join(parents[:depth]))
        kind = "/".join(parents[depth:])
        if kind in classes:
            column = classes.index(kind)
            listed.append(_Photograph((column, file), column, name))
        else:
            faults.append(f"{name!r} lies in no folder of a digit, Dataset/0 to Dataset/9")
    if len(roots) > 1:
        faults.insert(
            0, f"more than one Dataset folder ({', '.join(map(repr, sorted(roots)))}): give one of them"
        )
    return sorted(listed), faults


def _pets(files: Files, classes: Sequence[str]) -> tuple[list[_Photograph], list[str]]:
    listed, faults, seen = [], [], dict[str, str]()
    for name in filter(_is_image, files):
        file = name.rpartition("/")[2]
        if not (match := _PET.fullmatch(file)):
            faults.append(f"{name!r} is named neither cat.N.jpg nor dog.N.jpg")
        elif file in seen:
            faults.append(f"{name!r} and {seen[file]!r} have the same name")
        else:
            seen[file] = name
            listed.append(_Photograph((0, file), classes.index(match[1].lower()), name))
    return sorted(listed), faults


def _decode(
    files: Files, listed: Sequence[_Photograph], progress: bool
) -> tuple[UInt8[np.ndarray, "N 64 64"], list[str]]:
    from rich.console import Console
    from rich.progress import track

    images = np.zeros((len(listed), 64, 64), np.uint8)
    faults = []
    console = Console(stderr=True)
    for row, photograph in enumerate(
        track(listed, "photographs", console=console, disable=not (progress and listed))
    ):
        try:
            images[row] = resize_bytes(decode_grey(files[photograph.name]()))
        except DataError as error:
            faults.append(f"{photograph.name!r} {error}")
        except UNREADABLE as error:
            faults.append(f"{photograph.name!r} cannot be read ({error})")
    return images, faults


def _published_pair(place: Path) -> store.PreparedSet:
    """Reads the arrays of the published set, whose labels are one-hot in the order of the columns already."""
    faults, arrays = [], dict[str, np.ndarray]()
    for file, shape in (("X.npy", (2062, 64, 64)), ("Y.npy", (2062, 10))):
        try:
            array = np.load(place / file, allow_pickle=False)
            if array.dtype.kind not in "fiu" or array.shape != shape:
                faults.append(f"{file!r} must hold numbers of shape {shape}, got {array.dtype} {array.shape}")
            else:
                arrays[file] = array
        except (*UNREADABLE, AttributeError, TypeError) as error:
            faults.append(f"{file!r} cannot be read ({error})")
    if "X.npy" in arrays and not np.all((arrays["X.npy"] >= 0) & (arrays["X.npy"] <= 1)):  # false for NaN too
        faults.append("'X.npy' has pixels that are NaN or outside [0, 1]")
    if "Y.npy" in arrays:
        one_hot = arrays["Y.npy"]
        rows = np.flatnonzero(~(np.isin(one_hot, (0, 1)).all(axis=1) & (one_hot.sum(axis=1) == 1)))
        if rows.size:
            faults.append(f"'Y.npy' must be one-hot, but row {rows[0]} is not ({rows.size} such rows)")
        faults += [f"'Y.npy' has no sample in column {k}" for k in np.flatnonzero(~one_hot.any(axis=0))]
    if faults:
        raise gathered(f"cannot prepare sign-digits from {str(place)!r}", faults)
    images = arrays["X.npy"].astype(np.float32)
    return store.PreparedSet(
        images, arrays["Y.npy"].argmax(axis=1).astype(np.uint8), f"{place.name}/X.npy, Y.npy"
    )


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGE_SUFFIXES)


def _origin(place: Path) -> str:
    if place.is_dir():
        return place.resolve().name
    with place.open("rb") as stream:
        return f"{place.name}, SHA-256 {hashlib.file_digest(stream, 'sha256').hexdigest()}"
