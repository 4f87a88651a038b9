"""Hard decisions, accuracies and margins, computed from logits or predictions.

A metric takes the network's outputs first and the labels second, so that `fit` can call any of them.

Source:
    Notebook, sections 3.1.1, 3.2.2, 3.2.3 and 3.5.
"""

import torch.nn.functional as F
from jaxtyping import Float, Integer, Real
from torch import Tensor

from torchref.checks import require_same_shape


def decide(logits: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Hard decision of a binary classifier: 1 where `logistic(logits) >= 1/2`, else 0.

    Args:
        logits: shape (N,).

    Returns:
        0 or 1, shape (N,), in the dtype of `logits`.

    Source:
        Notebook, section 3.1.1.

    >>> import torch
    >>> decide(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0., 1., 1.])
    """
    return (logits >= 0).to(logits.dtype)


def hardmax(logits: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """One-hot vector of the largest logit of each sample, the first one where several are equal.

    Args:
        logits: shape (N, K).

    Returns:
        0 or 1, shape (N, K), one 1 in each row, in the dtype of `logits`.

    Differs:
        The notebook's formula puts a 1 on every maximum. Both frameworks document that `argmax` returns
        the first.

    Source:
        Notebook, section 3.2.2.

    >>> import torch
    >>> hardmax(torch.tensor([[1.0, 3.0, 3.0]]))
    tensor([[0., 1., 0.]])
    """
    return F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)


def binary_accuracy(logits: Float[Tensor, " N"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Share of samples whose hard decision is the label.

    Args:
        logits: shape (N,).
        labels: 0 or 1, shape (N,).

    Returns:
        Scalar in [0, 1], in the dtype of `logits`.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Notebook, section 3.1.5.
    """
    require_same_shape(logits=logits, labels=labels)
    return (decide(logits) == labels).to(logits.dtype).mean()


def accuracy(logits: Float[Tensor, "N K"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Share of samples whose largest logit is that of the label; the first of equal logits counts.

    Args:
        logits: shape (N, K).
        labels: class indices, integers of shape (N,), or one-hot labels of shape (N, K).

    Returns:
        Scalar in [0, 1], in the dtype of `logits`.

    Raises:
        ValueError: if `labels` have neither form.

    Source:
        Notebook, section 3.2.3.
    """
    classes = _classes(logits, labels)
    return (logits.argmax(dim=1) == classes).to(logits.dtype).mean()


def _classes(logits: Float[Tensor, "N K"], labels: Real[Tensor, "N *form"]) -> Integer[Tensor, " N"]:
    if labels.shape == logits.shape:
        return labels.argmax(dim=1)
    if labels.shape == logits.shape[:1] and not labels.is_floating_point():
        return labels
    raise ValueError(
        f"`labels` must be integers of shape {tuple(logits.shape[:1])} or one-hot of shape "
        f"{tuple(logits.shape)}, got {labels.dtype} of shape {tuple(labels.shape)}."
    )


def r_squared(predictions: Float[Tensor, " N"], targets: Real[Tensor, "N *form"]) -> Float[Tensor, ""]:
    """Coefficient of determination, `1 - sum (y - q)^2 / sum (y - mean(y))^2`.

    Args:
        predictions: shape (N,).
        targets: shape (N,); not all equal, or the result is infinite or NaN.

    Returns:
        Scalar in (-inf, 1], in the dtype of `predictions`; 0 for the mean as a constant prediction.

    Raises:
        ValueError: if the shapes differ.

    Source:
        Notebook, section 3.5 (the network; the score is the usual one of regression).
    """
    require_same_shape(predictions=predictions, targets=targets)
    targets = targets.to(predictions.dtype)
    residual = (targets - predictions).square().sum()
    total = (targets - targets.mean()).square().sum()
    return 1 - residual / total


def binary_margin(logits: Float[Tensor, " N"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, " N"]:
    """How far each sample is from the other decision: its logit, signed.

    Args:
        logits: shape (N,).
        labels: not used; every metric takes them.

    Returns:
        Shape (N,), in the dtype of `logits`.
    """
    return logits


def margin(logits: Float[Tensor, "N K"], labels: Real[Tensor, "N *form"]) -> Float[Tensor, " N"]:
    """How far each sample is from another decision: its largest logit minus the second largest.

    Args:
        logits: shape (N, K), K >= 2.
        labels: not used; every metric takes them.

    Returns:
        Shape (N,), >= 0, in the dtype of `logits`; 0 for a tie.

    Raises:
        ValueError: if K < 2.
    """
    if logits.shape[1] < 2:
        raise ValueError(f"`logits` must have two classes or more, got shape {tuple(logits.shape)}.")
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return first - second
