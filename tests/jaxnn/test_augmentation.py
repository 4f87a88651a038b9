import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.draws import augmentation
from jaxnn import models
from jaxnn.augmentation import augment, augmented
from tests.kit.affine import by_opencv, by_scipy, numbers_for

compiled = jax.jit(augment)


def draw_images(height=8, width=8, num_images=3, seed=0):
    return np.random.default_rng(seed).random((num_images, height, width))


def moved(images, numbers, dtype=np.float64):
    """NHWC with two channels, the second one dimmer: each channel by itself."""
    x = np.stack([images, images / 2], axis=-1).astype(dtype)
    numbers = {name: a if a.dtype == bool else a.astype(dtype) for name, a in numbers.items()}
    result = compiled(x, **numbers)
    assert result.dtype == dtype
    return np.asarray(result, np.float64)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_those_of_numpy(quarters, x64):
    images = draw_images()
    turned = moved(images, numbers_for(3, angle=quarters * np.pi / 2))
    np.testing.assert_allclose(turned[..., 0], np.rot90(images, quarters, axes=(1, 2)), atol=1e-13)
    np.testing.assert_allclose(turned[..., 1], turned[..., 0] / 2, atol=1e-15)


def test_a_shift_by_whole_pixels_is_a_slice_with_zeros(x64):
    images = draw_images()
    shifted = moved(images, numbers_for(3, shift=[2, -1]))[..., 0]  # down and to the left
    expected = np.zeros_like(images)
    expected[:, 2:, :-1] = images[:, :-2, 1:]
    np.testing.assert_allclose(shifted, expected, atol=1e-14)


def test_a_flip_is_the_reversed_row_and_comes_before_the_rotation(x64):
    images = draw_images()
    np.testing.assert_allclose(
        moved(images, numbers_for(3, flip=True))[..., 0], images[:, :, ::-1], atol=1e-14
    )
    both = moved(images, numbers_for(3, flip=True, angle=np.pi / 2, shift=[1, 0]))[..., 0]
    expected = np.zeros_like(images)
    expected[:, 1:] = np.rot90(images[:, :, ::-1], axes=(1, 2))[:, :-1]
    np.testing.assert_allclose(both, expected, atol=1e-13)


def test_half_a_pixel_is_the_mean_of_two_and_fades_at_the_border(x64):
    images = draw_images()
    shifted = moved(images, numbers_for(3, shift=[0, 0.5]))[..., 0]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 0)))
    np.testing.assert_allclose(shifted, (padded[:, :, :-1] + padded[:, :, 1:]) / 2, atol=1e-14)


def test_brightness_is_a_factor_and_clipped(x64):
    images = draw_images()
    bright = moved(images, numbers_for(3, brightness=[0.5, 1.0, 1.5]))[..., 0]
    np.testing.assert_allclose(
        bright, np.minimum(images * np.array([0.5, 1, 1.5])[:, None, None], 1), atol=1e-15
    )
    assert (bright[2] == 1).any()


@pytest.mark.parametrize("size", [(8, 8), (7, 12)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_all_at_once_against_scipy(size, dtype, x64):
    images = draw_images(*size, num_images=6)
    drawn = augmentation(6, angle=np.pi, scale=1.5, shift=3.0, seed=2)
    numbers = {name: rows[0] for name, rows in drawn.items()}
    numbers = {name: a if a.dtype == bool else a.astype(np.float64) for name, a in numbers.items()}
    # A position is at most 20 pixels from the middle, a value changes by at most 2 from pixel to pixel.
    error = np.abs(moved(images, numbers, dtype)[..., 0] - by_scipy(images, numbers)).max()
    assert error <= 20 * 2 * 4 * np.finfo(dtype).eps


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
def test_positions_that_opencv_can_hit_against_opencv(given, x64):
    images = draw_images()
    numbers = numbers_for(3, **given)
    np.testing.assert_allclose(moved(images, numbers)[..., 0], by_opencv(images, numbers), atol=1e-7)


def test_a_network_of_augmented_images(x64):
    plain = models.cnn_global_pool((1, 4, 3))
    model = augmented(plain)
    assert augmented(plain) is model
    params = model.init(jax.random.key(0), jnp.float64)
    x = jnp.asarray(draw_images(16, 16)[..., None])
    numbers = {
        name: jnp.asarray(a) for name, a in numbers_for(3, angle=0.2, flip=[True, False, True]).items()
    }
    np.testing.assert_array_equal(model.apply(params, x), plain.apply(params, x))
    np.testing.assert_array_equal(
        model.apply(params, x, **numbers), plain.apply(params, augment(x, **numbers))
    )


def test_numbers_for_other_images_are_refused_by_name():
    numbers = {name: jnp.asarray(a) for name, a in numbers_for(3).items()}
    numbers |= {"shift": jnp.zeros((2, 2)), "scale": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"`scale` has shape \(2,\): it must be \(3,\)") as error:
        augment.__wrapped__(jnp.ones((3, 4, 4, 1)), **numbers)
    assert "`shift` has shape (2, 2): it must be (3, 2)" in str(error.value)
