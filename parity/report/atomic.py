"""Files written whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file through a temporary one beside it: an interrupted write leaves the old file.

    Raises:
        ValueError: if the directory of `path` does not exist.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise ValueError(
            f"cannot write {target}: the directory {target.parent} does not exist; make it first"
        )
    # Not mkstemp: its files can be read by their owner alone.
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
