"""What is recorded during training beside the losses: decisions, accuracies, margins.

All take logits (or predictions) first and labels second. Ties fall to the class of lowest index.
N samples, K classes.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

__all__ = ["accuracy", "binary_accuracy", "binary_margin", "decide", "hardmax", "margin", "r_squared"]


def decide(logits: Float[Array, " N"]) -> Float[Array, " N"]:
    """Computes hard decisions: 1 where ``q = logistic(logit)`` is at least one half, else 0.

    Args:
        logits: Any real numbers; the threshold on q is a threshold of 0 on them.

    Returns:
        0 or 1, in the dtype of the logits.

    Source: notebook, section 3.1.1.

    >>> decide(jnp.array([-1.0, 0.0, 2.0])).tolist()
    [0.0, 1.0, 1.0]
    """
    return (logits >= 0).astype(logits.dtype)


def hardmax(logits: Float[Array, "N K"]) -> Float[Array, "N K"]:
    """Computes one-hot decisions: 1 at the first greatest logit of every row, 0 elsewhere.

    Args:
        logits: Any real numbers.

    Returns:
        One-hot rows, in the dtype of the logits.

    Source: notebook, section 3.2.2; its formula gives several ones on ties, a classifier must choose.

    >>> hardmax(jnp.array([[1.0, 3.0, 3.0]])).tolist()
    [[0.0, 1.0, 0.0]]
    """
    return jax.nn.one_hot(jnp.argmax(logits, axis=1), logits.shape[1], dtype=logits.dtype)


def binary_accuracy(logits: Float[Array, " N"], labels: Shaped[Array, " N"]) -> Float[Array, ""]:
    """Computes the share of right decisions of a binary classifier.

    Args:
        logits: Any real numbers.
        labels: 0 or 1, any dtype.

    Returns:
        A number in [0, 1], in the dtype of the logits.

    Raises:
        ValueError: If the shapes differ.

    Source: notebook, section 3.1.1.

    >>> float(binary_accuracy(jnp.array([-1.0, 2.0]), jnp.array([1, 1])))
    0.5
    """
    if labels.shape != logits.shape:
        raise ValueError(f"`labels` has shape {labels.shape}, `logits` {logits.shape}: they must be equal.")
    return jnp.mean(decide(logits) == labels.astype(logits.dtype), dtype=logits.dtype)


def accuracy(logits: Float[Array, "N K"], labels: Shaped[Array, "N ..."]) -> Float[Array, ""]:
    """Computes the share of samples whose first greatest logit is at the labelled class.

    Args:
        logits: Any real numbers.
        labels: Class indices (N,), or one row per sample (N, K), whose first maximum is the class.

    Returns:
        A number in [0, 1], in the dtype of the logits.

    Raises:
        ValueError: If `labels` has neither shape.

    Source: notebook, section 3.2.3.

    >>> float(accuracy(jnp.array([[1.0, 3.0], [2.0, 2.0]]), jnp.array([1, 0])))
    1.0
    """
    if labels.shape == logits.shape:
        labels = jnp.argmax(labels, axis=1)
    elif labels.shape != logits.shape[:1]:
        raise ValueError(
            f"`labels` has shape {labels.shape}, `logits` {logits.shape}: `labels` must have shape "
            f"{logits.shape[:1]} or {logits.shape}."
        )
    decisions = jnp.argmax(logits, axis=1).astype(labels.dtype)
    return jnp.mean(decisions == labels, dtype=logits.dtype)


def r_squared(predictions: Float[Array, " N"], targets: Shaped[Array, " N"]) -> Float[Array, ""]:
    """Computes the coefficient of determination of a regression.

        1 - sum_n (y_n - p_n)^2 / sum_n (y_n - mean(y))^2

    Args:
        predictions: p.
        targets: y, any dtype.

    Returns:
        At most 1; 0 for a constant prediction of the mean. Not finite when all targets are equal.

    Raises:
        ValueError: If the shapes differ.

    >>> float(r_squared(jnp.array([1.0, 2.0, 3.0]), jnp.array([1, 2, 3])))
    1.0
    """
    if targets.shape != predictions.shape:
        raise ValueError(
            f"`targets` has shape {targets.shape}, `predictions` {predictions.shape}: they must be equal."
        )
    y = targets.astype(predictions.dtype)
    return 1 - jnp.sum(jnp.square(y - predictions)) / jnp.sum(jnp.square(y - jnp.mean(y)))


def binary_margin(logits: Float[Array, " N"], labels: Shaped[Array, " N"]) -> Float[Array, " N"]:
    """Returns how far each sample is from a change of the decision, with the sign of the decision.

    Args:
        logits: Any real numbers.
        labels: Unused; there so that all metrics can be called alike.

    Returns:
        The logits themselves, since the threshold is 0.
    """
    del labels
    return logits


def margin(logits: Float[Array, "N K"], labels: Shaped[Array, "N ..."]) -> Float[Array, " N"]:
    """Computes the lead of each sample's greatest logit over the second greatest.

    Args:
        logits: Any real numbers, K at least 2.
        labels: Unused; there so that all metrics can be called alike.

    Returns:
        Numbers in [0, inf), 0 on ties.

    Raises:
        ValueError: If there is only one class.

    >>> margin(jnp.array([[1.0, 5.0, 3.0]]), jnp.array([0])).tolist()
    [2.0]
    """
    del labels
    if logits.shape[1] < 2:
        raise ValueError(f"`logits` has shape {logits.shape}: a margin needs at least 2 classes.")
    top, _ = lax.top_k(logits, 2)
    return top[:, 0] - top[:, 1]
