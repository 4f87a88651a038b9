"""Cross entropies over C classes, from log-probabilities, from logits, and from what a last layer reads.

Arguments have PyTorch's names. Classes lie on axis 1: scores have shape (N, C) or (N, C, d1, ...), or (C,)
for a single sample. Class indices have that shape without its axis of classes. An index that is no class
gives NaN, in the loss and in the gradient of its sample: compiled code cannot raise as PyTorch does.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.preconditions import Number, class_axis, read_indices, read_targets, require_indices
from jaxnn.losses.reducing import Reduction, reduce, require_reduction

__all__ = ["cross_entropy_loss", "linear_cross_entropy_loss", "nll_loss"]


def nll_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the negative log-likelihood of the right classes, ``-w_y log q_y``.

    Args:
        input: Log-probabilities log q, of shape (C,), (N, C) or (N, C, d1, ...).
        target: Class indices y, integers of shape (), (N,) or (N, d1, ...).
        weight: w, one per class; 1 by default.
        ignore_index: Samples with this index count nothing, not even in the mean.
        reduction: "none", "mean" (divided by the sum of the samples' weights) or "sum".

    Returns:
        Losses of the shape of `target`, or one number, in the dtype of `input`. The mean is NaN if all
        samples are ignored; its gradient is 0.

    Raises:
        TypeError: If `target` is not integer.
        ValueError: If a shape does not fit or `reduction` is unknown.

    Differs: PyTorch raises for an index that is no class; here it gives NaN. PyTorch has no gradient with
    respect to `weight`.

    Source: torch.nn.NLLLoss.

    >>> float(nll_loss(jnp.log(jnp.array([[0.5, 0.5], [0.25, 0.75]])), jnp.array([0, -100])))
    0.6931471824645996
    """
    losses, weights = _likelihoods(input, target, _class_weights(weight, input), ignore_index)
    return reduce(losses, reduction, weights)


def cross_entropy_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    ignore_index: int = -100,
    label_smoothing: Number = 0.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the cross entropy of logits, ``-sum_c w_c y_c log q_c`` with ``q = softmax(o)``.

    Args:
        input: Logits o of shape (C,), (N, C) or (N, C, d1, ...).
        target: Class indices, integers of shape (), (N,) or (N, d1, ...); or probabilities y, floating and
            of the shape of `input`.
        weight: w, one per class; 1 by default.
        ignore_index: Samples with this index count nothing, not even in the mean.
        label_smoothing: s in [0, 1]; y becomes ``(1 - s) y + s / C``.
        reduction: "none", "mean" or "sum". The mean divides by the sum of the weights of the samples'
            classes if `target` has indices, by the number of samples if it has probabilities.

    Returns:
        Losses of the shape of `input` without its classes, or one number, in the dtype of `input`. The mean
        is NaN if all samples are ignored; its gradient is 0.

    Raises:
        TypeError: If `target` has the shape of indices and is not integer, or that of `input` and is.
        ValueError: If a shape does not fit, `label_smoothing` lies outside [0, 1], `ignore_index` is a
            class while `target` has probabilities, or `reduction` is unknown.

    Differs: ``optax.softmax_cross_entropy_with_integer_labels`` subtracts the logit from the normaliser:
    with logits around 1e4 it has lost a loss of 1e-12, where this one, as PyTorch, keeps its digits.
    PyTorch raises for an index that is no class; here it gives NaN. With indices PyTorch has no gradient
    with respect to `weight`.

    Source: torch.nn.CrossEntropyLoss; Szegedy et al. 2015, arXiv:1512.00567, section 7.

    >>> round(float(cross_entropy_loss(jnp.zeros((2, 10)), jnp.array([3, 7]))), 4)
    2.3026
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"`label_smoothing` is {label_smoothing}: it must lie in [0, 1]; give such a share.")
    axis = class_axis(input)
    num_classes = input.shape[axis]
    weights = _class_weights(weight, input)
    log_q = jax.nn.log_softmax(input, axis=axis)
    if target.shape == input.shape:
        y = _probabilities(input, target, ignore_index)
        if label_smoothing > 0:
            y = y * (1 - label_smoothing) + label_smoothing / num_classes
        terms = log_q * y if weights is None else log_q * y * weights
        return reduce(-jnp.sum(terms, axis=axis), reduction)
    losses, divisor = _likelihoods(log_q, target, weights, ignore_index)
    if label_smoothing > 0:
        spread = -jnp.sum(log_q if weights is None else log_q * weights, axis=axis)
        spread = jnp.where(target == ignore_index, jnp.zeros_like(spread), spread)
        # Reduced apart: with weights of zero the first mean is 0 / 0 and the second is not.
        right, smooth = reduce(losses, reduction, divisor), reduce(spread, reduction, divisor)
        return (1 - label_smoothing) * right + (label_smoothing / num_classes) * smooth
    return reduce(losses, reduction, divisor)


def linear_cross_entropy_loss(
    input: Float[Array, "..."],
    linear_weight: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    linear_bias: Float[Array, "..."] | None = None,
    weight: Shaped[Array, "..."] | None = None,
    ignore_index: int | None = None,
    label_smoothing: Number = 0.0,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes `cross_entropy_loss` of the logits ``o = W x + b`` of a last linear layer.

    Args:
        input: Features x of shape (F,) or (N, F).
        linear_weight: W of shape (C, F) or (C, d1, ..., F), in PyTorch's order.
        target: As in `cross_entropy_loss`, for logits of shape (C,), (N, C) or (N, C, d1, ...).
        linear_bias: b of shape (C,) or (C, d1, ...); none by default.
        weight: One per class; 1 by default.
        ignore_index: As there; None is -100, and the only choice if `target` has probabilities.
        label_smoothing: As there.
        reduction: As there.

    Returns:
        As `cross_entropy_loss`.

    Raises:
        TypeError: As `cross_entropy_loss`.
        ValueError: As there, or if a shape of the layer does not fit.

    Differs: PyTorch can work a batch off in chunks (its `options`) to save memory; that changes no number
    here, and a compiler decides it.

    Source: torch.nn.LinearCrossEntropyLoss.
    """
    require_reduction(reduction)
    features = input.shape[-1:]
    fits = input.ndim in (1, 2) and linear_weight.ndim >= 2 and linear_weight.shape[-1:] == features
    if not fits or (linear_weight.ndim > 2 and input.ndim == 1):
        raise ValueError(
            f"`linear_weight` has shape {linear_weight.shape}, `input` {input.shape}: they must be (C, F) "
            f"with (F,) or (N, F), or (C, d1, ..., F) with (N, F); reshape them."
        )
    logits = jnp.tensordot(input, linear_weight, ((-1,), (-1,)), precision=jax.lax.Precision.HIGHEST)
    if linear_bias is not None:
        if linear_bias.shape != linear_weight.shape[:-1]:
            raise ValueError(
                f"`linear_bias` has shape {linear_bias.shape}, `linear_weight` {linear_weight.shape}: the "
                f"first must be {linear_weight.shape[:-1]}; reshape it."
            )
        logits = logits + jnp.broadcast_to(linear_bias, logits.shape)
    if target.shape == logits.shape and ignore_index is not None:
        raise ValueError(
            f"`ignore_index` is {ignore_index}, but `target` has probabilities of shape {target.shape}: only "
            f"class indices can be ignored; leave it out."
        )
    return cross_entropy_loss(
        logits,
        target,
        weight=weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )


def _likelihoods(
    log_q: Float[Array, "..."],
    target: Shaped[Array, "..."],
    weights: Float[Array, "..."] | None,
    ignore_index: int,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Picks ``-w_y log q_y`` of every sample, and w_y; both are 0 where the sample is ignored."""
    axis = class_axis(log_q)
    samples = log_q.shape[:axis] + log_q.shape[axis + 1 :]
    if target.shape != samples:
        raise ValueError(
            f"`target` has shape {target.shape}, `input` {log_q.shape}: class indices must have shape "
            f"{samples}, probabilities that of `input`; reshape it."
        )
    require_indices("target", target)
    if target.dtype.itemsize < 4:
        target = target.astype(jnp.int32)  # -100 is not in the range of every type
    kept = target != ignore_index
    safe, valid = read_indices(target, log_q.shape[axis])
    index = jnp.expand_dims(safe, axis)
    zero = jnp.zeros(samples, log_q.dtype)
    picked = jnp.where(kept, jnp.squeeze(jnp.take_along_axis(log_q, index, axis), axis), zero)
    if weights is None:
        weight = jnp.ones_like(zero)
    else:
        weight = jnp.squeeze(jnp.take_along_axis(weights, index, axis), axis)
    weight = jnp.where(kept, weight, zero)
    # A product, not a choice: the gradient of a wrong index is to be NaN as well.
    wrong = jnp.where(kept & ~valid, jnp.nan, 1.0).astype(log_q.dtype)
    return -picked * weight * wrong, weight


def _class_weights(
    weight: Shaped[Array, "..."] | None, input: Float[Array, "..."]
) -> Float[Array, "..."] | None:
    """Spreads weights of classes over the scores."""
    if weight is None:
        return None
    axis = class_axis(input)
    if weight.shape != (input.shape[axis],):
        raise ValueError(
            f"`weight` has shape {weight.shape}, `input` {input.shape}: it must have one weight per class, "
            f"shape ({input.shape[axis]},)."
        )
    shape = [1] * input.ndim
    shape[axis] = -1
    return jnp.broadcast_to(weight.astype(input.dtype).reshape(shape), input.shape)


def _probabilities(
    input: Float[Array, "..."], target: Shaped[Array, "..."], ignore_index: int
) -> Float[Array, "..."]:
    """Returns the target's probabilities in the dtype of the logits."""
    if not jnp.issubdtype(target.dtype, jnp.floating):
        raise TypeError(
            f"`target` has the shape of `input`, {target.shape}, and dtype {target.dtype}: probabilities "
            f"must be floating; convert it, or give class indices without the axis of classes."
        )
    if ignore_index >= 0:
        raise ValueError(
            f"`ignore_index` is {ignore_index}, but `target` has probabilities of shape {target.shape}: only "
            f"class indices can be ignored; leave it out."
        )
    return read_targets(target, input)
