"""Synthetic photographs, the real ones where they are at hand, and a store that is never the user's."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import data
from data import store

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def empty_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads the user's cache: every one starts with a store of its own that does not exist yet."""
    place = tmp_path / "store"
    monkeypatch.setenv(store.VARIABLE, str(place))
    return place


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of the real archives."""
    if not (SHARED / "sign_digits.zip").is_file():
        pytest.skip(f"requires_photographs: {SHARED} is not there")
    return SHARED


@pytest.fixture(scope="session")
def _prepared_photographs(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("photographs")
    data.prepare("sign-digits", shared / "sign_digits.zip", directory=directory, progress=False)
    data.prepare("dogs-cats", shared / "dogs_cats_sample.zip", directory=directory, progress=False)
    return directory


@pytest.fixture
def photographs(_prepared_photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real photographs, prepared once, where `load` looks for them."""
    monkeypatch.setenv(store.VARIABLE, str(_prepared_photographs))
    return _prepared_photographs


@pytest.fixture(scope="session")
def jpeg() -> Callable[..., bytes]:
    def encoded(seed: int = 0, height: int = 20, width: int = 24) -> bytes:
        """A colour JPEG with structure in it, different for each seed."""
        noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
        done, buffer = cv2.imencode(".jpg", image)
        assert done
        return buffer.tobytes()

    return encoded


@pytest.fixture
def digits_folder(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Two photographs of each digit as upstream lays them out; the seed of one is 10 * digit + its number."""
    top = tmp_path / "Sign-Language-Digits-Dataset-master"
    for digit in range(10):
        folder = top / "Dataset" / str(digit)
        folder.mkdir(parents=True)
        for number in range(2):
            (folder / f"IMG_{number}.JPG").write_bytes(jpeg(10 * digit + number))
    (top / "Examples").mkdir()
    (top / "Examples" / "example_0.JPG").write_bytes(jpeg(1000))
    (top / "LICENSE").write_text("Apache-2.0")
    (top / "README.md").write_text("Turkey Ankara Ayranci Anadolu High School")
    return top


@pytest.fixture
def pets_folder(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """Cats 0, 1, 2 and 10, dogs 0, 1 and 2; the seed of a cat is its number, of a dog 100 more."""
    folder = tmp_path / "pets" / "train"
    folder.mkdir(parents=True)
    for kind, number in [("cat", 0), ("cat", 1), ("cat", 2), ("cat", 10), ("dog", 0), ("dog", 1), ("dog", 2)]:
        seed = number + 100 * (kind == "dog")
        (folder / f"{kind}.{number}.jpg").write_bytes(jpeg(seed, 30 + number, 50))
    return folder.parent


@pytest.fixture
def zipped(tmp_path: Path) -> Callable[[Path], Path]:
    def pack(folder: Path) -> Path:
        """Packs a folder, under its own name, into a zip archive."""
        target = tmp_path / f"{folder.name}.zip"
        with zipfile.ZipFile(target, "w") as archive:
            for path in sorted(folder.rglob("*"), reverse=True):  # an order that has to be undone
                archive.write(path, path.relative_to(folder.parent))
        return target

    return pack


@pytest.fixture
def seen() -> Callable[[bytes], np.ndarray]:
    def image(encoded: bytes) -> np.ndarray:
        """What the notebook makes of a photograph: two calls of OpenCV, nothing of ours."""
        grey = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
        return cv2.resize(grey, (64, 64), interpolation=cv2.INTER_CUBIC)

    return image


@pytest.fixture
def nothing_written(empty_store: Path) -> Iterator[None]:
    """Afterwards there must be no store, not even an empty one."""
    yield
    assert not empty_store.exists()
