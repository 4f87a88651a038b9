import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import data
from data import DataError, store
from data.store import PreparedSet

ROOT = Path(__file__).resolve().parents[2]


def _pets(seed: int, num_samples: int = 6) -> PreparedSet:
    images = np.random.default_rng(seed).integers(0, 256, (num_samples, 64, 64), dtype=np.uint8)
    return PreparedSet(images, (np.arange(num_samples) % 2).astype(np.uint8), f"seed {seed}")


def test_a_set_comes_back_bit_for_bit(empty_store: Path) -> None:
    for images in (_pets(1).images, np.random.default_rng(0).random((6, 64, 64), dtype=np.float32)):
        written = store.write("dogs-cats", _pets(1)._replace(images=images))
        found = store.read("dogs-cats", written)
        assert found.images.dtype == images.dtype
        assert np.array_equal(found.images, images)
        assert np.array_equal(found.labels, _pets(1).labels)
        assert found.origin == "seed 1"


def test_the_folder_is_the_argument_then_the_variable_then_the_platforms_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(store.VARIABLE, "~/mine")
    assert store.folder("/elsewhere") == Path("/elsewhere")
    assert store.folder() == tmp_path / "mine"
    monkeypatch.setenv(store.VARIABLE, "")
    assert store.folder().name == "parity-networks"
    assert tmp_path in store.folder().parents


def test_a_write_that_fails_half_way_leaves_the_old_set(
    empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = store.write("dogs-cats", _pets(1))
    before = written.read_bytes()

    def full_disk(stream, **arrays) -> None:
        stream.write(before[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(DataError, match=r"dogs-cats\.npz' \(No space left on device\)"):
        store.write("dogs-cats", _pets(2))
    assert [path.name for path in empty_store.iterdir()] == ["dogs-cats.npz"]
    assert written.read_bytes() == before


def test_a_failed_prepare_leaves_the_old_set(pets_folder: Path, empty_store: Path) -> None:
    written = data.prepare("dogs-cats", pets_folder, progress=False)
    before = written.read_bytes()
    (pets_folder / "train" / "cat.1.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(DataError, match=r"cat\.1\.jpg"):
        data.prepare("dogs-cats", pets_folder, progress=False)
    assert written.read_bytes() == before
    assert len(list(empty_store.iterdir())) == 1


# Run in a process of its own, which dies by SIGKILL (no handler, no `finally`) at the point named.
KILLED = """
import os, signal, sys
import numpy as np
import data

die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "half-written":
    def savez(stream, **arrays):
        stream.write(bytes(5000)); stream.flush(); die()
    np.savez = savez
elif sys.argv[2] == "written":
    os.fsync = die
else:
    from data import preparing
    preparing.resize_bytes = die
data.prepare("dogs-cats", sys.argv[1], progress=False)
"""


@pytest.mark.parametrize("point", ["decoding", "half-written", "written"])
@pytest.mark.parametrize("old", [False, True])
def test_a_killed_run_leaves_the_old_set_or_none(
    pets_folder: Path, empty_store: Path, point: str, old: bool, jpeg: Callable[..., bytes]
) -> None:
    if old:
        before = data.prepare("dogs-cats", pets_folder, progress=False).read_bytes()
        (pets_folder / "train" / "dog.3.jpg").write_bytes(jpeg(3))
    died = subprocess.run(
        [sys.executable, "-c", KILLED, pets_folder, point], cwd=ROOT, timeout=60, check=False
    )
    assert died.returncode == -signal.SIGKILL
    assert (point == "decoding") != any(empty_store.glob(".*.tmp"))  # it did die where it was meant to
    if old:
        assert (empty_store / "dogs-cats.npz").read_bytes() == before
    else:
        assert not list(empty_store.glob("*.npz"))
        with pytest.raises(DataError, match="prepare dogs-cats SOURCE"):
            data.load("dogs-cats")
    data.prepare("dogs-cats", pets_folder, progress=False)
    assert len(data.load("dogs-cats").x_val) == 2


def test_what_killed_runs_left_is_removed_but_not_what_may_be_in_use(empty_store: Path) -> None:
    empty_store.mkdir()
    names = old, new, other = ".dogs-cats.1.tmp", ".dogs-cats.2.tmp", ".sign-digits.1.tmp"
    for name in names:
        (empty_store / name).touch()
    for name in (old, other):
        os.utime(empty_store / name, (time.time() - 86_400,) * 2)
    store.write("dogs-cats", _pets(1))
    assert {path.name for path in empty_store.iterdir()} == {new, other, "dogs-cats.npz"}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file/dogs-cats\.npz.*PARITY_DATA_DIR"):
        store.write("dogs-cats", _pets(1), tmp_path / "file")


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)


def _other_arrays(path: Path) -> None:
    np.savez(path, pictures=np.zeros(3))


def _lone_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))


def _pickle(path: Path) -> None:
    np.savez(path, images=np.array([{}], dtype=object), labels=np.zeros(1, np.uint8))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [_cut, _flip, _other_arrays, _lone_array, _pickle, _empty])
def test_a_corrupt_set_is_named(empty_store: Path, spoil: Callable[[Path], None]) -> None:
    spoil(store.write("dogs-cats", _pets(1)))
    with pytest.raises(DataError, match=r"dogs-cats\.npz' is corrupt; prepare dogs-cats again"):
        data.load("dogs-cats")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"images": np.zeros((6, 32, 32), np.uint8)}, r"`images` must be .*got uint8 \(6, 32, 32\)"),
        ({"images": np.zeros((6, 64, 64))}, "`images` must be uint8 or float32.*got float64"),
        ({"images": np.full((6, 64, 64), np.nan, np.float32)}, "NaN"),
        ({"images": np.full((6, 64, 64), 1.5, np.float32)}, r"outside \[0, 1\]"),
        ({"labels": np.zeros(5, np.uint8)}, "`labels` must be uint8, one for each image"),
        ({"labels": np.zeros(6)}, "`labels` must be uint8.*got float64"),
        ({"labels": np.zeros(6, np.uint8)}, "class 'dog' is empty"),
        ({"labels": np.array([0, 1, 2, 0, 1, 2], np.uint8)}, "`labels` must be below 2, got 2"),
    ],
)
def test_arrays_that_are_no_such_set_are_refused(
    tmp_path: Path, changes: dict[str, np.ndarray], reason: str
) -> None:
    np.savez(tmp_path / "set.npz", **_pets(1)._replace(**changes)._asdict())
    with pytest.raises(DataError, match=reason):
        store.read("dogs-cats", tmp_path / "set.npz")
    with pytest.raises(DataError, match=reason):
        data.prepare("dogs-cats", tmp_path / "set.npz", progress=False)
