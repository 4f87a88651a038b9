import hashlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import data
from data import DataError, fetching, store


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        self.server.paths.append(self.path)


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A server on this machine in GitHub's place: the archive that it serves, and what was asked of it."""
    folder = tmp_path / "server"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    server.paths = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(fetching, "URL", f"http://127.0.0.1:{server.server_port}/master.zip")
    yield folder / "master.zip", server.paths
    server.shutdown()
    server.server_close()


@pytest.fixture
def served(
    upstream, digits_folder: Path, zipped: Callable[[Path], Path], monkeypatch
) -> tuple[str, list[str]]:
    """Two photographs of each digit are served; their digest, and what was asked."""
    archive, asked = upstream
    zipped(digits_folder).rename(archive)
    monkeypatch.setattr(fetching, "DIGIT_COUNTS", (2,) * 10)
    return hashlib.sha256(archive.read_bytes()).hexdigest(), asked


@pytest.mark.parametrize("progress", [False, True])
def test_a_fetched_set_is_prepared_and_its_digest_recorded(
    served: tuple[str, list[str]], empty_store: Path, progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    digest, asked = served
    written = data.fetch("sign-digits", progress=progress)
    assert written == empty_store / "sign-digits.npz"
    assert digest in store.read("sign-digits", written).origin
    assert data.load("sign-digits").x_train.shape == (16, 4096)
    out, err = capsys.readouterr()
    assert out == ""
    assert ("download" in err and "100%" in err) == progress
    data.fetch("sign-digits", sha256=digest.upper(), progress=False)
    assert len(asked) == 1  # the archive was kept


@pytest.mark.parametrize("older", [False, True])
def test_a_wrong_checksum_is_refused(served: tuple[str, list[str]], empty_store: Path, older: bool) -> None:
    if older:
        before = data.fetch("sign-digits", progress=False).read_bytes()
    with pytest.raises(DataError, match=r"cannot fetch http.*does not match the known hash.*00 but got"):
        data.fetch("sign-digits", sha256="0" * 64, progress=False)
    if older:
        assert (empty_store / "sign-digits.npz").read_bytes() == before
    else:
        assert not [path for path in empty_store.rglob("*") if path.is_file()]


def test_other_content_is_refused_and_not_kept(
    served: tuple[str, list[str]], empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "DIGIT_COUNTS", (2,) * 9 + (3,))
    with pytest.raises(
        DataError, match=r"has \(2, 2, .* 2\) photographs of the digits 0 to 9, but \(2, .* 3\)"
    ):
        data.fetch("sign-digits", progress=False)
    assert not [path for path in empty_store.rglob("*") if path.is_file()]


def test_a_page_in_the_place_of_the_archive_is_refused_and_not_kept(upstream, empty_store: Path) -> None:
    upstream[0].write_text("<html>sign in</html>")
    with pytest.raises(DataError, match="no zip archive"):
        data.fetch("sign-digits", progress=False)
    assert not [path for path in empty_store.rglob("*") if path.is_file()]


def test_a_failed_download_is_named(upstream, empty_store: Path) -> None:
    with pytest.raises(DataError, match=r"cannot fetch http://127.*404"):
        data.fetch("sign-digits", progress=False)
    assert not [path for path in empty_store.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("name", "sha256", "reason"),
    [
        (
            "dogs-cats",
            None,
            "cannot be fetched without an account: get train.zip .* `python -m data prepare dogs-cats",
        ),
        ("embedded", None, "needs no preparation"),
        ("mnist", None, "unknown data set"),
        ("sign-digits", "abc", "`sha256` must be 64 hexadecimal digits"),
        ("sign-digits", "g" * 64, "`sha256` must be 64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_fetched_is_said_before_anything_happens(
    name: str, sha256: str | None, reason: str
) -> None:
    with pytest.raises(DataError, match=reason):
        data.fetch(name, sha256=sha256, progress=False)


def test_the_real_archive_has_the_content_that_is_verified(upstream, shared: Path, empty_store: Path) -> None:
    upstream[0].symlink_to(shared / "sign_digits.zip")
    digest = "ee240a1d4c1aa73ee6be7a62e2f93cd222e90c7c694d18233a70806af90eddb4"  # from its README
    written = data.fetch("sign-digits", sha256=digest, progress=False)
    assert np.load(written)["labels"].shape == (2062,)
