"""Pages of documentation whose Python runs, and whose outputs are what it prints.

    python -m tests.pages README.md docs/guide.md    # writes what is printed now into the pages

A block of ```python is run, in the order of the page and in one namespace. A block of ```text that follows it
is what it prints; a last line of `...` leaves out the rest. A block of ```python that begins with the name of
a file, such as `# pair.py`, is that file as well. A block of ```console holds commands after `$`, each with
what it prints.
"""

import contextlib
import io
import linecache
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]

WIDTH = 80
"""Columns of the terminal that the pages show."""

BLOCK = re.compile(r"^```(python|text|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

REST = "..."


class Block(NamedTuple):
    """One fenced block: its language, its text, and the character at which its text begins."""

    language: str
    text: str
    start: int


class Shown(NamedTuple):
    """An output as a page has it, and as it is printed now."""

    shown: str
    printed: str
    start: int


def blocks(page: str) -> list[Block]:
    return [Block(found[1], found[2], found.start(2)) for found in BLOCK.finditer(page)]


def run(name: str, page: str, names: dict[str, Any]) -> Iterator[Shown]:
    """Run the blocks of a page in the working directory, and yield its outputs beside what is printed.

    Args:
        name: of the page; its code is found under this name.
        page: its text.
        names: the namespace of its Python, filled by it.
    """
    printed: str | None = None
    for block in blocks(page):
        if block.language == "python":
            file = re.match(r"# (\w+\.py)\n", block.text)
            if file:
                Path(file[1]).write_text(block.text)
            lines = block.text.splitlines(keepends=True)
            linecache.cache[name] = (len(block.text), None, lines, name)
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, name, "exec"), names)
            printed = out.getvalue()
        elif block.language == "console":
            yield from _commands(block)
        elif printed is not None:
            yield Shown(block.text, printed, block.start)
            printed = None


def _commands(block: Block) -> Iterator[Shown]:
    """The commands of a console block, and what follows each."""
    start = block.start
    for part in re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE):
        command, _, shown = part.partition("\n")
        if command:
            yield Shown(shown, _run_command(command), start + len(command) + 1)
        start += len(part)


def _run_command(command: str) -> str:
    from click.testing import CliRunner

    from parity.cli import main

    program, *arguments = shlex.split(command.removeprefix("$ "))
    assert program == "parity", command
    return CliRunner().invoke(main, arguments).stdout


@contextlib.contextmanager
def as_in_a_terminal(directory: Path) -> Iterator[None]:
    """Work in a directory, reports as wide as the pages are."""
    from parity.report import folding

    before = folding.WIDTH
    folding.WIDTH = WIDTH
    try:
        with contextlib.chdir(directory):
            yield
    finally:
        folding.WIDTH = before


_ENVIRONMENT = re.compile(r"^( *)python 3\.\d+\.\d+, .*\n(?:\1 .*\n)*", re.MULTILINE)
_ROUNDING_NOTES = re.compile(r"^  note: .* further from float64 than (?:.*\n    )?.*\n", re.MULTILINE)
_FIGURES = (
    # What rounding alone decides differs between machines: how much it is, and where it is largest.
    (r"(rho|yardstick|explains up to) [\d.e+-]+", r"\1 ROUNDING"),
    (r"agree (exactly|to [\d.e+-]+)", "agree to ROUNDING"),
    (r"and \d+ more with verdict", "and more with verdict"),
    (r"worst at \[[\d, ]*\]", "worst at PLACE"),
    (r"worst rho (?:0|ROUNDING) \([^()]*(?:\([^()]*\))?\)", "worst rho ROUNDING"),
    (r"\b\d+(\.\d+)? s\b", "SECONDS"),
    (r"\S*/(\w+\.(?:py|safetensors|html))", r"\1"),
)


def comparable(text: str, name: str = "") -> str:
    """A text without what differs from machine to machine: versions, seconds, paths, figures of rounding.

    Args:
        text: shown or printed.
        name: of the page, which stands for a file of the user's, `port.py`.
    """
    text = _ROUNDING_NOTES.sub("", _ENVIRONMENT.sub(r"\1ENVIRONMENT\n", text))
    text = " ".join((text.replace(f"{name}:", "port.py:") if name else text).split())
    for pattern, what in _FIGURES:
        text = re.sub(pattern, what, text)
    return text


def agrees(one: Shown, name: str) -> bool:
    """Whether a page shows what is printed, or its beginning."""
    shown, printed = comparable(one.shown, name), comparable(one.printed, name)
    if shown.endswith(f" {REST}"):
        return printed.startswith(shown.removesuffix(REST).rstrip())
    return shown == printed


def refreshed(name: str, page: str) -> str:
    """A page with its outputs as they are printed now; an output that ends with `...` keeps its length."""
    found = list(run(name, page, {"__name__": "page"}))
    for one in reversed(found):
        lines = one.shown.splitlines()
        printed = one.printed.replace(f"{name}:", "port.py:").rstrip().splitlines()
        if lines and lines[-1].strip() == REST:
            printed = [*printed[: len(lines) - 1], lines[-1]]
        text = "".join(f"{line}\n" for line in printed)
        page = page[: one.start] + text + page[one.start + len(one.shown) :]
    return page


def main(paths: list[str]) -> None:
    """Write what is printed now into the pages."""
    for path in [Path(path).resolve() for path in paths]:
        with tempfile.TemporaryDirectory() as directory, as_in_a_terminal(Path(directory)):
            text = refreshed(path.name, path.read_text())
        path.write_text(text)


if __name__ == "__main__":
    os.environ.setdefault("JAX_ENABLE_COMPILATION_CACHE", "false")
    main(sys.argv[1:])
