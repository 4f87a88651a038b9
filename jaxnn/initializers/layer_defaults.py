"""What each layer of PyTorch draws by itself: an initializer for each of its params, in JAX's layout.

    draw = layer_defaults.conv((3, 3, 8, 64))
    nnx.Conv(8, 64, (3, 3), kernel_init=draw["kernel"], bias_init=draw["bias"], rngs=rngs)

`parity.check_init` compares what two models really draw.
"""

import math

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxnn.initializers.distributions import (
    Initializer,
    constant,
    normal,
    ones,
    torch_uniform,
    uniform,
    zeros,
)

Defaults = dict[str, Initializer]
"""Name of a param -> how it is drawn."""


def linear(num_inputs: int) -> Defaults:
    """Returns the defaults of ``nn.Linear``: kernel and bias from U(-b, b), ``b = 1 / sqrt(num_inputs)``.

    Args:
        num_inputs: Number of input features, at least 1.

    Returns:
        ``kernel`` and ``bias``.

    Differs: Flax's ``Dense`` draws a truncated normal kernel whose standard deviation is ``sqrt(3)`` times
    as large, and zeros.

    Source: PyTorch's ``nn.Linear``.

    >>> bool(abs(linear(4)["bias"](jax.random.key(0), (9,))).max() <= 0.5)
    True
    """
    return dict.fromkeys(("kernel", "bias"), torch_uniform(num_inputs))


def conv(kernel_shape: tuple[int, ...]) -> Defaults:
    """Returns the defaults of ``nn.Conv1d`` to ``nn.Conv3d``: U(-b, b), ``b = 1 / sqrt(|window| I)``.

    Args:
        kernel_shape: ``(*window, I, O)``, where I is the number of inputs per group: what the kernel has,
            and what counts.

    Returns:
        ``kernel`` and ``bias``.

    Source: PyTorch's ``nn.Conv2d``.

    >>> bool(abs(conv((3, 3, 1, 64))["kernel"](jax.random.key(0), (3, 3, 1, 64))).max() <= 1 / 3)
    True
    """
    return dict.fromkeys(("kernel", "bias"), torch_uniform(math.prod(kernel_shape[:-1])))


def conv_transpose(kernel_shape: tuple[int, ...]) -> Defaults:
    """Returns the defaults of ``nn.ConvTranspose1d`` to 3d: U(-b, b), ``b = 1 / sqrt(|window| O)``.

    Args:
        kernel_shape: ``(*window, I, O)``, where O is the number of outputs per group.

    Returns:
        ``kernel`` and ``bias``.

    Differs: The bound follows from the outputs. PyTorch stores this kernel as ``(I, O, *window)`` and
    reads its fan from the second axis, which holds the inputs of a convolution and the outputs here.

    Source: PyTorch's ``nn.ConvTranspose2d``.

    >>> bool(abs(conv_transpose((2, 2, 64, 1))["bias"](jax.random.key(0), (1,))).max() <= 0.5)
    True
    """
    return dict.fromkeys(("kernel", "bias"), torch_uniform(math.prod(kernel_shape[:-2]) * kernel_shape[-1]))


def embedding(padding_idx: int | None = None) -> Defaults:
    """Returns the default of ``nn.Embedding``: N(0, 1), and zeros in the row of the padding token.

    Args:
        padding_idx: Index of that row, counted from the end if negative; None for no such row.

    Returns:
        ``embedding``, for shapes ``(rows, features)``. It raises an IndexError where there is no such row.

    Differs: Flax's ``Embed`` draws from ``N(0, 1 / features)`` and knows no padding.

    Source: PyTorch's ``nn.Embedding``.

    >>> embedding(0)["embedding"](jax.random.key(0), (3, 2))[0].tolist()
    [0.0, 0.0]
    """

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        table = normal(1.0)(key, shape, dtype)
        if padding_idx is None:
            return table
        if not -shape[0] <= padding_idx < shape[0]:
            raise IndexError(f"`padding_idx` is {padding_idx}: the table has {shape[0]} rows.")
        return table.at[padding_idx].set(0)

    return {"embedding": init}


def recurrent(num_hidden: int) -> Defaults:
    """Returns the defaults of ``nn.RNN``, ``nn.LSTM`` and ``nn.GRU``: U(-b, b), ``b = 1 / sqrt(H)``.

    Args:
        num_hidden: H, the number of hidden units, at least 1; the number of inputs does not count.

    Returns:
        ``kernel`` and ``recurrent_kernel``; ``bias``, which PyTorch has twice, and ``summed_bias`` for
        cells that have one in the place of both: the sum of two such draws, in (-2b, 2b).

    Raises:
        ValueError: If `num_hidden` is below 1.

    Differs: Flax draws truncated normal input kernels, orthogonal recurrent ones, and zeros; Keras sets
    the bias of an LSTM's forget gate to 1.

    Source: PyTorch's ``nn.LSTM``.

    >>> sorted(recurrent(16))
    ['bias', 'kernel', 'recurrent_kernel', 'summed_bias']
    """
    draw = torch_uniform(num_hidden)

    def summed(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        first, second = jax.random.split(key)
        return draw(first, shape, dtype) + draw(second, shape, dtype)

    return {"kernel": draw, "recurrent_kernel": draw, "bias": draw, "summed_bias": summed}


def multi_head_attention(
    num_features: int, num_key_features: int | None = None, num_value_features: int | None = None
) -> dict[str, Defaults]:
    """Returns the defaults of ``nn.MultiheadAttention``, for projections held apart or packed.

    Queries, keys and values of equal size are drawn as one matrix of d inputs and 3 d outputs, so Xavier's
    bound is ``sqrt(6 / (d + 3 d))``. Of unequal size, each has the bound of its own fans. Their biases and
    that of the output are zeros; the output's kernel is a linear layer's.

    Args:
        num_features: d, the number of features of queries and output, at least 1.
        num_key_features: Features of the keys; d when None.
        num_value_features: Features of the values; d when None.

    Returns:
        ``kernel`` and ``bias`` of ``query``, ``key``, ``value`` and ``out``; and under ``extra`` those of
        ``bias_k`` and ``bias_v``.

    Differs: Flax's attention draws each projection from a truncated normal distribution of variance 1 / d.
    Xavier's rule on a single d x d projection would give a bound ``sqrt(2)`` times too large.

    Source: PyTorch's ``nn.MultiheadAttention``.

    >>> draw = multi_head_attention(6)["query"]["kernel"]
    >>> bool(abs(draw(jax.random.key(0), (6, 6))).max() <= 0.5)
    True
    """
    sizes = {
        "query": num_features,
        "key": num_features if num_key_features is None else num_key_features,
        "value": num_features if num_value_features is None else num_value_features,
    }
    packed = set(sizes.values()) == {num_features}
    drawn: dict[str, Defaults] = {}
    for name, num_inputs in sizes.items():
        bound = math.sqrt(6 / (num_inputs + (3 if packed else 1) * num_features))
        drawn[name] = {"kernel": uniform(-bound, bound), "bias": zeros}
    drawn["out"] = {"kernel": torch_uniform(num_features), "bias": zeros}
    # Of shape (1, 1, d): fans of d and d.
    drawn["extra"] = dict.fromkeys(("bias_k", "bias_v"), normal(1 / math.sqrt(num_features)))
    return drawn


def bilinear(num_first_inputs: int) -> Defaults:
    """Returns the defaults of ``nn.Bilinear``: U(-b, b), ``b = 1 / sqrt(num_first_inputs)``.

    Args:
        num_first_inputs: Features of the first input, at least 1; those of the second do not count.

    Returns:
        ``kernel`` and ``bias``.

    Source: PyTorch's ``nn.Bilinear``.

    >>> bool(abs(bilinear(4)["kernel"](jax.random.key(0), (4, 100, 2))).max() <= 0.5)
    True
    """
    return linear(num_first_inputs)


def norm() -> Defaults:
    """Returns the defaults of layer, batch, group, instance and RMS norms: ones and zeros.

    Returns:
        ``scale`` and ``bias``, and for batch norm ``mean`` and ``var``.

    Source: PyTorch's ``nn.LayerNorm``, ``nn.BatchNorm2d``.

    >>> sorted(norm())
    ['bias', 'mean', 'scale', 'var']
    """
    return {"scale": ones, "bias": zeros, "mean": zeros, "var": ones}


def prelu(slope: float = 0.25) -> Defaults:
    """Returns the default of ``nn.PReLU``: the same slope everywhere.

    Args:
        slope: The slope.

    Returns:
        ``negative_slope``.

    Differs: Flax's ``PReLU`` starts at 0.01.

    Source: PyTorch's ``nn.PReLU``; He et al. 2015, section 2.1.

    >>> prelu()["negative_slope"](jax.random.key(0), ()).item()
    0.25
    """
    return {"negative_slope": constant(slope)}
