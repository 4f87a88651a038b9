"""Reports as JSON: everything the table shows, and every point of every curve."""

import json
import math
import os
from collections.abc import Mapping

from parity.report.atomic import write_atomically
from parity.report.report import Report


def write_report(report: Report, path: str | os.PathLike[str]) -> None:
    """Write one report to a file, atomically.

    Args:
        report: what to write.
        path: where to write.

    Raises:
        ValueError: if the directory of `path` does not exist.
    """
    write_json(report.as_dict(), path)


def write_json(data: Mapping[str, object], path: str | os.PathLike[str]) -> None:
    """Write data to a file, atomically; NaN and infinities become strings, since JSON has none.

    Args:
        data: what `plain` accepts.
        path: where to write.

    Raises:
        TypeError: if something in `data` has no counterpart in JSON.
        ValueError: if the directory of `path` does not exist.
    """
    text = json.dumps(plain(data), indent=1, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def plain(value: object) -> object:
    """The same data as dicts, lists, strings, finite numbers, booleans and None.

    Args:
        value: nested mappings, sequences and sets of such values; keys become strings.

    >>> plain({"rho": float("inf"), "shape": (2, 3)})
    {'rho': 'inf', 'shape': [2, 3]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
