"""Synthetic photographs in the layouts of the upstream archives."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest


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
