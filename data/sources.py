"""The files inside a folder or a zip archive, by name, without unpacking anything."""

import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from data.errors import DataError, gathered

Files = dict[str, Callable[[], bytes]]
"""The name of each file, with forward slashes, and a function that reads it."""

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
"""What broken, encrypted or vanished files raise in `zipfile` and in NumPy's readers.

(RuntimeError includes the NotImplementedError of an unknown compression.)"""


@contextmanager
def open_files(source: Path) -> Iterator[Files]:
    """Lists the files of a folder or of a zip archive; they can be read until the context is left.

    The name of a folder is the first part of the names of its files. Hidden files and what macOS adds to
    archives are left out.

    Args:
        source: A folder or a zip archive.

    Yields:
        The files, sorted by name.

    Raises:
        DataError: If `source` does not exist, is no folder and no zip archive, or if any entry of the
            archive has a name that would land outside the folder it is unpacked into, or occurs twice.
    """
    if source.is_dir():
        yield _folder(source.resolve())
        return
    if not source.exists():
        raise DataError(f"{str(source)!r} does not exist: give a folder or a zip archive")
    try:
        archive = zipfile.ZipFile(source)
    except UNREADABLE as error:
        raise DataError(
            f"{str(source)!r} is no zip archive that can be read ({error}): get it again"
        ) from error
    with archive:
        yield _entries(source, archive)


def _folder(root: Path) -> Files:
    paths = {
        f"{root.name}/{path.relative_to(root).as_posix()}": path for path in root.rglob("*") if path.is_file()
    }
    return {name: paths[name].read_bytes for name in sorted(paths) if not _is_junk(name.partition("/")[2])}


def _entries(source: Path, archive: zipfile.ZipFile) -> Files:
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    # Nothing is unpacked here, but an archive that tries to climb out of its folder deserves no trust at all.
    faults = [
        f"entry {e.filename!r} would land outside the target"
        for e in archive.infolist()
        if _escapes(e.filename)
    ]
    names = [entry.filename for entry in entries]
    faults += [f"entry {name!r} occurs twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if faults:
        raise gathered(f"the archive {str(source)!r} is refused", faults)
    return {
        entry.filename: partial(archive.read, entry)
        for entry in sorted(entries, key=lambda entry: entry.filename)
        if not _is_junk(entry.filename)
    }


def _escapes(name: str) -> bool:
    """Says whether an entry's name is absolute (also as Windows writes it) or climbs up."""
    name = name.replace("\\", "/")
    return name.startswith("/") or name[1:2] == ":" or ".." in name.split("/")


def _is_junk(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
