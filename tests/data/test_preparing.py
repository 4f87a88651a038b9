import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import data
from data import DataError, store
from data.catalogue import CATALOGUE
from data.preparing import build

COLUMNS = [9, 0, 7, 6, 1, 8, 4, 3, 2, 5]
COUNTS_BY_DIGIT = [205, 206, 206, 206, 207, 207, 207, 206, 208, 204]
COUNTS_BY_COLUMN = [204, 205, 206, 207, 206, 208, 207, 206, 206, 207]


@pytest.fixture
def expected_digits(jpeg: Callable[..., bytes], seen: Callable[[bytes], np.ndarray]) -> np.ndarray:
    return np.stack([seen(jpeg(10 * digit + number)) for digit in COLUMNS for number in range(2)])


@pytest.mark.parametrize("inside", [".", "Dataset"])
def test_digits_from_a_folder_are_in_the_published_order(
    digits_folder: Path, expected_digits: np.ndarray, inside: str
) -> None:
    prepared = build("sign-digits", digits_folder / inside)
    assert np.array_equal(prepared.images, expected_digits)
    assert np.array_equal(prepared.labels, np.repeat(np.arange(10), 2))


def test_digits_from_an_archive_are_the_same(
    digits_folder: Path, expected_digits: np.ndarray, zipped: Callable[[Path], Path]
) -> None:
    for top in (digits_folder, digits_folder / "Dataset"):
        assert np.array_equal(build("sign-digits", zipped(top)).images, expected_digits)


def test_pets_are_sorted_by_file_name(
    pets_folder: Path,
    jpeg: Callable[..., bytes],
    seen: Callable[[bytes], np.ndarray],
    zipped: Callable[[Path], Path],
) -> None:
    cats = [seen(jpeg(number, 30 + number, 50)) for number in (0, 1, 10, 2)]  # as strings sort
    dogs = [seen(jpeg(100 + number, 30 + number, 50)) for number in (0, 1, 2)]
    for source in (pets_folder, pets_folder / "train", zipped(pets_folder)):
        prepared = build("dogs-cats", source)
        assert np.array_equal(prepared.images, np.stack(cats + dogs))
        assert prepared.labels.tolist() == [0] * 4 + [1] * 3


def test_what_is_written_is_what_was_built(digits_folder: Path, empty_store: Path) -> None:
    written = data.prepare("sign-digits", digits_folder, progress=False)
    assert written == empty_store / "sign-digits.npz"
    assert [path.name for path in empty_store.iterdir()] == ["sign-digits.npz"]
    found, built = store.read("sign-digits", written), build("sign-digits", digits_folder)
    assert np.array_equal(found.images, built.images)
    assert np.array_equal(found.labels, built.labels)
    assert found.origin == digits_folder.name


def test_a_prepared_set_can_be_handed_on(pets_folder: Path, tmp_path: Path) -> None:
    first = data.prepare("dogs-cats", pets_folder, directory=tmp_path / "a", progress=False)
    second = data.prepare("dogs-cats", first, directory=tmp_path / "b", progress=False)
    assert np.array_equal(np.load(first)["images"], np.load(second)["images"])


# The published pair of arrays


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(5)
    x = generator.random((2062, 64, 64), dtype=np.float32)
    columns = np.arange(2062) % 10
    generator.shuffle(columns)
    return tmp_path, x, np.eye(10)[columns]


def test_published_arrays_keep_their_order(pair: tuple[Path, np.ndarray, np.ndarray]) -> None:
    place, x, y = pair
    np.save(place / "X.npy", x)
    np.save(place / "Y.npy", y)
    prepared = build("sign-digits", place)
    assert np.array_equal(prepared.images, x)
    assert np.array_equal(np.eye(10)[prepared.labels], y)


def _nan(x: np.ndarray, y: np.ndarray) -> None:
    x[7, 3, 3] = np.nan


def _bright(x: np.ndarray, y: np.ndarray) -> None:
    x[7, 3, 3] = 255


def _two_classes(x: np.ndarray, y: np.ndarray) -> None:
    y[11] = 0
    y[11, :2] = 1


def _half(x: np.ndarray, y: np.ndarray) -> None:
    y[11] = 0
    y[11, :2] = 0.5


def _no_threes(x: np.ndarray, y: np.ndarray) -> None:
    y[y[:, 7] == 1] = np.eye(10)[0]


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_nan, r"'X\.npy' has pixels that are NaN"),
        (_bright, r"'X\.npy' has pixels that are NaN or outside \[0, 1\]"),
        (_two_classes, r"'Y\.npy' must be one-hot, but row 11 is not"),
        (_half, r"'Y\.npy' must be one-hot, but row 11 is not"),
        (_no_threes, r"'Y\.npy' has no sample in column 7"),
    ],
)
def test_spoilt_published_arrays_are_refused(pair, spoil, reason: str) -> None:
    place, x, y = pair
    spoil(x, y)
    np.save(place / "X.npy", x)
    np.save(place / "Y.npy", y)
    with pytest.raises(DataError, match=reason):
        data.prepare("sign-digits", place, progress=False)


@pytest.mark.usefixtures("nothing_written")
def test_wrong_files_of_the_published_pair_are_all_named(tmp_path: Path) -> None:
    np.save(tmp_path / "X.npy", np.zeros((2062, 4096), np.float32))
    with pytest.raises(
        DataError, match=r"2 faults: 'X\.npy' must hold .*\(2062, 64, 64\).*'Y\.npy' cannot be read"
    ):
        data.prepare("sign-digits", tmp_path, progress=False)
    (tmp_path / "X.npy").write_bytes(b"\x93NUMPY\x01")
    np.save(tmp_path / "Y.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"'X\.npy' cannot be read.*'Y\.npy' cannot be read \(Object arrays"):
        data.prepare("sign-digits", tmp_path, progress=False)


# Faults: each is named, and nothing is written


def _refused(name: str, source: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.prepare(name, source, progress=False)
    message = str(caught.value)
    assert "\n" not in message
    assert str(source) in message
    return message


@pytest.mark.usefixtures("nothing_written")
def test_broken_photographs_are_all_named(digits_folder: Path, zipped: Callable[[Path], Path]) -> None:
    dataset = digits_folder / "Dataset"
    whole = (dataset / "3" / "IMG_1.JPG").read_bytes()
    (dataset / "3" / "IMG_1.JPG").write_bytes(whole[: len(whole) // 2])
    (dataset / "5" / "IMG_0.JPG").write_bytes(b"")
    (dataset / "8" / "IMG_0.JPG").write_text("Git LFS pointer")
    for source in (digits_folder, zipped(digits_folder)):
        message = _refused("sign-digits", source)
        assert "3 faults" in message
        assert "Dataset/3/IMG_1.JPG' is truncated" in message
        assert "Dataset/5/IMG_0.JPG' is empty" in message
        assert "Dataset/8/IMG_0.JPG' is no JPEG file" in message


@pytest.mark.usefixtures("nothing_written")
def test_a_damaged_archive_entry_is_named(digits_folder: Path, zipped: Callable[[Path], Path]) -> None:
    path = zipped(digits_folder)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(f"{digits_folder.name}/Dataset/4/IMG_1.JPG").header_offset
    content[start + 150] ^= 0xFF
    path.write_bytes(content)
    assert "Dataset/4/IMG_1.JPG' cannot be read (Bad CRC-32" in _refused("sign-digits", path)


@pytest.mark.usefixtures("nothing_written")
def test_empty_and_missing_classes_are_named(digits_folder: Path, pets_folder: Path) -> None:
    for path in (digits_folder / "Dataset" / "6").iterdir():
        path.unlink()
    shutil.rmtree(digits_folder / "Dataset" / "2")
    message = _refused("sign-digits", digits_folder)
    assert "class '6' is empty" in message
    assert "class '2' is empty" in message
    for path in pets_folder.rglob("dog.*"):
        path.unlink()
    assert "class 'dog' is empty" in _refused("dogs-cats", pets_folder)


@pytest.mark.usefixtures("nothing_written")
def test_unknown_classes_are_named(
    digits_folder: Path, pets_folder: Path, jpeg: Callable[..., bytes]
) -> None:
    for folder in ("eleven", "10", "3/more"):
        (digits_folder / "Dataset" / folder).mkdir(parents=True)
        (digits_folder / "Dataset" / folder / "IMG_7.JPG").write_bytes(jpeg(7))
    message = _refused("sign-digits", digits_folder)
    assert all(f"Dataset/{folder}/IMG_7.JPG" in message for folder in ("eleven", "10", "3/more"))
    for file in ("bird.3.jpg", "cat.jpg", "hotdog.1.jpg", "cat.1.png.jpg"):
        (pets_folder / "train" / file).write_bytes(jpeg(7))
    message = _refused("dogs-cats", pets_folder)
    assert all(
        f"train/{file}' is named neither" in message
        for file in ("bird.3.jpg", "cat.jpg", "hotdog.1.jpg", "cat.1.png.jpg")
    )


@pytest.mark.usefixtures("nothing_written")
def test_photographs_that_are_there_twice_are_refused(digits_folder: Path, pets_folder: Path) -> None:
    shutil.copytree(digits_folder / "Dataset", digits_folder / "copy" / "Dataset")
    assert "more than one Dataset folder" in _refused("sign-digits", digits_folder)
    shutil.copytree(pets_folder / "train", pets_folder / "copy")
    assert "have the same name" in _refused("dogs-cats", pets_folder)


@pytest.mark.usefixtures("nothing_written")
def test_a_source_without_photographs_says_what_is_needed(
    tmp_path: Path, zipped: Callable[[Path], Path]
) -> None:
    folder = tmp_path / "kaggle"
    folder.mkdir()
    assert "Dataset/<digit>/*.JPG" in _refused("sign-digits", folder)
    (folder / "train.zip").touch()
    assert "unpack 'kaggle/train.zip'" in _refused("dogs-cats", zipped(folder))


@pytest.mark.usefixtures("nothing_written")
def test_climbing_archives_missing_paths_and_other_files_are_refused(
    digits_folder: Path, tmp_path: Path, zipped: Callable[[Path], Path]
) -> None:
    archive = zipped(digits_folder)
    with zipfile.ZipFile(archive, "a") as writable:
        writable.writestr("../../outside.JPG", b"")
    assert "'../../outside.JPG' would land outside" in _refused("sign-digits", archive)
    assert "does not exist" in _refused("sign-digits", tmp_path / "nowhere")
    assert "does not exist" in _refused("dogs-cats", tmp_path / "nowhere.npz")
    assert "no zip archive" in _refused("sign-digits", digits_folder / "LICENSE")


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("embeded", "unknown data set 'embeded': `name` must be one of embedded"),
        ("embedded", "needs no preparation"),
    ],
)
def test_only_sets_of_photographs_are_prepared(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        data.prepare(name, tmp_path, progress=False)


# The real photographs


def test_the_real_digits_have_the_published_counts(photographs: Path) -> None:
    prepared = store.read("sign-digits", photographs / "sign-digits.npz")
    counts = np.bincount(prepared.labels)
    assert counts.tolist() == COUNTS_BY_COLUMN
    assert [int(CATALOGUE["sign-digits"].classes[k]) for k in range(10)] == COLUMNS
    assert [counts[COLUMNS.index(digit)] for digit in range(10)] == COUNTS_BY_DIGIT
    assert prepared.images.shape == (2062, 64, 64)


def test_the_real_pets_are_among_those_that_others_prepared(photographs: Path, shared: Path) -> None:
    ours = store.read("dogs-cats", photographs / "dogs-cats.npz")
    theirs = np.load(shared / "dogs_cats_1399_64x64.npz")
    known = {image.tobytes(): label for image, label in zip(theirs["images"], theirs["labels"], strict=True)}
    assert [known.get(image.tobytes()) for image in ours.images] == ours.labels.tolist()


def test_the_prepared_pets_are_accepted(shared: Path, tmp_path: Path) -> None:
    source = shared / "dogs_cats_1399_64x64.npz"
    written = data.prepare("dogs-cats", source, progress=False)
    assert np.array_equal(np.load(written)["images"], np.load(source)["images"])
    assert np.bincount(store.read("dogs-cats", written).labels).tolist() == [700, 699]
