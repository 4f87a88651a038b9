"""The networks of the notebook, each a pair of pure functions, `Model`.

The constructors are cached: equal arguments give the same two functions, so that a program compiled
for a network is found again. All networks return logits (or real predictions), never probabilities.
N samples, D features, K outputs.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxnn import activations, initializers, layers, stacks

__all__ = [
    "NETWORKS",
    "Model",
    "Params",
    "cnn",
    "cnn_global_pool",
    "linear",
    "logistic",
    "mlp",
    "scalar_output",
    "softmax",
    "two_layer",
]

Layer = Mapping[str, Array]
"""The params of a layer, ``{"kernel": ..., "bias": ...}``."""

Layers = Mapping[str, Layer]
"""The params of a network of several layers, by the names of the layers."""

Params = Layer | Layers
"""The params of a network."""

Activation = Callable[[Array], Array]


@runtime_checkable
class Init(Protocol):
    """How the params of a network are drawn."""

    def __call__(self, key: Key[Array, ""], dtype: DTypeLike = ...) -> Params:
        """Draws them from a random key."""


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
        init: ``init(key, dtype=float32) -> params``, a nested dict of arrays.
        apply: ``apply(params, x) -> logits``, of the params that `init` draws. Networks that train with
            random numbers take these as keyword arguments; without them they are the networks to evaluate.
    """

    init: Init
    apply: Callable[..., Array]


@functools.cache
def linear(
    num_features: int,
    num_outputs: int,
    *,
    kernel_init: initializers.Initializer | None = None,
    bias_init: initializers.Initializer | None = None,
) -> Model:
    """Returns one affine layer, ``x W + b``.

    Args:
        num_features: D.
        num_outputs: K.
        kernel_init: How W is drawn; PyTorch's default, `jaxnn.initializers.torch_uniform`, when None.
        bias_init: The same for b.

    Returns:
        A model with params ``{"kernel": (D, K), "bias": (K,)}`` and logits of shape (N, K).

    Source: notebook, sections 3.2.2 and 4.4.

    >>> model = linear(4, 3)
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 4))).shape
    (2, 3)
    """

    def init(key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> Layer:
        shape = (num_features, num_outputs)
        return layers.init_layer(key, shape, dtype, kernel_init=kernel_init, bias_init=bias_init)

    return Model(init, layers.dense)


@functools.cache
def scalar_output(model: Model) -> Model:
    """Returns a model of one output as a model of real numbers: (N, 1) becomes (N,).

    Args:
        model: A model whose `apply` returns (N, 1).

    Returns:
        A model with the same params.
    """

    def apply(params: Params, x: Float[Array, "N ..."]) -> Float[Array, " N"]:
        return jnp.squeeze(model.apply(params, x), axis=1)

    return Model(model.init, apply)


@functools.cache
def logistic(num_features: int) -> Model:
    """Returns the single unit of logistic regression, weights drawn from 0.1 N(0, 1).

    Args:
        num_features: D.

    Returns:
        A model with params ``{"kernel": (D, 1), "bias": (1,)}`` and logits of shape (N,).

    Source: notebook, section 3.1.

    >>> logistic(2).apply({"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)}, jnp.ones((3, 2))).tolist()
    [2.0, 2.0, 2.0]
    """
    draw = initializers.normal(0.1)
    return scalar_output(linear(num_features, 1, kernel_init=draw, bias_init=draw))


@functools.cache
def softmax(num_features: int, num_outputs: int, *, zero_bias: bool = False) -> Model:
    """Returns the layer of softmax regression, weights drawn from 0.1 N(0, 1).

    Args:
        num_features: D.
        num_outputs: K.
        zero_bias: Start from a bias of zeros, as section 4.4 does, instead of drawing it too.

    Returns:
        A model with params ``{"kernel": (D, K), "bias": (K,)}`` and logits of shape (N, K).

    Source: notebook, sections 3.2.5 and 4.4.1.
    """
    draw = initializers.normal(0.1)
    bias_init = initializers.zeros if zero_bias else draw
    return linear(num_features, num_outputs, kernel_init=draw, bias_init=bias_init)


@functools.cache
def two_layer(
    num_features: int, num_hidden: int = 5, hidden_activation: Activation = activations.tanh
) -> Model:
    """Returns the two-layer binary classifier, all weights drawn from 0.01 N(0, 1).

        logit = w2 . g(W1 x + b1) + b2

    Args:
        num_features: D.
        num_hidden: H, number of hidden units.
        hidden_activation: g; `jaxnn.activations.shifted_logistic` is the notebook's code.

    Returns:
        A model with params ``{"hidden": {"kernel": (D, H), "bias": (H,)}, "output": {"kernel": (H, 1),
        "bias": (1,)}}`` and logits of shape (N,).

    Source: notebook, section 3.3.1.
    """
    draw = initializers.normal(0.01)

    def init(key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> Layers:
        shapes = {"hidden": (num_features, num_hidden), "output": (num_hidden, 1)}
        keys = jax.random.split(key, len(shapes))
        return {
            name: layers.init_layer(layer_key, shape, dtype, kernel_init=draw, bias_init=draw)
            for layer_key, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    def apply(params: Layers, x: Float[Array, "N D"]) -> Float[Array, "N 1"]:
        h = hidden_activation(layers.dense(params["hidden"], x))
        return layers.dense(params["output"], h)

    return scalar_output(Model(init, apply))


@functools.cache
def mlp(sizes: tuple[int, ...], *, dropout_rate: float = 0.0) -> Model:
    """Returns dense layers with ReLU between them, and with dropout if wanted.

    Args:
        sizes: Number of features, of units of each hidden layer, and of outputs.
        dropout_rate: Share of the hidden units that a training step leaves out. Above 0 there is
            ``apply(params, x, keep=...)`` for training: `keep` (N, all hidden units) says which stay.

    Returns:
        A model with params ``{"dense_0": {"kernel", "bias"}, "dense_1": ...}`` and logits (N, K).

    Raises:
        ValueError: If `sizes` has fewer than two entries, or `dropout_rate` is not in [0, 1).

    Source: notebook, sections 4.4.4 and 4.5 (dropout).

    >>> [p["kernel"].shape for p in mlp((64, 20, 10)).init(jax.random.key(0)).values()]
    [(64, 20), (20, 10)]
    """
    if len(sizes) < 2:
        raise ValueError(f"`sizes` is {sizes}: it must name the features and the outputs at least.")

    def init(key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> Layers:
        return stacks.init_stack("dense", key, list(itertools.pairwise(sizes)), dtype)

    return Model(init, _with_dropout(stacks.apply_mlp, dropout_rate))


@functools.cache
def cnn(num_channels: tuple[int, ...] = (1, 16, 16, 10)) -> Model:
    """Returns the convolutional network as the notebook printed it.

    3 x 3 convolutions of stride 2 and padding 1, each followed by ReLU, an average pool of 4 and a
    channel-first flatten. For images of 64 x 64 that gives 2 x 2 x 10 = 40 logits, none negative:
    `cnn_global_pool` is the network it meant to be.

    Args:
        num_channels: Channels of the images and of each convolution.

    Returns:
        A model with params ``{"conv_0": {"kernel": (3, 3, 1, 16), "bias": (16,)}, ...}``; inputs are
        (N, H, W, C).

    Raises:
        ValueError: If `num_channels` has fewer than two entries.

    Differs: PyTorch's images are NCHW.

    Source: notebook, section 4.6.

    >>> model = cnn()
    >>> model.apply(model.init(jax.random.key(0)), jnp.ones((2, 64, 64, 1))).shape
    (2, 40)
    """
    return Model(_conv_init(num_channels), stacks.apply_cnn)


@functools.cache
def cnn_global_pool(num_channels: tuple[int, ...] = (1, 16, 16, 10), *, dropout_rate: float = 0.0) -> Model:
    """Returns the convolutional network that the notebook meant: one logit per class, of either sign.

    As `cnn`, but without ReLU after the last convolution and with a mean over all pixels.

    Args:
        num_channels: Channels of the images and of each convolution, the last one K.
        dropout_rate: Share of the hidden channels that a training step leaves out. Above 0 there is
            ``apply(params, x, keep=...)`` for training: `keep` (N, all hidden channels) says which stay.

    Returns:
        A model with the params of `cnn` and logits of shape (N, K).

    Raises:
        ValueError: If `num_channels` has fewer than two entries, or `dropout_rate` is not in [0, 1).

    Source: this project; compare the notebook, sections 4.6 and 4.5 (dropout).
    """
    return Model(_conv_init(num_channels), _with_dropout(stacks.apply_cnn_global_pool, dropout_rate))


@functools.cache
def _with_dropout(apply: Callable[..., Array], rate: float) -> Callable[..., Array]:
    """Returns a network of a dropout rate; without dropout the function that networks of all sizes share."""
    if not 0 <= rate < 1:
        raise ValueError(f"`dropout_rate` is {rate}: it must be at least 0 and below 1.")
    return functools.partial(apply, dropout_rate=rate) if rate else apply


def _conv_init(num_channels: tuple[int, ...]) -> Init:
    """Returns the `init` of a stack of 3 x 3 convolutions."""
    if len(num_channels) < 2:
        raise ValueError(
            f"`num_channels` is {num_channels}: it must name the channels of the images and of one "
            f"convolution at least."
        )

    def init(key: Key[Array, ""], dtype: DTypeLike = jnp.float32) -> Layers:
        shapes: list[tuple[int, ...]] = [(3, 3, *pair) for pair in itertools.pairwise(num_channels)]
        return stacks.init_stack("conv", key, shapes, dtype)

    return init


NETWORKS: Mapping[str, Callable[..., Model]] = MappingProxyType(
    {
        "logistic": lambda shape, hidden, num_outputs: logistic(math.prod(shape)),
        "softmax": lambda shape, hidden, num_outputs: softmax(math.prod(shape), num_outputs),
        "two_layer_tanh": lambda shape, hidden, num_outputs: two_layer(math.prod(shape), hidden[0]),
        "two_layer_as_coded": lambda shape, hidden, num_outputs: two_layer(
            math.prod(shape), hidden[0], activations.shifted_logistic
        ),
        "two_layer_as_printed": lambda shape, hidden, num_outputs: two_layer(
            math.prod(shape), hidden[0], activations.shifted_logistic_as_printed
        ),
        "softmax_mean_all": lambda shape, hidden, num_outputs: softmax(
            math.prod(shape), num_outputs, zero_bias=True
        ),
        "softmax_module": lambda shape, hidden, num_outputs: softmax(
            math.prod(shape), num_outputs, zero_bias=True
        ),
        "linear": lambda shape, hidden, num_outputs: linear(math.prod(shape), num_outputs),
        "linear_minibatch": lambda shape, hidden, num_outputs: linear(math.prod(shape), num_outputs),
        "mlp": lambda shape, hidden, num_outputs, **dropout: mlp(
            (math.prod(shape), *hidden, num_outputs), **dropout
        ),
        "cnn": lambda shape, hidden, num_outputs: cnn((shape[-1], *hidden, num_outputs)),
        "cnn_global_pool": lambda shape, hidden, num_outputs, **dropout: cnn_global_pool(
            (shape[-1], *hidden, num_outputs), **dropout
        ),
        "regression": lambda shape, hidden, num_outputs: scalar_output(mlp((math.prod(shape), *hidden, 1))),
    }
)
"""The network of each experiment, from the shape of one input, the hidden units and the number of outputs;
some take a ``dropout_rate``."""
