import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data.errors import MAX_NAMED_FAULTS, DataError, gathered
from data.sources import open_files


def _archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return path


def test_folder_and_archive_give_the_same_files(tmp_path: Path, zipped: Callable[[Path], Path]) -> None:
    folder = tmp_path / "top"
    for name in ("b/2.txt", "a.txt", "b/10.txt", ".hidden/x.txt", "__MACOSX/b/2.txt", "b/.DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    expected = {"top/a.txt": b"a.txt", "top/b/10.txt": b"b/10.txt", "top/b/2.txt": b"b/2.txt"}
    for source in (folder, zipped(folder)):
        with open_files(source) as files:
            assert list(files) == list(expected)
            assert {name: read() for name, read in files.items()} == expected


def test_a_folder_below_a_hidden_one_is_not_hidden(tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / ".top"
    folder.mkdir(parents=True)
    (folder / "a.txt").touch()
    with open_files(folder) as files:
        assert list(files) == [".top/a.txt"]


@pytest.mark.parametrize(
    "entry",
    [
        "../x.jpg",
        "a/../../x.jpg",
        "/etc/x.jpg",
        "..\\x.jpg",
        "C:\\x.jpg",
        "c:x.jpg",
        "\\\\host\\x.jpg",
        "a/../b/",
    ],
)
def test_an_entry_that_would_land_outside_is_refused(tmp_path: Path, entry: str) -> None:
    archive = _archive(tmp_path / "slip.zip", "Dataset/0/good.JPG", entry)
    with pytest.raises(DataError, match="outside the target") as caught, open_files(archive):
        pass
    assert repr(entry) in str(caught.value)
    assert "slip.zip" in str(caught.value)


def test_dots_inside_a_name_are_harmless(tmp_path: Path) -> None:
    with open_files(_archive(tmp_path / "a.zip", "a..b/c..txt", "x/y..jpg")) as files:
        assert list(files) == ["a..b/c..txt", "x/y..jpg"]


def test_an_entry_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = _archive(tmp_path / "a.zip", "x.jpg", "x.jpg")
    with pytest.raises(DataError, match=r"'x\.jpg' occurs twice"), open_files(archive):
        pass


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere' does not exist"), open_files(tmp_path / "nowhere"):
        pass


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x05\x06"])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photos.zip").write_bytes(content)
    with (
        pytest.raises(DataError, match=r"photos\.zip' is no zip archive"),
        open_files(tmp_path / "photos.zip"),
    ):
        pass


def test_an_archive_cut_short_is_named(tmp_path: Path) -> None:
    path = _archive(tmp_path / "cut.zip", "a.jpg", "b.jpg")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"cut\.zip' is no zip archive"), open_files(path):
        pass


def test_many_faults_are_counted_on_one_line() -> None:
    message = str(gathered("refused", [f"fault {i}" for i in range(12)]))
    assert message.startswith("refused, 12 faults: fault 0; fault 1; ")
    assert message.endswith(f"; and {12 - MAX_NAMED_FAULTS} more")
    assert "\n" not in message
