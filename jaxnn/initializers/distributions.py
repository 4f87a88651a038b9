"""Entries that are drawn independently of one another, or not drawn at all."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

Initializer = Callable[..., Array]
"""A function ``(key, shape, dtype=float32) -> array``."""


@functools.cache
def uniform(a: float = 0.0, b: float = 1.0) -> Initializer:
    """Returns an initializer that draws from U(a, b): mean ``(a + b) / 2``, variance ``(b - a)^2 / 12``.

    Args:
        a: Lower bound.
        b: Upper bound, at least `a`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` of entries in ``[a, b)``.

    Raises:
        ValueError: If `b` is below `a`.

    Differs: ``jax.nn.initializers.uniform(scale)`` draws from U(0, scale), never from both sides of zero.

    Source: PyTorch's ``nn.init.uniform_``.

    >>> bool((uniform(-2.0, -1.0)(jax.random.key(0), (100,)) < -1).all())
    True
    """
    if not a <= b:
        raise ValueError(f"`a` is {a} and `b` is {b}: the lower bound must not exceed the upper one.")

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, dtype, minval=a, maxval=b)

    return init


@functools.cache
def normal(scale: float = 1.0, mean: float = 0.0) -> Initializer:
    """Returns an initializer that draws from ``mean + scale * N(0, 1)``.

    Args:
        scale: Standard deviation, at least 0.
        mean: Mean.

    Returns:
        A function ``(key, shape, dtype=float32) -> array``.

    Raises:
        ValueError: If `scale` is negative.

    Differs: ``nn.init.normal_`` takes the mean first; here the standard deviation comes first, as in
    ``jax.nn.initializers.normal``, whose own default is 0.01.

    Source: PyTorch's ``nn.init.normal_``; notebook, sections 3.1.5 and 3.2.5 (0.1), 3.3.3 (0.01) and
    4.4.1 (0.1).

    >>> normal(0.1)(jax.random.key(0), (4096, 10)).shape
    (4096, 10)
    """
    if not scale >= 0:
        raise ValueError(f"`scale` is {scale}: a standard deviation must be at least 0.")

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        drawn = scale * jax.random.normal(key, shape, dtype)
        return drawn + mean if mean else drawn

    return init


@functools.cache
def trunc_normal(mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Initializer:
    """Returns an initializer that draws from ``N(mean, std^2)`` given that the result lies in ``[a, b]``.

    Args:
        mean: Mean before truncation.
        std: Standard deviation before truncation, above 0.
        a: Least value that can be drawn, in the units of the result.
        b: Greatest value that can be drawn, above `a`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array``.

    Raises:
        ValueError: If `std` is not above 0, or `b` not above `a`.

    Differs: The bounds of ``jax.nn.initializers.truncated_normal`` are counted in standard deviations,
    those here are absolute: with ``std=0.02`` the default bounds cut off nothing. What
    ``variance_scaling(..., "truncated_normal")`` draws is widened by 1 / 0.8796, so that its standard
    deviation after truncation is the one asked for; here it is smaller than `std`.

    Source: PyTorch's ``nn.init.trunc_normal_``.

    >>> drawn = trunc_normal(std=0.02, a=-0.04, b=0.04)(jax.random.key(0), (1000,))
    >>> bool(abs(drawn).max() <= 0.04)
    True
    """
    if not std > 0:
        raise ValueError(f"`std` is {std}: the standard deviation must be above 0.")
    if not a < b:
        raise ValueError(f"`a` is {a} and `b` is {b}: the lower bound must be below the upper one.")

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        drawn = jax.random.truncated_normal(key, (a - mean) / std, (b - mean) / std, shape, dtype)
        return jnp.clip(mean + std * drawn, a, b)  # rounding may lead out of the bounds

    return init


@functools.cache
def torch_uniform(fan_in: int) -> Initializer:
    """Returns the default initializer of PyTorch's linear and convolutional layers.

    Kernel and bias are both uniform in ``[-1/sqrt(fan_in), 1/sqrt(fan_in))``, whose variance is
    ``1 / (3 fan_in)``. `layer_defaults` works out the fan of each layer.

    Args:
        fan_in: Number of inputs of one output unit: the features of a dense layer, height x width x
            channels of a convolution's kernel. The bias takes the value of its kernel.

    Returns:
        A function ``(key, shape, dtype=float32) -> array``.

    Raises:
        ValueError: If `fan_in` is below 1.

    Differs: Flax's default is a normal distribution of variance ``1 / fan_in``, cut off at two
    standard deviations, with a bias of zeros.

    Source: PyTorch's ``Linear.reset_parameters``; LeCun et al. 1998, Efficient BackProp, section 4.6.

    >>> bool(abs(torch_uniform(4)(jax.random.key(0), (100,))).max() <= 0.5)
    True
    """
    if fan_in < 1:
        raise ValueError(f"`fan_in` is {fan_in}: a unit must have at least 1 input.")
    bound = 1 / math.sqrt(fan_in)
    return uniform(-bound, bound)


@functools.cache
def constant(value: float) -> Initializer:
    """Returns an initializer that fills an array with a number and ignores its key.

    Args:
        value: The number.

    Returns:
        A function ``(key, shape, dtype=float32) -> array``.

    Source: PyTorch's ``nn.init.constant_``. A detector's head starts with a bias of
    ``-log((1 - p) / p)``: Lin et al. 2017, Focal Loss for Dense Object Detection, section 4.1.

    >>> constant(0.25)(jax.random.key(0), (2,)).tolist()
    [0.25, 0.25]
    """

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        del key
        return jnp.full(shape, value, dtype)

    return init


def zeros(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """Returns zeros, the notebook's initial bias from section 4.4 on.

    Args:
        key: Unused; there so that all initializers can be called alike.
        shape: Shape of the result.
        dtype: Floating dtype of the result.

    Returns:
        An array of zeros.
    """
    del key
    return jnp.zeros(shape, dtype)


def ones(key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Float[Array, "..."]:
    """Returns ones, the initial scale of norms.

    Args:
        key: Unused; there so that all initializers can be called alike.
        shape: Shape of the result.
        dtype: Floating dtype of the result.

    Returns:
        An array of ones.
    """
    del key
    return jnp.ones(shape, dtype)
