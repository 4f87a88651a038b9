"""The losses of the notebook: logits (or predictions) first, labels second, one number out.

The cross entropies take logits and are stable: finite values and gradients for logits of any finite
size. Labels may have any dtype; they are read in that of the logits. N samples, K classes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

__all__ = [
    "absolute_error",
    "binary_cross_entropy",
    "cross_entropy",
    "cross_entropy_mean_all",
    "cross_entropy_sum",
    "square_error",
]


def binary_cross_entropy(logits: Float[Array, " N"], labels: Shaped[Array, " N"]) -> Float[Array, ""]:
    """Computes the mean cross entropy of a binary classifier.

        -1/N sum_n [y_n log q_n + (1 - y_n) log(1 - q_n)]    with q = logistic(o)

    computed as ``y softplus(-o) + (1 - y) softplus(o)``, which neither saturates nor cancels.

    Args:
        logits: o, any real numbers.
        labels: y in [0, 1], any dtype.

    Returns:
        The mean over samples, in the dtype of the logits.

    Raises:
        ValueError: If the shapes differ.

    Source: notebook, section 3.1.2.

    >>> float(binary_cross_entropy(jnp.array([1e4, -1e4]), jnp.array([1, 1])))
    5000.0
    """
    _require_equal_shapes(logits, labels, "logits", "labels")
    y = labels.astype(logits.dtype)
    return jnp.mean(y * jax.nn.softplus(-logits) + (1 - y) * jax.nn.softplus(logits))


def cross_entropy(logits: Float[Array, "N K"], labels: Shaped[Array, "N ..."]) -> Float[Array, ""]:
    """Computes the mean cross entropy of a classifier of K classes.

        -1/N sum_n sum_k y_nk log q_nk    with q = softmax(o)

    Args:
        logits: o, any real numbers.
        labels: Class indices in 0..K-1, integers of shape (N,); or y itself, one-hot or soft, (N, K).

    Returns:
        The mean over samples, in the dtype of the logits. NaN if an index is no class.

    Raises:
        TypeError: If `labels` has shape (N,) and is not integer.
        ValueError: If `labels` has neither shape.

    Differs: PyTorch's library loss raises for an index that is no class, and skips samples labelled
    -100; compiled code cannot raise, so the result is NaN.

    Source: notebook, sections 3.2.3 and 4.4.2.

    >>> round(float(cross_entropy(jnp.zeros((2, 10)), jnp.array([3, 7]))), 4)
    2.3026
    """
    return jnp.mean(_cross_entropies(logits, labels))


def cross_entropy_sum(logits: Float[Array, "N K"], labels: Shaped[Array, "N ..."]) -> Float[Array, ""]:
    """Computes the cross entropy summed over samples: N times `cross_entropy`.

    Args:
        logits: Any real numbers.
        labels: As in `cross_entropy`.

    Returns:
        The sum over samples, in the dtype of the logits.

    Raises:
        TypeError: As in `cross_entropy`.
        ValueError: As in `cross_entropy`.

    Source: notebook, section 3.2.3, which reports this sum but descends along the mean's gradient.
    """
    return jnp.sum(_cross_entropies(logits, labels))


def cross_entropy_mean_all(logits: Float[Array, "N K"], labels: Shaped[Array, "N ..."]) -> Float[Array, ""]:
    """Computes the cross entropy averaged over samples and classes: `cross_entropy` divided by K.

    Args:
        logits: Any real numbers.
        labels: As in `cross_entropy`.

    Returns:
        The mean over samples and classes, in the dtype of the logits.

    Raises:
        TypeError: As in `cross_entropy`.
        ValueError: As in `cross_entropy`.

    Source: notebook, section 4.4.1; the factor 1/K is why its learning rate is 0.5.
    """
    return jnp.mean(_cross_entropies(logits, labels)) / logits.shape[1]


def square_error(predictions: Float[Array, "N ..."], targets: Shaped[Array, "N ..."]) -> Float[Array, ""]:
    """Computes the mean squared distance, ``1/N sum_n ||y_n - q_n||^2``.

    Args:
        predictions: q, soft predictions of shape (N,) or (N, K), or real values.
        targets: y, same shape, any dtype.

    Returns:
        The mean over samples (a sum over K), in the dtype of the predictions.

    Raises:
        ValueError: If the shapes differ.

    Differs: PyTorch's library loss also averages over K.

    Source: notebook, sections 3.1.2, 3.2.3 and 3.5.

    >>> float(square_error(jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])))
    2.0
    """
    _require_equal_shapes(predictions, targets, "predictions", "targets")
    error = targets.astype(predictions.dtype) - predictions
    return jnp.sum(jnp.square(error)) / predictions.shape[0]


def absolute_error(predictions: Float[Array, "N ..."], targets: Shaped[Array, "N ..."]) -> Float[Array, ""]:
    """Computes the mean absolute distance, ``1/N sum_n ||y_n - q_n||_1``.

    Args:
        predictions: q, soft predictions of shape (N,) or (N, K), or real values.
        targets: y, same shape, any dtype.

    Returns:
        The mean over samples (a sum over K), in the dtype of the predictions.

    Raises:
        ValueError: If the shapes differ.

    Differs: PyTorch's library loss also averages over K. An exact hit has a gradient of 0 here as there,
    where ``jnp.abs`` would give 1.

    Source: notebook, sections 3.1.2 and 3.2.3.

    >>> float(absolute_error(jnp.array([0.25, 1.0]), jnp.array([0, 1])))
    0.125
    """
    _require_equal_shapes(predictions, targets, "predictions", "targets")
    error = targets.astype(predictions.dtype) - predictions
    # |e| written as e sign(e): the derivative of JAX's abs at 0 is 1, that of PyTorch's is 0.
    return jnp.sum(error * jnp.sign(error)) / predictions.shape[0]


def _cross_entropies(logits: Float[Array, "N K"], labels: Shaped[Array, "N ..."]) -> Float[Array, " N"]:
    """Computes the cross entropy of every sample."""
    log_q = jax.nn.log_softmax(logits, axis=1)
    if labels.shape == logits.shape:
        return -jnp.sum(labels.astype(logits.dtype) * log_q, axis=1)
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"`labels` has shape {labels.shape}, `logits` {logits.shape}: `labels` must be class indices of "
            f"shape {logits.shape[:1]} or one row per sample of shape {logits.shape}."
        )
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"`labels` has shape {labels.shape} and dtype {labels.dtype}: class indices must be integers; "
            f"convert them, or give one row per sample."
        )
    # The default would read an index of -1 as the last class and hide a wrong label.
    samples = jnp.arange(logits.shape[0])
    picked = log_q.at[samples, labels].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    return -picked


def _require_equal_shapes(a: Array, b: Array, a_name: str, b_name: str) -> None:
    """Raises unless both arrays have the same shape; broadcasting would give a wrong mean silently."""
    if a.shape != b.shape:
        raise ValueError(
            f"`{a_name}` has shape {a.shape}, `{b_name}` {b.shape}: they must be equal; reshape one of them."
        )
