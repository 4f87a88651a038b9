"""Augmented images by SciPy and by OpenCV, one image at a time: what both frameworks are compared with."""

import cv2
import numpy as np
from scipy import ndimage


def numbers_for(num_images, **given):
    """Numbers that change nothing, but for those that are given: one per image, or one for all."""
    plain = {
        "angle": np.zeros(num_images),
        "scale": np.ones(num_images),
        "shift": np.zeros((num_images, 2)),
        "flip": np.zeros(num_images, bool),
        "brightness": np.ones(num_images),
    }
    return {
        name: np.broadcast_to(np.asarray(given.get(name, array), array.dtype), array.shape).copy()
        for name, array in plain.items()
    }


def by_scipy(images, numbers):
    """(N, H, W) in float64: SciPy maps positions in the result to positions in the image, rows first."""
    middle = (np.array(images.shape[1:]) - 1) / 2
    done = []
    for i, image in enumerate(images):
        angle, scale, shift, flip, brightness = (
            numbers[name][i] for name in ("angle", "scale", "shift", "flip", "brightness")
        )
        back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
        if flip:
            back[1] *= -1
        offset = middle - back @ (middle + shift)
        moved = ndimage.affine_transform(image, back, offset, order=1, mode="grid-constant", cval=0.0)
        done.append(np.clip(brightness * moved, 0, 1))
    return np.array(done)


def by_opencv(images, numbers):
    """(N, H, W) in float64; exact where all positions are multiples of 1/32 of a pixel.

    OpenCV takes the map from the image to the result, x before y, and no flip.
    """
    height, width = images.shape[1:]
    middle = ((width - 1) / 2, (height - 1) / 2)
    done = []
    for i, image in enumerate(images):
        there = cv2.getRotationMatrix2D(middle, np.rad2deg(numbers["angle"][i]), numbers["scale"][i])
        there[:, 2] += numbers["shift"][i][::-1]
        moved = cv2.warpAffine(image, there, (width, height), flags=cv2.INTER_LINEAR)
        done.append(np.clip(numbers["brightness"][i] * moved, 0, 1))
    return np.array(done)
