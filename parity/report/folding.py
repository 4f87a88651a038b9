"""Lines of text in the width of a terminal, broken where a reader would break them."""

import shutil
import sys
import textwrap
from collections.abc import Iterable

from parity.report.locations import printable

WIDTH = 100
"""Columns of a description that is not written to a terminal."""

_NARROWEST = 40
"""Columns that a description needs; a narrower terminal breaks the lines itself."""

_SEPARATORS = "/\\.,;:=([{ "
"""After these a name, a path or a line of code may be broken."""


def line_width() -> int:
    """Columns of the terminal on standard output; `WIDTH` where that is none."""
    if not sys.stdout.isatty():
        return WIDTH
    return max(_NARROWEST, shutil.get_terminal_size((WIDTH, 24)).columns)


def folded(lines: Iterable[str], width: int = WIDTH, *, hanging: int = 4) -> list[str]:
    """Lines broken at `width` columns and free of what a terminal obeys.

    Args:
        lines: each may itself hold line breaks, which are kept.
        width: longest line, in columns.
        hanging: how far a continued line is indented beyond the first.

    Returns:
        The lines, without line breaks in them.
    """
    result = []
    for line in lines:
        text = printable(line).expandtabs()
        indent = " " * (len(text) - len(text.lstrip()) + hanging)
        first, *more = text.split("\n")
        for piece in (first, *(indent + other.strip() for other in more)):
            wrapper = _Wrapper(width, subsequent_indent=indent, break_on_hyphens=False)
            result += [piece] if len(piece) <= width else wrapper.wrap(piece)
    return result


class _Wrapper(textwrap.TextWrapper):
    """Breaks a word that is too long for a line, such as a path, after a separator in it."""

    def _handle_long_word(
        self, reversed_chunks: list[str], cur_line: list[str], cur_len: int, width: int
    ) -> None:
        word = reversed_chunks[-1]
        room = max(1, width - cur_len)
        at = _last_break(word, room) or (room if cur_len == 0 or room > width // 2 else 0)
        if at == 0 and not cur_line:
            at = room
        if at:
            cur_line.append(word[:at])
            reversed_chunks[-1] = word[at:]


def shortened(text: str, room: int) -> str:
    """The beginning of a name or a line of code, cut after a separator.

    >>> shortened("h = layer_norm(h, eps=1e-6)", 24)
    'h = layer_norm(h, ...'

    Args:
        text: one line.
        room: how many characters there may be.
    """
    if len(text) <= room:
        return text
    return text[: _last_break(text, room - 4) or room - 4].rstrip() + " ..."


def shortened_path(path: str, room: int) -> str:
    """The end of a path, which says more than its beginning, cut at a separator.

    >>> shortened_path("/home/ada/projects/port/model.py:41", 24)
    '.../port/model.py:41'

    Args:
        path: a path, with a line number or without.
        room: how many characters there may be.
    """
    if len(path) <= room:
        return path
    end = path[len(path) - (room - 3) :]
    cut = min((at for at in (end.find("/"), end.find("\\")) if at >= 0), default=0)
    return f"...{end[cut:]}"


def _last_break(text: str, room: int) -> int:
    """Where a text may be broken, in at most `room` characters; 0 if nowhere."""
    return max((text.rfind(separator, 0, room) for separator in _SEPARATORS), default=-1) + 1
