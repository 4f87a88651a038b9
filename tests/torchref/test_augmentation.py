"""Augmented images against NumPy, SciPy and OpenCV."""

import numpy as np
import pytest
import torch

from data.draws import augmentation
from tests.kit.affine import by_opencv, by_scipy, numbers_for
from torchref import modules
from torchref.augmentation import Augmented, augment


def draw_images(height: int = 8, width: int = 8, num_images: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((num_images, height, width))


def moved(images: np.ndarray, numbers: dict, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """NCHW with two channels, the second one dimmer: each channel by itself."""
    x = torch.tensor(np.stack([images, images / 2], axis=1), dtype=dtype)
    tensors = {name: torch.tensor(a, dtype=None if a.dtype == bool else dtype) for name, a in numbers.items()}
    result = augment(x, **tensors)
    assert result.dtype == dtype
    return result.double().numpy()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy(quarters: int) -> None:
    images = draw_images()
    turned = moved(images, numbers_for(3, angle=quarters * np.pi / 2))
    np.testing.assert_allclose(turned[:, 0], np.rot90(images, quarters, axes=(1, 2)), atol=1e-13)
    np.testing.assert_allclose(turned[:, 1], turned[:, 0] / 2, atol=1e-15)


def test_a_shift_by_whole_pixels_is_a_slice_with_zeros() -> None:
    images = draw_images()
    shifted = moved(images, numbers_for(3, shift=[2, -1]))[:, 0]  # down and to the left
    expected = np.zeros_like(images)
    expected[:, 2:, :-1] = images[:, :-2, 1:]
    np.testing.assert_allclose(shifted, expected, atol=1e-14)


def test_a_flip_is_the_reversed_row_and_comes_before_the_rotation() -> None:
    images = draw_images()
    flipped = moved(images, numbers_for(3, flip=True))[:, 0]
    np.testing.assert_allclose(flipped, images[:, :, ::-1], atol=1e-14)
    both = moved(images, numbers_for(3, flip=True, angle=np.pi / 2, shift=[1, 0]))[:, 0]
    expected = np.zeros_like(images)
    expected[:, 1:] = np.rot90(images[:, :, ::-1], axes=(1, 2))[:, :-1]
    np.testing.assert_allclose(both, expected, atol=1e-13)


def test_brightness_is_a_factor_and_clipped() -> None:
    images, factors = draw_images(), np.array([0.5, 1.0, 1.5])
    bright = moved(images, numbers_for(3, brightness=factors))[:, 0]
    np.testing.assert_allclose(bright, np.minimum(images * factors[:, None, None], 1), atol=1e-14)
    assert (bright[2] == 1).any()


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_all_at_once_against_scipy(size: tuple[int, int], dtype: torch.dtype) -> None:
    images = draw_images(*size, num_images=6)
    drawn = augmentation(6, angle=np.pi, scale=1.5, shift=3.0, seed=2)
    numbers = {name: rows[0] for name, rows in drawn.items()}
    numbers = {name: a if a.dtype == bool else a.astype(np.float64) for name, a in numbers.items()}
    # A position is at most 20 pixels from the middle, a value changes by at most 2 from pixel to pixel.
    error = np.abs(moved(images, numbers, dtype)[:, 0] - by_scipy(images, numbers)).max()
    assert error <= 20 * 2 * 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize(
    "given",
    [
        {"shift": [0.25, -1.5]},
        {"scale": 2.0},
        {"scale": 0.5, "shift": [1.0, 0.5]},
        {"angle": np.pi / 2, "scale": 2.0, "shift": [-0.75, 2.0]},
    ],
    ids=str,
)
def test_positions_that_opencv_can_hit_against_opencv(given: dict) -> None:
    images = draw_images()
    numbers = numbers_for(3, **given)
    np.testing.assert_allclose(moved(images, numbers)[:, 0], by_opencv(images, numbers), atol=1e-7)


def test_a_network_of_augmented_images() -> None:
    plain = modules.cnn_global_pool([2, 4, 3]).double()
    network = Augmented(plain)
    assert {name for name, _ in network.named_parameters()} == {
        f"network.{name}" for name, _ in plain.named_parameters()
    }
    x = torch.tensor(draw_images(16, 16)).unsqueeze(1).repeat(1, 2, 1, 1)
    numbers = {
        name: torch.tensor(a) for name, a in numbers_for(3, angle=0.2, flip=[True, False, True]).items()
    }
    assert torch.equal(network(x), plain(x))
    assert torch.equal(network(x, **numbers), plain(augment(x, **numbers)))


def test_numbers_for_other_images_are_refused_by_name() -> None:
    numbers = {name: torch.tensor(a) for name, a in numbers_for(3).items()}
    numbers |= {"shift": torch.zeros(2, 2), "scale": torch.ones(2)}
    with pytest.raises(ValueError, match=r"`scale` must be \(3,\) for 3 images, got \(2,\)") as error:
        augment.__wrapped__(torch.ones(3, 1, 4, 4), **numbers)
    assert "`shift` must be (3, 2) for 3 images, got (2, 2)" in str(error.value)
