"""Images rotated, scaled, shifted, flipped and brightened, by numbers that are drawn elsewhere.

`data.draws.augmentation` draws them; `torchref.augmentation` does the same with them.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy import ndimage
from jaxtyping import Array, Bool, Float

from jaxnn.models import Model, Params

__all__ = ["augment", "augmented"]


def augment(
    images: Float[Array, "N H W C"],
    *,
    angle: Float[Array, " N"],
    scale: Float[Array, " N"],
    shift: Float[Array, "N 2"],
    flip: Bool[Array, " N"],
    brightness: Float[Array, " N"],
) -> Float[Array, "N H W C"]:
    """Flips images left to right, scales and rotates them about their centre, shifts and brightens them.

    The pixel at p of the result shows what lies at q of the image, both counted from the centre, in pixels:

        q = F R(-angle) (p - shift) / scale

    Between pixels it is interpolated linearly in both directions, and outside of the image everything is 0.
    The values are then multiplied by `brightness` and clipped to [0, 1].

    Args:
        images: Values in [0, 1].
        angle: In radians, counter-clockwise.
        scale: Magnification, above 0.
        shift: In pixels, down and to the right.
        flip: Whether to exchange left and right.
        brightness: Factor of the values, at least 0.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: If the numbers are not one per image, or `images` has no four axes.

    Differs: ``torch.nn.functional.grid_sample`` takes positions in units of the image's size: with
    ``align_corners=False`` the outer edges of the outer pixels are at -1 and 1. `jax.scipy.ndimage` counts in
    pixels, and so does OpenCV, which rounds positions to 1/32 of a pixel.

    Source: notebook, section 4.5.
    """
    numbers = {"angle": angle, "scale": scale, "shift": shift, "flip": flip, "brightness": brightness}
    _require_one_per_image(images, numbers)
    return jax.vmap(_augment_one)(images, angle, scale, shift, flip, brightness)


@functools.cache
def augmented(model: Model) -> Model:
    """Returns a network that is trained on augmented images.

    Args:
        model: A network of images.

    Returns:
        A model with the same params. ``apply(params, x, angle=..., scale=..., shift=..., flip=...,
        brightness=...)`` augments the images first, ``apply(params, x)`` takes them as they are.

    Source: notebook, section 4.5.
    """

    def apply(params: Params, x: Float[Array, "N H W C"], **numbers: Any) -> Float[Array, "N K"]:
        return model.apply(params, augment(x, **numbers) if numbers else x)

    return Model(model.init, apply)


def _augment_one(
    image: Float[Array, "H W C"],
    angle: Float[Array, ""],
    scale: Float[Array, ""],
    shift: Float[Array, "2"],
    flip: Bool[Array, ""],
    brightness: Float[Array, ""],
) -> Float[Array, "H W C"]:
    height, width, _ = image.shape
    middle = (height - 1) / 2, (width - 1) / 2
    rows = jnp.arange(height, dtype=image.dtype) - middle[0] - shift[0]
    columns = jnp.arange(width, dtype=image.dtype) - middle[1] - shift[1]
    down, right = jnp.meshgrid(rows, columns, indexing="ij")
    cos, sin = jnp.cos(angle) / scale, jnp.sin(angle) / scale
    source_rows = cos * down + sin * right + middle[0]
    source_columns = jnp.where(flip, -1.0, 1.0).astype(image.dtype) * (cos * right - sin * down) + middle[1]
    moved = jax.vmap(_interpolate, in_axes=(2, None, None), out_axes=2)(image, source_rows, source_columns)
    return jnp.clip(brightness * moved, 0.0, 1.0)


def _interpolate(
    plane: Float[Array, "H W"], rows: Float[Array, "H W"], columns: Float[Array, "H W"]
) -> Float[Array, "H W"]:
    """Interpolates linearly; the neighbours of a position that lie outside count as 0."""
    moved: Array = ndimage.map_coordinates(plane, [rows, columns], order=1, mode="constant", cval=0.0)
    return moved


def _require_one_per_image(images: Array, numbers: dict[str, Array]) -> None:
    if images.ndim != 4:
        raise ValueError(f"`images` has shape {images.shape}: it must be (N, H, W, C).")
    count = len(images)
    faults = [
        f"`{name}` has shape {given.shape}: it must be {(count, 2) if name == 'shift' else (count,)}, for "
        f"{count} images."
        for name, given in numbers.items()
        if given.shape != ((count, 2) if name == "shift" else (count,))
    ]
    if faults:
        raise ValueError("\n".join(faults))
