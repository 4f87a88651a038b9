"""Lines that a test module marks: where a seeded fault stands."""

import re
from collections.abc import Iterable
from pathlib import Path


def marked_lines(id: str, files: Iterable[Path], mark: str = "FAULT") -> tuple[tuple[str, int], ...]:
    """(file, line number) of every line marked with this id (`# FAULT: A01`, or several: `A01, A02`)."""
    return tuple(
        (str(path), number)
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := re.search(rf"# {mark}: ([\w, ]+)", line)) and id in found.group(1).split(", ")
    )
