"""The activation functions of the notebook's networks, element by element and safe for large inputs.

Values and gradients stay finite for every finite input, and each function keeps the shape and the
dtype of its argument.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = [
    "leaky_relu",
    "logistic",
    "prelu",
    "relu",
    "shifted_logistic",
    "shifted_logistic_as_printed",
    "softplus",
    "tanh",
]


def relu(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the rectifier, ``max(0, t)``, with derivative 0 at 0.

    Args:
        t: Any shape, any floating dtype.

    Returns:
        Same shape and dtype, in [0, inf).

    Source: notebook, section 3.4.

    >>> relu(jnp.array([-2.0, 0.0, 3.0])).tolist()
    [0.0, 0.0, 3.0]
    """
    return jax.nn.relu(t)


def leaky_relu(t: Float[Array, "*shape"], slope: float = 0.01) -> Float[Array, "*shape"]:
    """Computes ``t`` for positive inputs and ``slope * t`` for the others.

    Args:
        t: Any shape, any floating dtype.
        slope: The derivative for negative inputs, and at 0.

    Returns:
        Same shape and dtype.

    Differs: ``jax.nn.leaky_relu`` has derivative 1 at 0; this one has ``slope``, as PyTorch's.

    Source: notebook, section 3.4; its figure draws a slope of 0.1 under the name of 0.01.

    >>> leaky_relu(jnp.array([-2.0, 3.0]), slope=0.25).tolist()
    [-0.5, 3.0]
    """
    return jnp.where(t > 0, t, slope * t)


def prelu(t: Float[Array, "*shape"], alpha: float | Float[Array, ""]) -> Float[Array, "*shape"]:
    """Computes the parametric rectifier: ``t`` where positive, ``alpha * t`` elsewhere.

    Unlike ``max(alpha * t, t)``, which the notebook prints, it is right for ``alpha > 1`` too.

    Args:
        t: Any shape, any floating dtype.
        alpha: Learnable slope for negative inputs, one for all elements, in the dtype of ``t``.

    Returns:
        Same shape and dtype as ``t``.

    Differs: nothing; the derivative at 0 is ``alpha`` in PyTorch as well.

    Source: notebook, section 3.4; He et al. 2015, arXiv:1502.01852, equation 1.

    >>> prelu(jnp.array([-1.0, 3.0]), 2.0).tolist()
    [-2.0, 3.0]
    """
    return jnp.where(t > 0, t, alpha * t)


def softplus(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes ``log(1 + exp(t))`` without overflow; its derivative is `logistic`.

    Args:
        t: Any shape, any floating dtype.

    Returns:
        Same shape and dtype, in [0, inf).

    Differs: PyTorch's default replaces the function by ``t`` above a threshold of 20, which is exact
    in float32 but 2e-9 off in float64.

    Source: notebook, section 3.4.

    >>> softplus(jnp.array([-1e4, 1e4])).tolist()
    [0.0, 10000.0]
    """
    return jax.nn.softplus(t)


def tanh(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the hyperbolic tangent, ``2 logistic(2 t) - 1``.

    Args:
        t: Any shape, any floating dtype.

    Returns:
        Same shape and dtype, in [-1, 1].

    Source: notebook, section 3.3.1, whose formula lacks the inner factor 2: see `shifted_logistic`.
    """
    return jnp.tanh(t)


def logistic(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes ``1 / (1 + exp(-t))`` without overflow.

    Args:
        t: Any shape, any floating dtype.

    Returns:
        Same shape and dtype, in [0, 1].

    Source: notebook, section 3.1.1.

    >>> logistic(jnp.array([-1e4, 0.0, 1e4])).tolist()
    [0.0, 0.5, 1.0]
    """
    return jax.nn.sigmoid(t)


def shifted_logistic(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes ``2 logistic(t) - 1``, which is ``tanh(t / 2)``.

    The notebook's code has this function where its text says tanh. Computed as ``tanh(t / 2)``, since
    the difference of two numbers near 1 would lose digits around 0.

    Args:
        t: Any shape, any floating dtype.

    Returns:
        Same shape and dtype, in [-1, 1].

    Source: notebook, section 3.3.1, method ``forward``.
    """
    return jnp.tanh(0.5 * t)


@jax.custom_jvp
def shifted_logistic_as_printed(t: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes `shifted_logistic`, with the WRONG derivative that the notebook prints.

    The derivative is ``(1 - h)^2`` where ``(1 - h^2) / 2`` is right. Automatic differentiation through it
    gives the hidden-layer gradients as the notebook prints and codes them
    (`jaxnn.by_hand.two_layer_as_printed_gradients`), so that its published runs can be repeated. Values
    are right, gradients are not.

    Args:
        t: Any shape, any floating dtype.

    Returns:
        Same shape and dtype, in [-1, 1].

    Source: notebook, section 3.3.1: the square stands on the wrong operand.

    >>> float(jax.grad(shifted_logistic_as_printed)(jnp.zeros(())))  # one half is right
    1.0
    """
    return shifted_logistic(t)


shifted_logistic_as_printed.defjvps(lambda tangent, h, t: tangent * jnp.square(1 - h))
