from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.images import decode_grey, resize_bytes, resize_unit


def test_a_photograph_is_decoded_as_imread_does(jpeg: Callable[..., bytes], tmp_path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(3))
    assert np.array_equal(decode_grey(jpeg(3)), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))


@given(cut=st.integers(0, 10_000), progressive=st.booleans(), thumbnail=st.booleans())
def test_no_beginning_of_a_photograph_is_taken_for_the_whole(
    jpeg: Callable[..., bytes], cut: int, progressive: bool, thumbnail: bool
) -> None:
    whole = jpeg(1)
    if progressive:  # several scans, with tables between them
        image = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
        whole = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    if thumbnail:  # the EXIF data of a camera hold a small JPEG with an end marker of its own
        small = b"Exif\0\0" + jpeg(2, 8, 8)
        whole = whole[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + whole[2:]
    assert decode_grey(whole).shape == (20, 24)
    with pytest.raises(DataError, match=r"truncated|empty|no JPEG"):
        decode_grey(whole[: cut % len(whole)])


def test_padding_after_the_end_is_harmless(jpeg: Callable[..., bytes]) -> None:
    # Three of the real sign digits are padded with up to 270 KiB of zeros.
    assert np.array_equal(decode_grey(jpeg(1) + bytes(5000)), decode_grey(jpeg(1)))


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        (b"", "is empty"),
        (b"<html>not found</html>", "is no JPEG"),
        (b"\x89PNG\r\n\x1a\n", "is no JPEG"),
        (b"\xff\xd8\xff\xd9", "cannot be decoded"),
    ],
)
def test_what_is_no_photograph_is_refused(encoded: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        decode_grey(encoded)


def _cubic(signal: np.ndarray, size: int) -> np.ndarray:
    """Keys' cubic convolution with a = -3/4 along the first axis, border repeated, in float64."""
    scale = len(signal) / size
    result = np.zeros((size, *signal.shape[1:]))
    for i in range(size):
        position = (i + 0.5) * scale - 0.5
        base = int(np.floor(position))
        for tap in range(base - 1, base + 3):
            t = abs(position - tap)
            a = -0.75
            weight = (a + 2) * t**3 - (a + 3) * t**2 + 1 if t <= 1 else a * (t**3 - 5 * t**2 + 8 * t - 4)
            result[i] += weight * signal[min(max(tap, 0), len(signal) - 1)]
    return result


@given(seed=st.integers(0, 1000))
def test_enlarging_is_cubic_convolution_clipped_to_the_unit_range(seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 17, (8, 8)) / 16
    expected = _cubic(_cubic(image, 64).T, 64).T
    assert expected.max() > 1 or expected.min() < 0  # or there would be nothing to clip
    actual = resize_unit(image.astype(np.float32))
    assert actual.dtype == np.float32
    assert actual.min() >= 0
    assert actual.max() <= 1
    np.testing.assert_allclose(actual, np.clip(expected, 0, 1), rtol=0, atol=1e-6)


def test_photographs_stay_bytes() -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 80), dtype=np.uint8)
    expected = np.clip(_cubic(_cubic(image.astype(float), 64).T, 64).T, 0, 255)
    actual = resize_bytes(image)
    assert actual.dtype == np.uint8
    # OpenCV interpolates bytes with weights of 11 bits: at most one grey level beside the exact value.
    assert np.abs(actual - expected).max() <= 1.0
