"""The notebook's networks as Flax NNX modules, and a bridge from any NNX module to a pure function.

The constructors draw their params as the pure models in `jaxnn.models` do, under the same names and in
the same shapes, so that ``functional(module)`` and ``model.apply`` take the same dict.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PyTree

from jaxnn import activations, initializers, layers

__all__ = [
    "CNN",
    "MLP",
    "MODULES",
    "Softmax",
    "cnn",
    "cnn_global_pool",
    "functional",
    "linear",
    "mlp",
    "softmax_module",
]

Params = Mapping[str, PyTree[Array]]
"""The params of a module: by name an array, or those of a part."""


class Softmax(nnx.Module):  # type: ignore[misc]  # flax is untyped here
    """A layer of two bare parameters, ``kernel`` (D, K) from 0.1 N(0, 1) and ``bias`` (K,) of zeros.

    Source: notebook, section 4.4.2, first class.
    """

    def __init__(self, num_features: int, num_outputs: int, *, rngs: nnx.Rngs) -> None:
        draw = initializers.normal(0.1)
        self.kernel = nnx.Param(draw(rngs.params(), (num_features, num_outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(num_outputs, jnp.float32))

    def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N K"]:
        """Computes the logits of a batch."""
        return layers.dense({"kernel": self.kernel[...], "bias": self.bias[...]}, x)


class MLP(nnx.Module):  # type: ignore[misc]
    """Dense layers ``dense_0``, ``dense_1``, ... with ReLU between them.

    Source: notebook, section 4.4.4.
    """

    def __init__(self, sizes: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        self.num_layers = len(sizes) - 1
        for i, (num_inputs, num_outputs) in enumerate(itertools.pairwise(sizes)):
            setattr(self, f"dense_{i}", linear(num_inputs, num_outputs, rngs=rngs))

    def __call__(self, x: Float[Array, "N D"]) -> Float[Array, "N K"]:
        """Computes the logits of a batch."""
        for i in range(self.num_layers):
            x = getattr(self, f"dense_{i}")(x)
            if i < self.num_layers - 1:
                x = activations.relu(x)
        return x


class CNN(nnx.Module):  # type: ignore[misc]
    """3 x 3 convolutions of stride 2 and padding 1, ``conv_0``, ``conv_1``, ..., and a pool.

    Source: notebook, section 4.6; with ``global_pool`` the network of `jaxnn.models.cnn_global_pool`.
    """

    def __init__(self, num_channels: tuple[int, ...], *, global_pool: bool, rngs: nnx.Rngs) -> None:
        self.num_layers = len(num_channels) - 1
        self.global_pool = global_pool
        for i, (num_inputs, num_outputs) in enumerate(itertools.pairwise(num_channels)):
            draw = initializers.torch_uniform(9 * num_inputs)
            convolution = nnx.Conv(
                num_inputs,
                num_outputs,
                kernel_size=(3, 3),
                strides=(2, 2),
                padding=((1, 1), (1, 1)),
                kernel_init=draw,
                bias_init=draw,
                rngs=rngs,
            )
            setattr(self, f"conv_{i}", convolution)

    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N K"]:
        """Computes the logits of a batch."""
        for i in range(self.num_layers):
            x = getattr(self, f"conv_{i}")(x)
            if i < self.num_layers - 1 or not self.global_pool:
                x = activations.relu(x)
        if self.global_pool:
            return layers.global_avg_pool(x)
        return layers.flatten_channels_first(layers.avg_pool(x, 4))


def softmax_module(num_features: int, num_outputs: int, *, rngs: nnx.Rngs) -> Softmax:
    """Returns the module of two bare parameters.

    Args:
        num_features: D.
        num_outputs: K.
        rngs: Random streams; the stream ``params`` is drawn from.

    Returns:
        A module that maps (N, D) to logits (N, K).

    Source: notebook, section 4.4.2.
    """
    return Softmax(num_features, num_outputs, rngs=rngs)


def linear(num_features: int, num_outputs: int, *, rngs: nnx.Rngs) -> nnx.Linear:
    """Returns one library layer, drawn as PyTorch draws it.

    Args:
        num_features: D.
        num_outputs: K.
        rngs: Random streams; the stream ``params`` is drawn from.

    Returns:
        A module that maps (N, D) to logits (N, K).

    Source: notebook, section 4.4.2.
    """
    draw = initializers.torch_uniform(num_features)
    return nnx.Linear(num_features, num_outputs, kernel_init=draw, bias_init=draw, rngs=rngs)


def mlp(sizes: tuple[int, ...], *, rngs: nnx.Rngs) -> MLP:
    """Returns dense layers with ReLU between them.

    Args:
        sizes: Number of features, of units of each hidden layer, and of outputs.
        rngs: Random streams; the stream ``params`` is drawn from.

    Returns:
        A module that maps (N, D) to logits (N, K).

    Source: notebook, section 4.4.4.
    """
    return MLP(sizes, rngs=rngs)


def cnn(num_channels: tuple[int, ...] = (1, 16, 16, 10), *, rngs: nnx.Rngs) -> CNN:
    """Returns the convolutional network as printed: ReLU, average pool of 4, channel-first flatten.

    Args:
        num_channels: Channels of the images and of each convolution.
        rngs: Random streams; the stream ``params`` is drawn from.

    Returns:
        A module that maps images (N, H, W, C) to logits, 40 of them for 64 x 64 images.

    Source: notebook, section 4.6.
    """
    return CNN(num_channels, global_pool=False, rngs=rngs)


def cnn_global_pool(num_channels: tuple[int, ...] = (1, 16, 16, 10), *, rngs: nnx.Rngs) -> CNN:
    """Returns the convolutional network with one logit per class.

    Args:
        num_channels: Channels of the images and of each convolution, the last one K.
        rngs: Random streams; the stream ``params`` is drawn from.

    Returns:
        A module that maps images (N, H, W, C) to logits (N, K).
    """
    return CNN(num_channels, global_pool=True, rngs=rngs)


def functional(module: nnx.Module) -> tuple[Callable[..., PyTree], Params]:
    """Returns an NNX module as a pure function and the dict of its params.

    Args:
        module: Any NNX module; left as it is. Variables other than ``nnx.Param`` (running statistics,
            random streams) keep the values they have now, and what a call does to them is discarded:
            switch the module to evaluation first.

    Returns:
        ``(apply, params)``: ``apply(params, *args, **kwargs)`` calls the module with these params, a
        plain nested dict of arrays.

    >>> apply, params = functional(linear(3, 2, rngs=nnx.Rngs(0)))
    >>> apply(params, jnp.ones((4, 3))).shape, sorted(params)
    ((4, 2), ['bias', 'kernel'])
    """
    graph, state, rest = nnx.split(module, nnx.Param, ...)
    template = nnx.to_pure_dict(state)
    structure = jax.tree.structure(template)

    def apply(params: Params, *args: object, **kwargs: object) -> PyTree:
        given: object = jax.tree.structure(params)
        if given != structure:
            raise ValueError(
                f"`params` has the structure {given}: it must be {structure}, "
                f"that of the dict returned with this function."
            )
        filled = jax.tree.map(lambda leaf: leaf, state)  # replacing works in place, on this copy
        nnx.replace_by_pure_dict(filled, dict(params))
        return nnx.merge(graph, filled, rest, copy=True)(*args, **kwargs)

    return apply, template


MODULES: Mapping[str, Callable[..., nnx.Module]] = MappingProxyType(
    {
        "softmax_module": lambda shape, hidden, num_outputs, rngs: softmax_module(
            math.prod(shape), num_outputs, rngs=rngs
        ),
        "linear": lambda shape, hidden, num_outputs, rngs: linear(math.prod(shape), num_outputs, rngs=rngs),
        "linear_minibatch": lambda shape, hidden, num_outputs, rngs: linear(
            math.prod(shape), num_outputs, rngs=rngs
        ),
        "mlp": lambda shape, hidden, num_outputs, rngs: mlp(
            (math.prod(shape), *hidden, num_outputs), rngs=rngs
        ),
        "cnn": lambda shape, hidden, num_outputs, rngs: cnn((shape[-1], *hidden, num_outputs), rngs=rngs),
        "cnn_global_pool": lambda shape, hidden, num_outputs, rngs: cnn_global_pool(
            (shape[-1], *hidden, num_outputs), rngs=rngs
        ),
    }
)
"""The experiments that the notebook writes as modules: ``(shape of one input, hidden units, number of
outputs, rngs=...)`` makes the module."""
