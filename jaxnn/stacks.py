"""Layers one after another: how the params of deep networks are drawn, and how they are applied.

The functions depend on no size: the networks of all sizes in `jaxnn.models` share them. N samples,
D features, K outputs, M hidden units or channels of all layers together.
"""

from collections.abc import Mapping

import jax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Key

from jaxnn import activations, layers

__all__ = ["apply_cnn", "apply_cnn_global_pool", "apply_mlp", "init_stack"]

Stack = Mapping[str, Mapping[str, Array]]
"""The params of consecutive layers, named by a prefix and their position."""


def init_stack(
    prefix: str, key: Key[Array, ""], kernel_shapes: list[tuple[int, ...]], dtype: DTypeLike
) -> Stack:
    """Draws the params of consecutive layers.

    Args:
        prefix: What the layers are called, ``<prefix>_0`` and so on.
        key: Random key.
        kernel_shapes: Shape of each layer's kernel.
        dtype: Floating dtype.

    Returns:
        The params of each layer by its name.
    """
    keys = jax.random.split(key, len(kernel_shapes))
    return {
        f"{prefix}_{i}": layers.init_layer(keys[i], shape, dtype) for i, shape in enumerate(kernel_shapes)
    }


def apply_mlp(
    params: Stack,
    x: Float[Array, "N D"],
    keep: Bool[Array, "N M"] | None = None,
    *,
    dropout_rate: float = 0.0,
) -> Float[Array, "N K"]:
    """Computes the logits of dense layers ``dense_0``, ``dense_1``, ... with ReLU between them.

    Args:
        params: The layers.
        x: Inputs.
        keep: Which hidden units stay in training; None for all.
        dropout_rate: Share of the hidden units that `keep` leaves out.
    """
    for i in range(len(params)):
        x = layers.dense(params[f"dense_{i}"], x)
        if i < len(params) - 1:
            x = _dropped(params, "dense", i, activations.relu(x), keep, dropout_rate)
    return x


def apply_cnn(params: Stack, x: Float[Array, "N H W C"]) -> Float[Array, "N L"]:
    """Computes the logits of convolutions ``conv_0``, ... with ReLU, an average pool and a flatten.

    Args:
        params: The layers.
        x: Images.
    """
    for i in range(len(params)):
        x = activations.relu(_convolve(params, i, x))
    return layers.flatten_channels_first(layers.avg_pool(x, 4))


def apply_cnn_global_pool(
    params: Stack,
    x: Float[Array, "N H W C"],
    keep: Bool[Array, "N M"] | None = None,
    *,
    dropout_rate: float = 0.0,
) -> Float[Array, "N K"]:
    """Computes the logits of convolutions ``conv_0``, ... with ReLU between them and a mean over all pixels.

    Args:
        params: The layers.
        x: Images.
        keep: Which hidden channels stay in training; None for all.
        dropout_rate: Share of the hidden channels that `keep` leaves out.
    """
    for i in range(len(params)):
        x = _convolve(params, i, x)
        if i < len(params) - 1:
            x = _dropped(params, "conv", i, activations.relu(x), keep, dropout_rate)
    return layers.global_avg_pool(x)


def _convolve(params: Stack, i: int, x: Float[Array, "N H W C"]) -> Float[Array, "N P Q K"]:
    return layers.conv2d(params[f"conv_{i}"], x, strides=(2, 2), padding=((1, 1), (1, 1)))


def _dropped(
    params: Stack, prefix: str, i: int, x: Float[Array, "N ..."], keep: Bool[Array, "N M"] | None, rate: float
) -> Float[Array, "N ..."]:
    """Applies dropout after hidden layer i, by that layer's columns of `keep`."""
    if keep is None:
        return x
    widths = [params[f"{prefix}_{j}"]["bias"].shape[0] for j in range(len(params) - 1)]
    if keep.shape != (x.shape[0], sum(widths)):
        raise ValueError(
            f"`keep` has shape {keep.shape}: it must be {(x.shape[0], sum(widths))}, one entry per sample "
            f"and hidden unit, the layers' {widths} beside one another."
        )
    start = sum(widths[:i])
    return layers.dropout(x, keep[:, start : start + widths[i]], rate)
