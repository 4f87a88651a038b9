"""Images rotated, scaled, shifted, flipped and brightened, by numbers that are drawn elsewhere.

`data.draws.augmentation` draws them; `jaxnn.augmentation` does the same with them.

Source:
    Notebook, section 4.5.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


def augment(
    images: Float[Tensor, "N C H W"],
    *,
    angle: Float[Tensor, " N"],
    scale: Float[Tensor, " N"],
    shift: Float[Tensor, "N 2"],
    flip: Bool[Tensor, " N"],
    brightness: Float[Tensor, " N"],
) -> Float[Tensor, "N C H W"]:
    """Flip images left to right, scale and rotate them about their centre, shift and brighten them.

    The pixel at p of the result shows what lies at q of the image, both counted from the centre, in pixels:

        q = F R(-angle) (p - shift) / scale

    Between pixels it is interpolated linearly in both directions, and outside of the image everything is 0.
    The values are then multiplied by `brightness` and clipped to [0, 1].

    Args:
        images: values in [0, 1].
        angle: in radians, counter-clockwise.
        scale: magnification, above 0.
        shift: in pixels, down and to the right.
        flip: whether to exchange left and right.
        brightness: factor of the values, at least 0.

    Returns:
        Images of the same shape and dtype.

    Raises:
        ValueError: if the numbers are not one per image, or `images` has no four axes.

    Differs:
        `jax.scipy.ndimage.map_coordinates` takes positions in pixels, rows first. `grid_sample` takes
        columns first and counts in halves of the image: with `align_corners=False`, as here, the outer edges
        of the outer pixels are at -1 and 1; with True their centres would be.
    """
    numbers = {"angle": angle, "scale": scale, "shift": shift, "flip": flip, "brightness": brightness}
    _require_one_per_image(images, numbers)
    grid = F.affine_grid(_theta(images, angle, scale, shift, flip), list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (brightness[:, None, None, None] * moved).clamp(0, 1)


class Augmented(nn.Module):
    """A network that is trained on augmented images.

    `forward(x, angle=..., scale=..., shift=..., flip=..., brightness=...)` augments the images first,
    `forward(x)` takes them as they are.

    Args:
        network: a network of images.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Float[Tensor, "N C H W"], **numbers: Tensor) -> Float[Tensor, "N K"]:
        """Logits of a batch."""
        logits: Tensor = self.network(augment(x, **numbers) if numbers else x)
        return logits


def _theta(
    images: Tensor, angle: Tensor, scale: Tensor, shift: Tensor, flip: Tensor
) -> Float[Tensor, "N 2 3"]:
    """The affine map from positions in the result to positions in the image, both in grid_sample's units."""
    height, width = images.shape[2:]
    cos, sin = angle.cos() / scale, angle.sin() / scale
    down, right = shift.unbind(dim=1)
    mirror = torch.where(flip, -1.0, 1.0).to(images.dtype)
    columns = torch.stack(
        [mirror * cos, -mirror * sin * (height / width), -mirror * (cos * right - sin * down) * (2 / width)],
        dim=1,
    )
    rows = torch.stack(
        [sin * (width / height), cos, -(sin * right + cos * down) * (2 / height)],
        dim=1,
    )
    return torch.stack([columns, rows], dim=1)


def _require_one_per_image(images: Tensor, numbers: dict[str, Tensor]) -> None:
    if images.ndim != 4:
        raise ValueError(f"`images` must be (N, C, H, W), got {tuple(images.shape)}.")
    needed = {name: (len(images), 2) if name == "shift" else (len(images),) for name in numbers}
    faults = [
        f"`{name}` must be {needed[name]} for {len(images)} images, got {tuple(given.shape)}."
        for name, given in numbers.items()
        if tuple(given.shape) != needed[name]
    ]
    if faults:
        raise ValueError("\n".join(faults))
