"""How a file and its line are written, and text that is no more than text."""

import itertools
import os
import re
from pathlib import Path

from parity.report.divergences import Place

_INSTALLED = re.compile(r".*[/\\](?:site|dist)-packages[/\\]")
"""What stands before the package in the path of an installed file."""

_ABSOLUTE = re.compile(r"(?<![\w./-])/(?:[\w.+-]+/)+[\w.+-]+")
"""A path from the root in a sentence, without what may follow it."""


def location(place: Place, *, full: bool = False) -> str:
    """File and line of a place.

    Args:
        place: where an operation stands.
        full: whether to give the path of the file: relative to the working directory or to the directory that
            its package is in, where there is one. Otherwise its name alone.

    Returns:
        E.g. "model.py:41"; "" if the file is unknown.

    >>> location(Place("mm", file="/home/me/model.py", line=41))
    'model.py:41'
    """
    if not place.file:
        return ""
    file = relative(place.file) if full else place.file.replace("\\", "/").rsplit("/", 1)[-1]
    return f"{file}:{place.line}" if place.line else file


def relative(file: str) -> str:
    """A path relative to the working directory, or to the directory that its package is in; else as it is.

    >>> relative("/opt/lib/python3.11/site-packages/transformers/activations.py")
    'transformers/activations.py'
    """
    path = Path(file)
    if not path.is_absolute():
        return file
    if path.is_relative_to(os.getcwd()):
        return str(path.relative_to(os.getcwd()))  # shorter, and a terminal still opens it
    if _INSTALLED.match(file):
        return _INSTALLED.sub("", file)
    return str(path.relative_to(top.parent)) if (top := _package(path)) is not None else file


def _package(path: Path) -> Path | None:
    """The outermost directory with `__init__.py` that a file is in; None outside of a package."""
    inside = itertools.takewhile(lambda folder: (folder / "__init__.py").is_file(), path.parents)
    return next(reversed(list(inside)), None)


def with_relative_paths(text: str) -> str:
    """A sentence whose paths are relative where `relative` makes them so.

    >>> with_relative_paths("bfloat16 (/opt/lib/python3.11/site-packages/flax/norm.py:4), not")
    'bfloat16 (flax/norm.py:4), not'

    Args:
        text: one or several lines.
    """
    return _ABSOLUTE.sub(lambda found: relative(found[0]), text)


def printable(text: str) -> str:
    r"""Text that no terminal, browser or XML parser takes for more than text.

    Control characters, lone surrogates and marks that turn the direction of writing become escapes.

    >>> printable("a\x1b[31m\u202eb")
    'a\\x1b[31m\\u202eb'
    """
    if text.isprintable():
        return str(text)
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
