"""The one check of arguments that several modules share."""

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
