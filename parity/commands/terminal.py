"""What all commands do alike: errors in one line, progress on stderr, files checked before long work."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from parity.numerics.progress import Progress

EXIT_CODES = "Exit codes: 0 pass, 1 fail, 2 error (bad input, a model that raises), 3 inconclusive."


@contextlib.contextmanager
def bad_input(*also: type[Exception]) -> Iterator[None]:
    """Errors of the user's making become a message on stderr and exit code 2."""
    caught: tuple[type[Exception], ...] = (ValueError, OSError, *also)
    try:
        yield
    except caught as error:
        complain(str(error))
        sys.exit(2)


def complain(message: str) -> None:
    """Print on stderr what is wrong.

    Args:
        message: what was found, where, and what to do.
    """
    click.echo(f"parity: {message}", err=True)


@contextlib.contextmanager
def spinner(start: str) -> Iterator[Progress]:
    """Show a spinner on stderr, with the seconds passed, while the block runs.

    Args:
        start: description of the first phase.

    Yields:
        What to call with a description as each later phase begins.
    """
    from rich import progress as bars
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True)
    columns = (bars.SpinnerColumn(), bars.TextColumn("{task.description}"), bars.TimeElapsedColumn())
    # What the user's own code prints stays on stdout; a log gets no spinner.
    with bars.Progress(
        *columns, console=console, transient=True, redirect_stdout=False, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(escape(start))

        def describe(text: str) -> None:
            bar.update(task, description=escape(text))

        yield describe


def require_writable(*paths: str | None) -> None:
    """Check that the directories of the files to be written exist, before any long work.

    Args:
        paths: files to be written; None for those that are not wanted.

    Raises:
        ValueError: naming the first file that cannot be written.
    """
    for path in paths:
        if not path:
            continue
        place = Path(path).absolute()
        if place.is_dir():
            raise ValueError(f"cannot write {path}: it is a directory; give the name of a file")
        if not place.parent.is_dir():
            raise ValueError(f"cannot write {path}: there is no directory {Path(path).parent}; make it first")


def require_networks() -> None:
    """Check that what the built-in networks need is installed.

    Raises:
        ValueError: naming what is missing, and how to install it.
    """
    import importlib.util

    packages = {
        "flax": "flax",
        "optax": "optax",
        "cv2": "opencv",
        "sklearn": "scikit-learn",
        "pooch": "pooch",
    }
    packages["matplotlib"] = "matplotlib"
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise ValueError(
            f"the built-in networks need {', '.join(missing)}: pip install 'parity-networks[networks]'"
        )


def split_dtypes(text: str, known: Sequence[str]) -> list[str]:
    """Read the dtypes named by `--dtype`, in order, once each.

    Args:
        text: names separated by commas.
        known: the names that may be chosen.

    Raises:
        ValueError: if there is none, or one that is not known.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or any(name not in known for name in names):
        raise ValueError(
            f"--dtype is {text!r}; choose one or several of {', '.join(known)}, separated by commas"
        )
    return list(dict.fromkeys(names))
