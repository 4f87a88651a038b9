"""The only module that knows OpenCV: encoded photographs in, grey arrays of one size out."""

import re

import numpy as np
from jaxtyping import Float32, UInt8

from data.catalogue import SIDE
from data.errors import DataError

_START = b"\xff\xd8"
_END = b"\xd9"
# After 0xff, 0x00 is a stuffed byte of the picture, 0xd0-0xd7 a restart inside it, 0xff filling.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)


def decode_grey(encoded: bytes) -> UInt8[np.ndarray, "H W"]:
    """Decodes a JPEG photograph to grey, as `cv2.imread(path, cv2.IMREAD_GRAYSCALE)` does.

    A file that stops early is refused: some versions of OpenCV fill what is missing with grey and only
    print a warning.

    Args:
        encoded: The content of a JPEG file.

    Returns:
        Grey values, uint8 in 0..255, in the orientation that the file's EXIF data asks for.

    Raises:
        DataError: If it is empty, no JPEG, truncated, or cannot be decoded. The caller knows the file's name.

    Example:
        >>> decode_grey(b"GIF89a")
        Traceback (most recent call last):
        data.errors.DataError: is no JPEG file
    """
    if not encoded:
        raise DataError("is empty")
    if not encoded.startswith(_START):
        raise DataError("is no JPEG file")
    if not _is_complete(encoded):
        raise DataError("is truncated: its JPEG end marker is missing")
    import cv2

    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:  # for instance a header that promises more pixels than OpenCV allows
        raise DataError("cannot be decoded by OpenCV") from error
    if image is None:
        raise DataError("cannot be decoded by OpenCV")
    return np.asarray(image, np.uint8)


def resize_bytes(image: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "64 64"]:
    """Resizes a grey image to 64 x 64 by OpenCV's cubic interpolation, rounded and saturated to 0..255.

    Args:
        image: Grey values, uint8, of any size.

    Returns:
        The resized grey values, uint8.

    Source: Section 2 of the notebook, where the photographs of dogs and cats are prepared so.
    """
    import cv2

    return np.asarray(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)


def resize_unit(image: Float32[np.ndarray, "H W"]) -> Float32[np.ndarray, "64 64"]:
    """Resizes an image with values in [0, 1] to 64 x 64 by OpenCV's cubic interpolation.

    The cubic kernel has negative lobes, so next to an edge it overshoots the range of the input. What
    falls outside is clipped back to [0, 1].

    Args:
        image: Values in [0, 1], float32, of any size.

    Returns:
        The resized values in [0, 1], float32.
    """
    import cv2

    resized = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.asarray(resized, np.float32), 0.0, 1.0)


def _is_complete(encoded: bytes) -> bool:
    """Walks from marker to marker: a bare search would find the end of a thumbnail inside the EXIF data."""
    position = len(_START)
    while found := _MARKER.search(encoded, position):
        if found[1] == _END:
            return True
        length = int.from_bytes(encoded[found.end() : found.end() + 2], "big")
        position = found.end() + length
    return False
