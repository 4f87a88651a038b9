import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler

import data
from data import DataError, Dataset, store
from data.store import PreparedSet

ROOT = Path(__file__).resolve().parents[2]


def _notebook(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """The notebook's preparation, from scikit-learn in float64."""
    scaled = MinMaxScaler(feature_range=(-0.5, 0.5)).fit_transform(x.reshape(len(x), -1).astype(np.float64))
    return train_test_split(scaled, y, test_size=0.2, random_state=42, shuffle=True)


def _assert_same(actual: Dataset, expected: list[np.ndarray]) -> None:
    assert all(array.dtype == np.float32 for array in actual)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.shape == theirs.shape
        # Half a float32 unit at 0.5, and what two ways of writing MinMax differ by in float64.
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2**-25 + 1e-15)


def _digits_file(directory: Path, num_samples: int = 60, dtype: type = np.uint8) -> PreparedSet:
    """A prepared set whose first pixels never vary, at 0 and at 255."""
    generator = np.random.default_rng(8)
    images = generator.integers(0, 256, (num_samples, 64, 64)).astype(np.uint8)
    images[:, 0, 0], images[:, 0, 1] = 0, 255
    if dtype is np.float32:
        images = images / np.float32(255)
    made = PreparedSet(images, np.sort(np.arange(num_samples) % 10).astype(np.uint8))
    store.write("sign-digits", made, directory)
    return made


def test_embedded_is_the_enlarged_handwritten_digits() -> None:
    loaded = data.load(scale=False, flatten=False)
    bunch = load_digits()
    _, small_val, _, digits_val = train_test_split(
        bunch.images / 16, bunch.target, test_size=0.2, random_state=42, shuffle=True
    )
    assert loaded.x_train.shape == (1437, 64, 64)
    assert np.array_equal(loaded.y_val.argmax(axis=1), digits_val)
    assert loaded.y_val.sum(axis=1).tolist() == [1.0] * 360
    assert loaded.x_train.min() == 0
    assert loaded.x_train.max() == 1
    # The middle of each 8 x 8 block is near the pixel that it came from.
    middle = loaded.x_val.reshape(-1, 8, 8, 8, 8)[:, :, 3:5, :, 3:5].mean(axis=(2, 4))
    assert np.abs(middle - small_val).max() < 0.1


@pytest.mark.parametrize("force_binary", [False, True])
def test_embedded_is_prepared_as_the_notebook_does(force_binary: bool) -> None:
    raw = data.load("embedded", force_binary, scale=False)
    loaded = data.load("embedded", force_binary)
    both = np.concatenate([raw.x_train, raw.x_val]).astype(np.float64)
    low, high = both.min(axis=0), both.max(axis=0)
    for ours, grey in zip(loaded[:2], raw[:2], strict=True):
        np.testing.assert_allclose(ours, (grey - low) / (high - low) - 0.5, rtol=0, atol=2**-25 + 1e-15)
    whole = np.concatenate(loaded[:2])
    assert (whole.min(axis=0) == -0.5).all()
    assert (whole.max(axis=0) == 0.5).all()
    assert loaded.y_train.shape == ((288,) if force_binary else (1437, 10))


def test_force_binary_keeps_zero_and_one() -> None:
    images, val = data.load(force_binary=True, scale=False), load_digits()
    zeros_first = np.concatenate([val.target[val.target == 0], val.target[val.target == 1]])
    expected = train_test_split(zeros_first, test_size=0.2, random_state=42, shuffle=True)
    assert np.array_equal(images.y_train, expected[0])
    assert np.array_equal(images.y_val, expected[1])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_sign_digits_are_prepared_as_the_notebook_does(empty_store: Path, dtype: type) -> None:
    made = _digits_file(empty_store, dtype=dtype)
    _assert_same(data.load("sign-digits"), _notebook(made.images, np.eye(10)[made.labels]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_binary_sign_digits_are_columns_one_and_four(empty_store: Path, dtype: type) -> None:
    made = _digits_file(empty_store, dtype=dtype)
    zeros, ones = made.images[made.labels == 1], made.images[made.labels == 4]
    expected = _notebook(np.concatenate([zeros, ones]), np.array([0.0] * len(zeros) + [1.0] * len(ones)))
    _assert_same(data.load("sign-digits", force_binary=True), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_without_scaling_grey_values_are_in_the_unit_range(empty_store: Path, dtype: type) -> None:
    made = _digits_file(empty_store, dtype=dtype)
    train, val = train_test_split(made.images, test_size=0.2, random_state=42, shuffle=True)
    unit = 255 if dtype is np.uint8 else 1
    loaded = data.load("sign-digits", scale=False, flatten=False)
    np.testing.assert_array_equal(loaded.x_train, (train.astype(np.float64) / unit).astype(np.float32))
    np.testing.assert_array_equal(loaded.x_val, (val.astype(np.float64) / unit).astype(np.float32))


@pytest.mark.parametrize("scale", [False, True])
def test_flattening_only_reshapes(empty_store: Path, scale: bool) -> None:
    _digits_file(empty_store)
    flat, square = (data.load("sign-digits", scale=scale, flatten=flatten) for flatten in (True, False))
    assert square.x_val.shape == (12, 64, 64)
    assert np.array_equal(square.x_val.reshape(12, -1), flat.x_val)
    assert np.array_equal(square.x_train.reshape(48, -1), flat.x_train)


@pytest.mark.parametrize("fit_on", ["all", "train"])
def test_a_pixel_that_never_varies_is_minus_a_half(empty_store: Path, fit_on: str) -> None:
    _digits_file(empty_store)
    loaded = data.load("sign-digits", fit_on=fit_on)
    for x in loaded[:2]:
        assert np.isfinite(x).all()
        assert (x[:, :2] == -0.5).all()


def test_fitted_on_train_the_validation_part_does_not_leak(empty_store: Path) -> None:
    made = _digits_file(empty_store)
    loaded = data.load("sign-digits", fit_on="train")
    train, val = train_test_split(made.images.reshape(60, -1), test_size=0.2, random_state=42, shuffle=True)
    scaler = MinMaxScaler(feature_range=(-0.5, 0.5)).fit(train.astype(np.float64))
    np.testing.assert_allclose(loaded.x_train, scaler.transform(train.astype(np.float64)), rtol=0, atol=4e-8)
    # Outside [-0.5, 0.5] half a float32 unit is larger, below 2 it is 2**-24.
    np.testing.assert_allclose(loaded.x_val, scaler.transform(val.astype(np.float64)), rtol=0, atol=2**-24)
    assert (loaded.x_train.min(), loaded.x_train.max()) == (-0.5, 0.5)
    assert np.abs(loaded.x_val).max() > 0.5
    # Whatever happens to the validation images, the training inputs stay the same.
    rows = train_test_split(np.arange(60), test_size=0.2, random_state=42, shuffle=True)[1]
    made.images[rows] = 0
    store.write("sign-digits", made, empty_store)
    assert np.array_equal(data.load("sign-digits", fit_on="train").x_train, loaded.x_train)
    assert not np.array_equal(data.load("sign-digits").x_train, loaded.x_train)


def test_a_pixel_that_varies_in_validation_alone_is_minus_a_half_when_fitted_on_train(
    empty_store: Path,
) -> None:
    made = _digits_file(empty_store)
    row = train_test_split(np.arange(60), test_size=0.2, random_state=42, shuffle=True)[1][0]
    made.images[row, 0, 0] = 200
    store.write("sign-digits", made, empty_store)
    assert (data.load("sign-digits", fit_on="train").x_val[:, 0] == -0.5).all()
    assert data.load("sign-digits").x_val[0, 0] == 0.5


def test_dogs_and_cats_are_binary_already(empty_store: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (20, 64, 64)).astype(np.uint8)
    labels = np.repeat([0, 1], 10).astype(np.uint8)
    store.write("dogs-cats", PreparedSet(images, labels))
    plain, forced = data.load("dogs-cats"), data.load("dogs-cats", force_binary=True)
    _assert_same(plain, _notebook(images, labels))
    assert all(np.array_equal(a, b) for a, b in zip(plain, forced, strict=True))


@pytest.mark.parametrize("fit_on", ["all", "train"])
def test_diabetes_has_a_target_of_mean_zero_and_variance_one(fit_on: str) -> None:
    loaded = data.load("diabetes", fit_on=fit_on)
    bunch = load_diabetes()
    assert [array.shape for array in loaded] == [(353, 10), (89, 10), (353,), (89,)]
    y = train_test_split(bunch.target, test_size=0.2, random_state=42, shuffle=True)
    fitted = bunch.target if fit_on == "all" else y[0]
    for ours, theirs in zip(loaded[2:], y, strict=True):
        np.testing.assert_allclose(ours, (theirs - np.mean(fitted)) / np.std(fitted), rtol=1e-6, atol=1e-7)
    seen = np.concatenate(loaded[2:] if fit_on == "all" else loaded[2:3]).astype(np.float64)
    assert abs(seen.mean()) < 1e-7
    assert abs(seen.var() - 1) < 1e-6
    if fit_on == "all":
        for ours, theirs in zip(loaded[:2], _notebook(bunch.data, bunch.target)[:2], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2**-25 + 1e-15)


def test_diabetes_without_scaling_has_the_features_of_scikit_learn() -> None:
    train, val = train_test_split(load_diabetes().data, test_size=0.2, random_state=42, shuffle=True)
    loaded = data.load("diabetes", scale=False)
    assert np.array_equal(loaded.x_train, train.astype(np.float32))
    assert np.array_equal(loaded.x_val, val.astype(np.float32))


def test_every_call_gives_the_same_bits() -> None:
    for first, second in zip(data.load(), data.load(), strict=True):
        assert first.tobytes() == second.tobytes()


def test_faults_say_what_to_do(empty_store: Path) -> None:
    with pytest.raises(
        DataError, match="unknown data set 'mnist': `name` must be one of embedded, sign-digits"
    ):
        data.load("mnist")
    with pytest.raises(
        DataError, match=r"sign-digits\.npz' does not exist: run `python -m data prepare sign-digits"
    ):
        data.load("sign-digits")
    with pytest.raises(DataError, match=r"regression.*leave `force_binary` False"):
        data.load("diabetes", force_binary=True)
    assert not empty_store.exists()


def _python(code: str) -> str:
    """Runs code in a process of its own, where no test has imported anything and no hook checks types."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, check=False)
    return done.stdout + done.stderr


def test_an_unknown_fit_on_is_refused_without_a_type_checker_too() -> None:
    assert "ValueError: `fit_on` must be 'all' or 'train', got 'val'" in _python(
        "import data; data.load('embedded', fit_on='val')"
    )


def test_importing_the_package_imports_no_framework_and_nothing_slow() -> None:
    names = ("jax", "torch", "cv2", "sklearn", "pooch", "rich", "jaxnn", "torchref", "parity")
    assert _python(f"import sys, data; print([n for n in {names} if n in sys.modules])") == "[]\n"
    assert _python("import sys, data; data.load(); print('torch' in sys.modules, 'jax' in sys.modules)") == (
        "False False\n"
    )


def test_the_real_digits_are_prepared_as_the_notebook_does(photographs: Path) -> None:
    prepared = store.read("sign-digits", photographs / "sign-digits.npz")
    loaded = data.load("sign-digits")
    assert [array.shape for array in loaded] == [(1649, 4096), (413, 4096), (1649, 10), (413, 10)]
    _assert_same(loaded, _notebook(prepared.images, np.eye(10)[prepared.labels]))
    assert data.load("sign-digits", force_binary=True).y_train.shape == (328,)
    assert data.load("dogs-cats").x_train.shape == (368, 4096)
