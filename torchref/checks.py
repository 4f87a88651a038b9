"""The checks of arguments that several modules share."""

from torch import Tensor


def require_same_shape(**tensors: Tensor) -> None:
    """Raise unless all tensors have one shape.

    Broadcasting (N,) against (N, 1) gives (N, N) without a word, so shapes that only broadcast are
    refused.

    Args:
        **tensors: the tensors by the names that the message shall use.

    Raises:
        ValueError: if two shapes differ.
    """
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"`{name}` {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"Shapes must be equal, got {shapes}. Reshape one of them.")


def num_features(input_shape: tuple[int, ...]) -> int:
    """The width of flat inputs.

    Args:
        input_shape: of one input, (D,).

    Returns:
        D.

    Raises:
        ValueError: if the inputs are not flat.
    """
    if len(input_shape) != 1:
        raise ValueError(f"`input_shape` must be (num_features,), got {input_shape}. Flatten the inputs.")
    return input_shape[0]


def num_channels(input_shape: tuple[int, ...]) -> int:
    """The channels of images.

    Args:
        input_shape: of one image, (C, H, W).

    Returns:
        C.

    Raises:
        ValueError: if the inputs are no images.
    """
    if len(input_shape) != 3:
        raise ValueError(f"`input_shape` must be (channels, height, width), got {input_shape}.")
    return input_shape[0]
