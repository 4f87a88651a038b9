"""Entries whose spread follows from the number of inputs and outputs: Xavier's and Kaiming's rules."""

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from jaxnn.initializers.distributions import Initializer

_GAINS = {
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), 1.0),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), 1.0),
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}
"""Gains of the nonlinearities without a parameter, as PyTorch has them."""

_SLOPE = 0.01
"""Negative slope of a leaky ReLU where none is given."""


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Counts the inputs of one output unit and the outputs of one input unit of a kernel.

    For a kernel of shape ``(*window, I, O)``: ``fan_in = |window| I`` and ``fan_out = |window| O``.

    Args:
        shape: Shape of the kernel in JAX's layout; I is the number of inputs per group.

    Returns:
        ``(fan_in, fan_out)``.

    Raises:
        ValueError: If there are fewer than two axes.

    Differs: PyTorch's kernels are ``(O, I, *window)``, and its rule reads the first two axes wherever
    they come from: see `layer_defaults.conv_transpose`.

    Source: PyTorch's ``nn.init``, fans of a tensor.

    >>> fans((3, 3, 8, 64))
    (72, 576)
    """
    if len(shape) < 2:
        raise ValueError(
            f"`shape` is {shape}: a kernel needs at least 2 axes, inputs and outputs, to have fans. Draw a "
            "bias by the fan_in of its kernel (`torch_uniform`), or set it to zeros."
        )
    window = math.prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Returns the factor on the standard deviation that keeps a signal's size through a nonlinearity.

    1 for linear layers and the sigmoid, 5/3 for tanh, ``sqrt(2)`` for ReLU, ``sqrt(2 / (1 + param^2))``
    for a leaky ReLU and 3/4 for SELU.

    Args:
        nonlinearity: Name of the function, as in PyTorch's ``nn.functional``.
        param: Negative slope of ``"leaky_relu"``, 0.01 when None; not used by the others.

    Returns:
        The gain.

    Raises:
        ValueError: If there is no such nonlinearity.

    Source: PyTorch's ``nn.init.calculate_gain``; He et al. 2015, Delving Deep into Rectifiers, eq. 14.

    >>> round(calculate_gain("leaky_relu", 5**0.5), 4)
    0.5774
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (_SLOPE if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        known = ", ".join(sorted([*_GAINS, "leaky_relu"]))
        raise ValueError(f"`nonlinearity` is {nonlinearity!r}: it must be one of {known}.")
    return _GAINS[nonlinearity]


@functools.cache
def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Returns an initializer that draws from U(-b, b), ``b = gain sqrt(6 / (fan_in + fan_out))``.

    Args:
        gain: Factor on the bound; see `calculate_gain`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(*window, I, O)``.

    Differs: ``nn.MultiheadAttention`` draws queries, keys and values as one matrix of ``3 d`` rows, whose
    fans are those of that matrix: see `layer_defaults.multi_head_attention`.

    Source: PyTorch's ``nn.init.xavier_uniform_``; Glorot and Bengio 2010, Understanding the difficulty
    of training deep feedforward neural networks, eq. 16.

    >>> bool(abs(xavier_uniform()(jax.random.key(0), (2, 4))).max() <= 1)
    True
    """
    return _scaled(gain, "fan_avg", "uniform")


@functools.cache
def xavier_normal(gain: float = 1.0) -> Initializer:
    """Returns an initializer that draws from ``gain sqrt(2 / (fan_in + fan_out)) N(0, 1)``.

    Args:
        gain: Factor on the standard deviation; see `calculate_gain`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(*window, I, O)``.

    Differs: ``jax.nn.initializers.xavier_normal`` cuts the normal distribution off at two standard
    deviations; this one does not.

    Source: PyTorch's ``nn.init.xavier_normal_``; Glorot and Bengio 2010, eq. 12.

    >>> xavier_normal()(jax.random.key(0), (3, 3, 8, 16)).shape
    (3, 3, 8, 16)
    """
    return _scaled(gain, "fan_avg", "normal")


@functools.cache
def kaiming_uniform(
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Initializer:
    """Returns an initializer that draws from U(-b, b), ``b = gain sqrt(3 / fan)``.

    The gain is ``calculate_gain(nonlinearity, a)``. With ``a = sqrt(5)`` it is ``1 / sqrt(3)`` and the
    bound ``1 / sqrt(fan_in)``: the default of PyTorch's linear and convolutional kernels.

    Args:
        a: Negative slope of the leaky ReLU that follows; not used by other nonlinearities.
        mode: ``"fan_in"`` or ``"fan_out"``, which keeps the size of the gradients instead of the signal's.
        nonlinearity: See `calculate_gain`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(*window, I, O)``.

    Raises:
        ValueError: If there is no such mode or nonlinearity.

    Differs: ``jax.nn.initializers.he_uniform`` has the gain of ReLU and no other.

    Source: PyTorch's ``nn.init.kaiming_uniform_``; He et al. 2015, section 2.2.

    >>> bool(abs(kaiming_uniform(a=5**0.5)(jax.random.key(0), (4, 9))).max() <= 0.5)
    True
    """
    return _scaled(calculate_gain(nonlinearity, a), _required(mode), "uniform")


@functools.cache
def kaiming_normal(
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> Initializer:
    """Returns an initializer that draws from ``gain / sqrt(fan) N(0, 1)``.

    Args:
        a: Negative slope of the leaky ReLU that follows; not used by other nonlinearities.
        mode: ``"fan_in"`` or ``"fan_out"``.
        nonlinearity: See `calculate_gain`.

    Returns:
        A function ``(key, shape, dtype=float32) -> array`` for shapes ``(*window, I, O)``.

    Raises:
        ValueError: If there is no such mode or nonlinearity.

    Differs: ``jax.nn.initializers.he_normal`` cuts the normal distribution off at two standard
    deviations; this one does not.

    Source: PyTorch's ``nn.init.kaiming_normal_``; He et al. 2015, eq. 10.

    >>> kaiming_normal(nonlinearity="relu")(jax.random.key(0), (64, 10)).shape
    (64, 10)
    """
    return _scaled(calculate_gain(nonlinearity, a), _required(mode), "normal")


def _scaled(
    gain: float,
    mode: Literal["fan_in", "fan_out", "fan_avg"],
    distribution: Literal["uniform", "normal"],
) -> Initializer:
    """JAX's rule of variances, of which Xavier's and Kaiming's are settings."""
    draw = jax.nn.initializers.variance_scaling(gain**2, mode, distribution)

    def init(
        key: Key[Array, ""], shape: tuple[int, ...], dtype: DTypeLike = jnp.float32
    ) -> Float[Array, "..."]:
        fans(shape)
        return draw(key, shape, dtype)

    return init


def _required(mode: str) -> Literal["fan_in", "fan_out"]:
    if mode == "fan_in":
        return "fan_in"
    if mode == "fan_out":
        return "fan_out"
    raise ValueError(f"`mode` is {mode!r}: it must be 'fan_in' or 'fan_out'.")
