"""Gradients derived by hand, to be compared with those of automatic differentiation.

Each function returns the gradient of the network's mean loss with respect to its params, in the same
nested dict. N samples, D features, K classes, H hidden units. All start from one fact: for both cross
entropies of this ladder, of logistic(o) and of softmax(o), the derivative of a sample's loss with
respect to its logits is ``q - y``, prediction minus label.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from jaxnn import activations, layers
from jaxnn.models import Layer, Layers

__all__ = [
    "HAND_GRADIENTS",
    "logistic_gradients",
    "softmax_gradients",
    "two_layer_as_coded_gradients",
    "two_layer_as_printed_gradients",
    "two_layer_tanh_gradients",
]


def logistic_gradients(
    params: Layer, x: Float[Array, "N D"], labels: Shaped[Array, " N"]
) -> dict[str, Array]:
    """Computes the gradient of the mean binary cross entropy of logistic regression.

    With o = w.x + b and q = logistic(o): dl/dq = (1-y)/(1-q) - y/q and dq/do = q (1-q), whose product
    is q - y. Hence

        dl/dw = 1/N sum_n (q_n - y_n) x_n        dl/db = 1/N sum_n (q_n - y_n)

    Args:
        params: ``{"kernel": (D, 1), "bias": (1,)}``.
        x: Inputs.
        labels: 0 or 1, any dtype.

    Returns:
        The gradient, shaped as `params`.

    Source: notebook, section 3.1.4, equations 5 to 8; a mean as in its code, where its text has a sum.
    """
    q = activations.logistic(layers.dense(params, x))
    return _dense_gradients(x, q - labels.astype(x.dtype)[:, jnp.newaxis])


def softmax_gradients(
    params: Layer, x: Float[Array, "N D"], labels: Shaped[Array, "N K"]
) -> dict[str, Array]:
    """Computes the gradient of the mean cross entropy of softmax regression.

    With q = softmax(o): dl/dq_i = -y_i/q_i and dq_i/do_j = q_i (1[i=j] - q_j), so that dl/do_j =
    q_j sum_i y_i - y_j = q_j - y_j, because a label's entries sum to 1. Hence

        dl/dW = 1/N sum_n x_n (q_n - y_n)^T      dl/db = 1/N sum_n (q_n - y_n)

    Args:
        params: ``{"kernel": (D, K), "bias": (K,)}``.
        x: Inputs.
        labels: One-hot or soft rows that sum to 1, any dtype.

    Returns:
        The gradient, shaped as `params`.

    Source: notebook, section 3.2.4, equations 12 to 19.
    """
    q = jax.nn.softmax(layers.dense(params, x), axis=1)
    return _dense_gradients(x, q - labels.astype(x.dtype))


def two_layer_tanh_gradients(
    params: Layers, x: Float[Array, "N D"], labels: Shaped[Array, " N"]
) -> dict[str, dict[str, Array]]:
    """Computes the gradient of the mean binary cross entropy of the two-layer network with tanh.

    With h = tanh(o1), o1 = W1 x + b1: the output layer is logistic regression on h, and the error goes
    back through w2 and through dh/do1 = 1 - h^2,

        dl/do1 = (q - y) w2 (1 - h^2)
        dl/dW1 = 1/N sum_n x_n (dl/do1)_n^T      dl/db1 = 1/N sum_n (dl/do1)_n

    Args:
        params: ``{"hidden": {"kernel": (D, H), "bias": (H,)}, "output": {"kernel": (H, 1), ...}}``.
        x: Inputs.
        labels: 0 or 1, any dtype.

    Returns:
        The gradient, shaped as `params`.

    Source: notebook, section 3.3.1, equations 21 to 25, corrected.
    """
    return _two_layer_gradients(params, x, labels, activations.tanh, lambda h: 1 - jnp.square(h))


def two_layer_as_coded_gradients(
    params: Layers, x: Float[Array, "N D"], labels: Shaped[Array, " N"]
) -> dict[str, dict[str, Array]]:
    """Computes the right gradient of the two-layer network with the notebook's coded activation.

    That is h = 2 logistic(o1) - 1 = tanh(o1 / 2). With s = logistic(o1), dh/do1 = 2 s (1 - s), and since
    s = (1 + h)/2 and 1 - s = (1 - h)/2,

        dh/do1 = (1 + h)(1 - h)/2 = (1 - h^2)/2

    The rest is as in `two_layer_tanh_gradients`.

    Args:
        params: As in `two_layer_tanh_gradients`.
        x: Inputs.
        labels: 0 or 1, any dtype.

    Returns:
        The gradient, shaped as `params`.

    Source: notebook, section 3.3.1, method ``forward``, with the derivative that belongs to it.
    """
    return _two_layer_gradients(
        params, x, labels, activations.shifted_logistic, lambda h: (1 - jnp.square(h)) / 2
    )


def two_layer_as_printed_gradients(
    params: Layers, x: Float[Array, "N D"], labels: Shaped[Array, " N"]
) -> dict[str, dict[str, Array]]:
    """Computes what the notebook prints for the two-layer network, which is NOT its gradient.

    It takes dh/do1 = (1 - h)^2 for h = 2 logistic(o1) - 1, in text and code. The square belongs on h
    alone, and the derivative of the coded activation has a factor 1/2: (1 - h^2)/2, see
    `two_layer_as_coded_gradients`. Near h = 0 the hidden layer moves twice as far as it should; towards
    h = -1, where the unit is saturated and the right factor vanishes, the printed one grows to 4, which
    is why the notebook's loss rises late in training. The output layer's part is right.

    Args:
        params: As in `two_layer_tanh_gradients`.
        x: Inputs.
        labels: 0 or 1, any dtype.

    Returns:
        The printed expression, shaped as `params`; wrong in the kernel and the bias of the hidden layer.

    Source: notebook, section 3.3.1, equations 22 and 25, and method ``backward``.
    """
    return _two_layer_gradients(params, x, labels, activations.shifted_logistic, lambda h: jnp.square(1 - h))


HAND_GRADIENTS: Mapping[str, Callable[[PyTree, Array, Array], PyTree]] = MappingProxyType(
    {
        "logistic": logistic_gradients,
        "softmax": softmax_gradients,
        "two_layer_tanh": two_layer_tanh_gradients,
        "two_layer_as_coded": two_layer_as_coded_gradients,
    }
)
"""The right gradients by hand, under the names of the recipes whose loss they differentiate."""


def _two_layer_gradients(
    params: Layers,
    x: Float[Array, "N D"],
    labels: Shaped[Array, " N"],
    activation: Callable[[Array], Array],
    slope: Callable[[Array], Array],
) -> dict[str, dict[str, Array]]:
    """Computes the gradients of both layers, with the activation's derivative as a function of h."""
    h = activation(layers.dense(params["hidden"], x))
    q = activations.logistic(layers.dense(params["output"], h))
    output_error = q - labels.astype(x.dtype)[:, jnp.newaxis]
    hidden_error = (output_error @ params["output"]["kernel"].T) * slope(h)
    return {"hidden": _dense_gradients(x, hidden_error), "output": _dense_gradients(h, output_error)}


def _dense_gradients(x: Float[Array, "N D"], errors: Float[Array, "N K"]) -> dict[str, Array]:
    """Computes the mean gradient of a dense layer from its inputs and the errors of its outputs."""
    return {"kernel": x.T @ errors / x.shape[0], "bias": jnp.mean(errors, axis=0)}
