"""The layers that the models are made of: pure functions of ``(params, x)``.

Params of a layer are ``{"kernel": ..., "bias": ...}``, images are NHWC, kernels HWIO. N samples,
H x W pixels, C channels, D features, K outputs.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from jaxnn.correlation import correlate
from jaxnn.initializers import Initializer, torch_uniform

__all__ = [
    "avg_pool",
    "conv2d",
    "dense",
    "dropout",
    "flatten_channels_first",
    "global_avg_pool",
    "init_layer",
]


def init_layer(
    key: Key[Array, ""],
    kernel_shape: tuple[int, ...],
    dtype: DTypeLike = jnp.float32,
    *,
    kernel_init: Initializer | None = None,
    bias_init: Initializer | None = None,
) -> dict[str, Float[Array, "..."]]:
    """Draws kernel and bias of a dense or convolutional layer.

    Args:
        key: Random key.
        kernel_shape: ``(D, K)`` or ``(kernel height, kernel width, C, K)``; the bias has shape ``(K,)``.
        dtype: Floating dtype.
        kernel_init: How the kernel is drawn; PyTorch's default, `torch_uniform`, when None.
        bias_init: The same for the bias.

    Returns:
        ``{"kernel": ..., "bias": ...}``.

    >>> init_layer(jax.random.key(0), (3, 3, 1, 16))["bias"].shape
    (16,)
    """
    *inputs, num_outputs = kernel_shape
    default = torch_uniform(math.prod(inputs))
    kernel_key, bias_key = jax.random.split(key)
    return {
        "kernel": (kernel_init or default)(kernel_key, kernel_shape, dtype),
        "bias": (bias_init or default)(bias_key, (num_outputs,), dtype),
    }


def dense(params: Mapping[str, Array], x: Float[Array, "N D"]) -> Float[Array, "N K"]:
    """Computes ``x W + b``.

    Args:
        params: ``{"kernel": (D, K), "bias": (K,)}``.
        x: Inputs.

    Returns:
        Outputs, in the dtype of the inputs.

    Raises:
        ValueError: If `x` has another number of features than the kernel.

    Differs: PyTorch stores the kernel transposed, ``(K, D)``.

    >>> dense({"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}, jnp.ones((1, 3))).tolist()
    [[3.0, 3.0]]
    """
    kernel, bias = params["kernel"], params["bias"]
    if x.ndim != 2 or x.shape[1] != kernel.shape[0]:
        raise ValueError(
            f"`x` has shape {x.shape}, the kernel {kernel.shape}: `x` must be (N, {kernel.shape[0]}); "
            f"flatten the inputs or build the model for their number of features."
        )
    return x @ kernel + jnp.broadcast_to(bias, (x.shape[0], kernel.shape[1]))


def conv2d(
    params: Mapping[str, Array],
    x: Float[Array, "N H W C"],
    *,
    strides: tuple[int, int] = (1, 1),
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0)),
) -> Float[Array, "N P Q K"]:
    """Computes the two-dimensional cross-correlation of images with a kernel.

        y[n, p, q, k] = b[k] + sum_{i, j, c} w[i, j, c, k] x[n, s p + i, s q + j, c]

    with ``x`` padded by zeros and ``s`` the stride.

    Args:
        params: ``{"kernel": (kernel height, kernel width, C, K), "bias": (K,)}``.
        x: Images.
        strides: Step of the window, down and across.
        padding: Rows of zeros added (above, below) and columns added (left, right).

    Returns:
        Images of K channels and (H + padding - kernel height) // stride + 1 rows, columns likewise.

    Raises:
        ValueError: If `x` is not (N, H, W, C) with the kernel's C, or smaller than the kernel.

    Differs: PyTorch takes NCHW images and (K, C, height, width) kernels. The padding is explicit
    because "SAME" pads unevenly at stride 2, unlike any symmetric padding in PyTorch.

    Source: notebook, section 4.6.

    >>> params = {"kernel": jnp.ones((3, 3, 1, 2)), "bias": jnp.zeros(2)}
    >>> conv2d(params, jnp.ones((1, 8, 8, 1)), strides=(2, 2), padding=((1, 1), (1, 1))).shape
    (1, 4, 4, 2)
    """
    kernel, bias = params["kernel"], params["bias"]
    if x.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise ValueError(
            f"`x` has shape {x.shape}, the kernel {kernel.shape}: `x` must be "
            f"(N, H, W, {kernel.shape[2]}); bring the channels last."
        )
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    if x.shape[1] < kernel.shape[0] or x.shape[2] < kernel.shape[1]:
        raise ValueError(
            f"`x` has shape {x.shape} with its padding, the kernel {kernel.shape}: the images must be at "
            f"least as large as the kernel; give larger images or more padding."
        )
    y: Array = correlate(x, kernel, strides)
    return y + jnp.broadcast_to(bias, y.shape)


def avg_pool(x: Float[Array, "N H W C"], size: int) -> Float[Array, "N P Q C"]:
    """Computes the means over disjoint windows of ``size`` x ``size`` pixels.

    Args:
        x: Images.
        size: Height and width of a window, and its step. Rows and columns that fill no window are left
            out, as PyTorch does.

    Returns:
        Images of H // size x W // size pixels.

    Raises:
        ValueError: If `size` is below 1 or no window fits.

    Source: notebook, section 4.6.

    >>> avg_pool(jnp.arange(16.0).reshape(1, 4, 4, 1), 4).tolist()
    [[[[7.5]]]]
    """
    num_samples, height, width, num_channels = x.shape
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"`size` is {size}, `x` has shape {x.shape}: `size` must be between 1 and "
            f"{min(height, width)}; give larger images or a smaller window."
        )
    rows, columns = height // size, width // size
    windows = x[:, : rows * size, : columns * size, :].reshape(
        num_samples, rows, size, columns, size, num_channels
    )
    return windows.mean(axis=(2, 4))


def global_avg_pool(x: Float[Array, "N H W C"]) -> Float[Array, "N C"]:
    """Computes the mean of every channel over all its pixels.

    Args:
        x: Images.

    Returns:
        One value per sample and channel.
    """
    return x.mean(axis=(1, 2))


def flatten_channels_first(x: Float[Array, "N H W C"]) -> Float[Array, "N L"]:
    """Flattens images into vectors in the order channel, row, column.

    Args:
        x: Images.

    Returns:
        Vectors of length L = C H W.

    Differs: a plain reshape of NHWC gives row, column, channel. PyTorch's images are NCHW, so that its
    flatten gives this order; porting weights of a following layer needs it.

    Source: notebook, section 4.6.

    >>> flatten_channels_first(jnp.arange(4.0).reshape(1, 2, 1, 2)).tolist()
    [[0.0, 2.0, 1.0, 3.0]]
    """
    return jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)


def dropout(x: Float[Array, "N ... K"], keep: Bool[Array, "N K"], rate: float) -> Float[Array, "N ... K"]:
    """Leaves out units, of images whole channels, and scales up the others to make up for it.

        y = x / (1 - rate) where `keep`, else 0

    Args:
        x: Hidden units, or images NHWC.
        keep: Which units of each sample stay, as `data.draws.keep` draws them.
        rate: Share of the units that is left out, in [0, 1).

    Returns:
        An array like `x`; over the draws of `keep` its mean is `x`.

    Raises:
        ValueError: If `keep` is not (N, K).

    Differs: ``torch.nn.Dropout`` and ``flax.nnx.Dropout`` draw the mask themselves, so that no other program
    can have the same.

    Source: notebook, section 4.5; Srivastava et al. 2014.

    >>> dropout(jnp.ones((1, 4)), jnp.array([[True, False, True, True]]), 0.5).tolist()
    [[2.0, 0.0, 2.0, 2.0]]
    """
    if keep.shape != (x.shape[0], x.shape[-1]):
        raise ValueError(
            f"`keep` has shape {keep.shape}, `x` {x.shape}: `keep` must be {(x.shape[0], x.shape[-1])}, "
            f"one entry per sample and unit."
        )
    per_unit = keep.reshape(x.shape[0], *[1] * (x.ndim - 2), x.shape[-1])
    return jnp.where(jnp.broadcast_to(per_unit, x.shape), x / (1 - rate), jnp.zeros_like(x))
