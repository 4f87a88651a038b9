"""The command `python -m data`: prepare, fetch and inspect the data sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np

from data import store
from data.catalogue import NAMES, Entry, entry
from data.errors import DataError
from data.fetching import fetch
from data.preparing import prepare

_DIRECTORY = click.option(
    "--directory",
    type=click.Path(path_type=Path),
    help=f"Folder of the prepared sets [default: ${store.VARIABLE}, or the platform's cache folder].",
)
_QUIET = click.option("--quiet", is_flag=True, help="Show no progress bar.")


class _Failure(click.ClickException):
    exit_code = 2


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise _Failure(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Prepare, fetch and inspect the data sets that `data.load(NAME)` gives.

    `embedded` and `diabetes` come with scikit-learn and are always there.
    """


@main.command("prepare")
@click.argument("name")
@click.argument("source", type=click.Path(path_type=Path))
@_DIRECTORY
@_QUIET
def prepare_command(name: str, source: Path, directory: Path | None, quiet: bool) -> None:
    """Prepare the data set NAME from the photographs in SOURCE.

    \b
    sign-digits  folder or zip with Dataset/<digit>/*.JPG inside (the upstream
                 repository), or a folder with X.npy and Y.npy (Kaggle)
    dogs-cats    folder or zip with cat.N.jpg and dog.N.jpg anywhere inside
                 (Kaggle's train.zip)
    either       a set that is prepared already (.npz)

    Nothing is written unless every photograph is sound.
    """  # noqa: D301 (click's \b keeps the list as it is)
    with _one_line_errors():
        written = prepare(name, source, directory=directory, progress=not quiet)
        _report(name, written)


@main.command("fetch")
@click.argument("name")
@click.option("--sha256", help="Refuse the download unless it has this digest.")
@_DIRECTORY
@_QUIET
def fetch_command(name: str, sha256: str | None, directory: Path | None, quiet: bool) -> None:
    """Download the data set NAME from its authors and prepare it.

    Only sign-digits can be fetched. GitHub makes the archive on request and publishes no checksum for it: the
    photographs of each digit are decoded and counted, and the archive's digest is printed and recorded. Give
    that digest as --sha256 to get the same archive again or an error.
    """
    with _one_line_errors():
        _report(name, fetch(name, sha256=sha256, directory=directory, progress=not quiet))


@main.command("info")
@click.argument("name", required=False)
@_DIRECTORY
def info_command(name: str | None, directory: Path | None) -> None:
    """Show what NAME, or every data set, holds and where it lies."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with _one_line_errors():
        described = {known: _describe(known, directory) for known in ([name] if name else NAMES)}
    table = Table("data set", "", "")
    for known, properties in described.items():
        for row, (what, value) in enumerate(properties.items()):
            table.add_row("" if row else known, what, Text(value, overflow="fold"))
        table.add_section()
    Console().print(table)


def _describe(name: str, directory: Path | None) -> dict[str, str]:
    """Lists what is to be said of a data set: one line of the table for each property."""
    known = entry(name)
    labels, state = _bundled(known) if known.bundled else _prepared(name, known, directory)
    num_samples = "?" if labels is None else len(labels)
    properties = {"shape": f"({', '.join(map(str, (num_samples, *known.shape)))})"}
    if not known.classes:
        properties["classes"] = "none: a regression"
    elif labels is None:
        properties["classes"] = " ".join(known.classes)
    else:
        counts = np.bincount(labels, minlength=len(known.classes)).tolist()
        properties["classes"] = "  ".join(
            f"{kind}:{n}" for kind, n in zip(known.classes, counts, strict=True)
        )
    return properties | state


def _bundled(known: Entry) -> tuple[np.ndarray, dict[str, str]]:
    from data.bundled import diabetes, digits

    return digits()[1] if known.classes else diabetes()[1], {"where": known.source}


def _prepared(name: str, known: Entry, directory: Path | None) -> tuple[np.ndarray | None, dict[str, str]]:
    command = f"python -m data prepare {name} SOURCE\nSOURCE: {known.source}"
    if name == "sign-digits":
        command = f"python -m data fetch {name}\nor {command}"
    file = store.path(name, directory)
    if not file.exists():
        return None, {"where": f"not prepared ({file})", "prepare": command}
    try:
        found = store.read(name, file)
    except DataError as error:
        return None, {"where": str(error), "prepare": command}
    return found.labels, {"where": str(file), "made of": found.origin or "unknown"}


def _report(name: str, written: Path) -> None:
    prepared = store.read(name, written)
    click.echo(f"{name}: {len(prepared.labels)} photographs in {written}\nfrom {prepared.origin}")


if __name__ == "__main__":
    main(prog_name="python -m data")
