"""Files written whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file through a temporary one beside it: an interrupted write leaves the old file.

    Args:
        path: where to write; an existing file is replaced.
        content: all of the new file.

    Raises:
        ValueError: if the directory of `path` does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(
            f"cannot write {target}: the directory {target.parent} does not exist; make it first"
        )
    # Not mkstemp, whose files only their owner can read.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
