"""How weights are drawn before training: functions ``(key, shape, dtype) -> array``.

The signature is that of ``jax.nn.initializers``, so these serve Flax modules as well. The factories
are cached: equal arguments give the same function, hence the same compiled programs.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

__all__ = ["Initializer", "normal", "torch_uniform", "zeros"]

Initializer = Callable[..., Array]
"""A function ``(key, shape, dtype=float32) -> array``."""


@functools.cache
def normal(scale: float) -> Initializer:
    """Returns an initializer that draws from ``scale * N(0, 1)``.

    Args:
        scale: Standard deviation, at least 0.

    Returns:
        A function ``(key, shape, dtype=float32) -> array``.

    Raises:
        ValueError: If `scale` is negative.

    Source: notebook, sections 3.1.5 and 3.2.5 (0.1), 3.3.3 (0.01) and 4.4.1 (0.1).

    >>> normal(0.1)(jax.random.key(0), (4096, 10)).shape
    (4096, 10)
    """
    if scale < 0:
        raise ValueError(f"`scale` is {scale}: a standard deviation must be at least 0.")

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        return scale * jax.random.normal(key, shape, dtype)

    return init


@functools.cache
def torch_uniform(fan_in: int) -> Initializer:
    """Returns the default initializer of PyTorch's linear and convolutional layers.

    Kernel and bias are both uniform in ``[-1/sqrt(fan_in), 1/sqrt(fan_in))``, whose variance is
    ``1 / (3 fan_in)``.

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
    bound = 1 / fan_in**0.5

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        return jax.random.uniform(key, shape, dtype, minval=-bound, maxval=bound)

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
