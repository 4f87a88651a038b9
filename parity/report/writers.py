"""Which module writes a report, by the ending of the file.

A report knows this table and no writer; a writer knows the report. So imports go one way, and a writer is
loaded when it is first needed. A new format takes its module, its test, and one line here.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from parity.report.report import Report


class Writer(NamedTuple):
    """A format of files.

    Attributes:
        function: "module:function"; it takes a report and a path.
        title: what the format is called where the ending does not say it, else "".
    """

    function: str
    title: str = ""


WRITERS = {
    ".html": Writer("parity.report.html:write_html"),
    ".json": Writer("parity.report.json:write_report"),
    ".xml": Writer("parity.report.junit:write_junit", "JUnit"),
}
"""The formats that `Report.save` knows, by the ending of the file."""

TEXT = "parity.report.text:describe"
"""What `str(report)` says."""


def save(report: "Report", path: str | os.PathLike[str]) -> None:
    """Write a report in the format that the ending of a file stands for, in any case of letters.

    Args:
        report: what to write.
        path: where to write.

    Raises:
        ValueError: if no format has this ending, or the directory of `path` does not exist.
    """
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        *others, last = (f"{ending} ({w.title})" if w.title else ending for ending, w in WRITERS.items())
        raise ValueError(
            f"cannot write {os.fspath(path)}: the ending of `path` must be {', '.join(others)} or {last}"
        )
    _loaded(writer.function)(report, path)


def as_text(report: "Report") -> str:
    """The report as plain text."""
    return str(_loaded(TEXT)(report))


def _loaded(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found
