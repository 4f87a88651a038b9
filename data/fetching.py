"""The photographs from where their authors published them."""

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from data import store
from data.catalogue import photographs
from data.errors import DataError
from data.preparing import build

URL = "https://github.com/ardamavi/Sign-Language-Digits-Dataset/archive/refs/heads/master.zip"
"""The upstream archive. GitHub makes it on request and publishes no checksum for it."""

DIGIT_COUNTS = (205, 206, 206, 206, 207, 207, 207, 206, 208, 204)
"""Photographs of the digits 0 to 9 upstream: what the content is verified by."""


def fetch(
    name: str,
    *,
    sha256: str | None = None,
    directory: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Path:
    """Downloads the upstream photographs and prepares them.

    GitHub publishes no checksum of the archive, which it makes on request. So `sha256` is whatever digest the
    caller trusts, for instance of an earlier download; in any case every photograph is decoded and counted,
    and the digest is recorded in the prepared set. The archive is kept in `downloads` beside it.

    Args:
        name: "sign-digits".
        sha256: The digest that the archive must have, 64 hexadecimal digits; None to trust the content check.
        directory: Where to put it; None for `$PARITY_DATA_DIR` or the platform's cache folder.
        progress: Whether to show progress bars on stderr.

    Returns:
        The path of the prepared set.

    Raises:
        DataError: If the set cannot be fetched, the download fails, or its digest or content is not the
            expected one. Then nothing is prepared and the archive is not kept.
    """
    photographs(name)
    if name != "sign-digits":
        raise DataError(
            f"{name!r} cannot be fetched without an account: get train.zip of the competition "
            f"'dogs-vs-cats' from kaggle.com, then run `python -m data prepare {name} train.zip`"
        )
    if sha256 is not None and (len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef")):
        raise DataError(f"`sha256` must be 64 hexadecimal digits, got {sha256!r}")
    archive = _download(store.folder(directory) / "downloads", sha256, progress)
    try:
        prepared = build(name, archive, progress=progress)
        _verify(prepared)
    except DataError:
        archive.unlink(missing_ok=True)  # or the next attempt would find it and fail again
        raise
    return store.write(name, prepared, directory)


def _download(where: Path, sha256: str | None, progress: bool) -> Path:
    import pooch

    logger: logging.Logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)  # the progress bar and our own messages say it
    bar = _Bar() if progress else None
    known = None if sha256 is None else f"sha256:{sha256.lower()}"
    try:
        downloader = pooch.HTTPDownloader(progressbar=bar or False)
        return Path(pooch.retrieve(URL, known, fname="sign-digits.zip", path=where, downloader=downloader))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot fetch {URL}: {error}") from error  # pooch names both digests
    finally:
        logger.setLevel(level)
        if bar:
            bar.close()


def _verify(prepared: store.PreparedSet) -> None:
    classes = photographs("sign-digits").classes
    counts = dict(zip(classes, np.bincount(prepared.labels, minlength=len(classes)).tolist(), strict=True))
    actual = tuple(counts[digit] for digit in sorted(classes))
    if actual != DIGIT_COUNTS:
        raise DataError(
            f"the archive at {URL} has {actual} photographs of the digits 0 to 9, "
            f"but {DIGIT_COUNTS} were published; "
            "if upstream has changed, download it and use `python -m data prepare`"
        )


class _Bar:
    """A rich progress bar with the four names of tqdm that pooch uses."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        columns: tuple[Any, ...] = (
            TextColumn("download"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        self.total = 0  # written by pooch
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._task = self._progress.add_task("download", total=None)
        self._progress.start()

    def update(self, num_bytes: int) -> None:
        self._progress.update(self._task, advance=num_bytes, total=self.total or None)

    def reset(self) -> None:
        """Pooch starts over to jump to the end; the bar is there already."""
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
