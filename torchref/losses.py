"""Losses: outputs of the network first, labels second, a scalar back.

Classifiers hand over logits, never probabilities: the logarithm of a softmax or of a logistic function
is computed in one stable piece, finite where the logarithm of a rounded probability would be infinite.

Source:
    Notebook, sections 3.1.2, 3.2.3, 3.5 and 4.4.
"""

import torch.nn.functional as F
from jaxtyping import Float, Real
from torch import Tensor

from torchref.checks import require_same_shape


def binary_cross_entropy(logits: Float[Tensor, " N"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Mean binary cross entropy, `-mean(y log q + (1 - y) log(1 - q))` with `q = logistic(logits)`.

    Args:
        logits: shape (N,).
        labels: 0 or 1, shape (N,).

    Returns:
        Scalar in the dtype of `logits`, in nats, >= 0.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Notebook, sections 3.1.2 and 3.1.4.

    >>> import torch
    >>> binary_cross_entropy(torch.tensor([1e4, -1e4]), torch.tensor([0, 0]))
    tensor(5000.)
    """
    require_same_shape(logits=logits, labels=labels)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def cross_entropy(logits: Float[Tensor, "N K"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Cross entropy, `-sum_k y_k log q_k` with `q = softmax(logits)`, averaged over samples.

    Args:
        logits: shape (N, K).
        labels: class indices in [0, K), integers of shape (N,), or one-hot or soft labels, floats of
            shape (N, K).

    Returns:
        Scalar in the dtype of `logits`, in nats, >= 0.

    Raises:
        ValueError: if `labels` have neither form.
        IndexError: if a class index is out of range (on an accelerator: a device-side error).

    Differs:
        Optax answers an index of K or more with NaN and counts a negative one from the end. PyTorch
        raises on both, except for -100, its `ignore_index`: such a sample has the loss 0.

    Source:
        Notebook, sections 3.2.3 and 4.4.2.
    """
    return cross_entropy_sum(logits, labels) / len(logits)


def cross_entropy_sum(logits: Float[Tensor, "N K"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Cross entropy summed over samples, as the notebook's NumPy softmax reports it.

    Args:
        logits: shape (N, K).
        labels: as for `cross_entropy`.

    Returns:
        Scalar in the dtype of `logits`, in nats, >= 0.

    Raises:
        ValueError: as `cross_entropy`.
        IndexError: as `cross_entropy`.

    Source:
        Notebook, section 3.2.3.
    """
    if labels.is_floating_point():
        require_same_shape(logits=logits, labels=labels)
        return F.cross_entropy(logits, labels.to(logits.dtype), reduction="sum")
    if labels.shape != logits.shape[:1]:
        raise ValueError(
            f"Integer `labels` must be class indices of shape {tuple(logits.shape[:1])}, "
            f"got {tuple(labels.shape)}. Cast one-hot labels to the dtype of `logits`."
        )
    return F.cross_entropy(logits, labels.long(), reduction="sum")


def cross_entropy_mean_all(
    logits: Float[Tensor, "N K"], labels: Real[Tensor, "N *form"]
) -> Float[Tensor, ""]:
    """Cross entropy averaged over samples and classes: `cross_entropy / K`.

    This is what the notebook's autograd part minimises; being K times smaller, it takes a larger rate.

    Args:
        logits: shape (N, K).
        labels: as for `cross_entropy`.

    Returns:
        Scalar in the dtype of `logits`, in nats, >= 0.

    Raises:
        ValueError: as `cross_entropy`.
        IndexError: as `cross_entropy`.

    Source:
        Notebook, section 4.4.1.
    """
    return cross_entropy(logits, labels) / logits.shape[1]


def square_error(predictions: Float[Tensor, "N *K"], targets: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Square error of each sample, `||y - q||^2`, averaged over samples.

    Args:
        predictions: outputs of a regression or soft decisions `q` of a classifier, shape (N,) or (N, K).
        targets: the same shape.

    Returns:
        Scalar in the dtype of `predictions`, in squared units of `targets`, >= 0.

    Raises:
        ValueError: if the shapes differ.

    Differs:
        `torch.nn.MSELoss` would average over the K outputs too. `optax.losses.squared_error` is
        elementwise.

    Source:
        Notebook, sections 3.1.2, 3.2.3 and 3.5.
    """
    require_same_shape(predictions=predictions, targets=targets)
    return F.mse_loss(predictions, targets.to(predictions.dtype), reduction="sum") / len(predictions)


def absolute_error(predictions: Float[Tensor, "N *K"], targets: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Absolute error of each sample, `||y - q||_1`, averaged over samples; derivative 0 where y = q.

    Args:
        predictions: outputs of a regression or soft decisions `q` of a classifier, shape (N,) or (N, K).
        targets: the same shape.

    Returns:
        Scalar in the dtype of `predictions`, in units of `targets`, >= 0.

    Raises:
        ValueError: if the shapes differ.

    Differs:
        `torch.nn.L1Loss` would average over the K outputs too.

    Source:
        Notebook, sections 3.1.2 and 3.2.3.
    """
    require_same_shape(predictions=predictions, targets=targets)
    return F.l1_loss(predictions, targets.to(predictions.dtype), reduction="sum") / len(predictions)
