"""Losses of yes-or-no answers, one per element: from probabilities, from logits, for one label or many.

Arguments have PyTorch's names. `input` and `target` have one shape; targets may have any dtype and are read
in that of the inputs. An optional `weight` broadcasts to the inputs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from jaxnn.losses.preconditions import expand_weight, read_targets, require_equal_shapes
from jaxnn.losses.reducing import Reduction, reduce

__all__ = ["bce_loss", "bce_with_logits_loss", "multi_label_soft_margin_loss", "soft_margin_loss"]

LEAST_LOGARITHM = -100.0
LEAST_VARIANCE = float(np.float32(1e-12))
"""The least q (1 - q) that PyTorch divides a gradient by: a float32 constant, in float64 as well."""


def bce_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the cross entropy of probabilities, ``-w [y log q + (1 - y) log(1 - q)]``.

    Logarithms are at least -100, so that losses are at most 100 w.

    Args:
        input: Probabilities q in [0, 1], any shape.
        target: y in [0, 1], same shape.
        weight: w, of a shape that broadcasts to that of `input`; 1 by default.
        reduction: "none", "mean" (over all elements, whatever their weights) or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If a shape does not fit or `reduction` is unknown.

    Differs: optax has none. As in PyTorch the gradient is not that of the value near 0 and 1: with respect
    to q it is ``(q - y) / max(q (1 - q), 1e-12)``, with respect to y that of the logarithms before they are
    cut off. PyTorch raises for a q outside [0, 1]; here it gives NaN. PyTorch has no gradient with respect
    to `weight`.

    Source: torch.nn.BCELoss.

    >>> bce_loss(jnp.array([0.0, 1.0]), jnp.array([1, 0]), reduction="none").tolist()
    [100.0, 100.0]
    """
    require_equal_shapes(input=input, target=target)
    spread = expand_weight("weight", weight, input)
    losses = _cut_cross_entropy(input, read_targets(target, input))
    return reduce(losses if spread is None else losses * spread, reduction)


def bce_with_logits_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    pos_weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the cross entropy of logits, ``-w [p y log q + (1 - y) log(1 - q)]`` with ``q = logistic(o)``.

    Args:
        input: Logits o, any shape.
        target: y in [0, 1], same shape.
        weight: w, of a shape that broadcasts to that of `input`; 1 by default.
        pos_weight: p, likewise, usually one per class; 1 by default.
        reduction: "none", "mean" (over all elements, whatever their weights) or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If a shape does not fit or `reduction` is unknown.

    Differs: ``optax.sigmoid_binary_cross_entropy``, on which it stands without `pos_weight`, has no weights.
    PyTorch computes ``(1 - y) o - log q``, which loses what is below a rounding of o: with y = 0 a logit
    of -40 costs 0 there and 4e-18 here, as a logit of 40 with y = 1 does in both; its gradient has lost the
    digits of the second. A logit of -inf with y = 1 costs infinity, NaN in PyTorch, which has no gradient
    with respect to the weights.

    Source: torch.nn.BCEWithLogitsLoss.

    >>> bce_with_logits_loss(jnp.array([-1e4, 1e4]), jnp.array([1, 1]), reduction="none").tolist()
    [10000.0, 0.0]
    """
    require_equal_shapes(input=input, target=target)
    spread, positive = expand_weight("weight", weight, input), expand_weight("pos_weight", pos_weight, input)
    y = read_targets(target, input)
    if positive is None:
        losses: Array = optax.sigmoid_binary_cross_entropy(input, y)
    else:
        losses = -positive * y * jax.nn.log_sigmoid(input) - (1 - y) * jax.nn.log_sigmoid(-input)
    return reduce(losses if spread is None else losses * spread, reduction)


def multi_label_soft_margin_loss(
    input: Float[Array, "..."],
    target: Shaped[Array, "..."],
    *,
    weight: Shaped[Array, "..."] | None = None,
    reduction: Reduction = "mean",
) -> Float[Array, "..."]:
    """Computes the mean over classes of the cross entropies of logits, one yes or no for each class.

    Args:
        input: Logits of shape (..., C): the classes lie on the last axis.
        target: In [0, 1], same shape.
        weight: Of a shape that broadcasts to that of `input`, usually (C,); 1 by default.
        reduction: "none", "mean" or "sum", over samples.

    Returns:
        Losses of the shape of `input` without its classes, or one number, in the dtype of `input`.

    Raises:
        ValueError: If a shape does not fit, `input` is a scalar or `reduction` is unknown.

    Differs: Nothing from the mean of ``optax.sigmoid_binary_cross_entropy``, on which it stands.

    Source: torch.nn.MultiLabelSoftMarginLoss.

    >>> float(multi_label_soft_margin_loss(jnp.array([[0.0, 1e4]]), jnp.array([[0, 1]])))
    0.3465735912322998
    """
    require_equal_shapes(input=input, target=target)
    if input.ndim == 0:
        raise ValueError(
            "`input` has shape (): its last axis must be that of the classes; reshape it to (N, C)."
        )
    losses = bce_with_logits_loss(input, target, weight=weight, reduction="none")
    return reduce(jnp.sum(losses, axis=-1) / input.shape[-1], reduction)


def soft_margin_loss(
    input: Float[Array, "..."], target: Shaped[Array, "..."], *, reduction: Reduction = "mean"
) -> Float[Array, "..."]:
    """Computes the logistic loss of signed labels, ``log(1 + exp(-y x))``.

    Args:
        input: x, any shape.
        target: y, 1 or -1, same shape.
        reduction: "none", "mean" or "sum".

    Returns:
        Losses of the shape of `input`, or one number, in the dtype of `input`.

    Raises:
        ValueError: If shapes differ or `reduction` is unknown.

    Differs: PyTorch takes the exponential as it is: below ``y x = -709`` (-88 in float32) its loss is
    infinite and its gradient NaN. Here they are ``-y x`` and ``-y``. PyTorch has no gradient with respect
    to `target`.

    Source: torch.nn.SoftMarginLoss.

    >>> soft_margin_loss(jnp.array([1e4, 1e4]), jnp.array([1, -1]), reduction="none").tolist()
    [0.0, 10000.0]
    """
    require_equal_shapes(input=input, target=target)
    return reduce(jax.nn.softplus(-read_targets(target, input) * input), reduction)


@jax.custom_jvp
def _cut_cross_entropy(q: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Computes the cross entropy of probabilities with logarithms of at least `LEAST_LOGARITHM`."""
    log_q, log_rest = (jnp.maximum(log, LEAST_LOGARITHM) for log in (jnp.log(q), jnp.log1p(-q)))
    return (y - 1) * log_rest - y * log_q


@_cut_cross_entropy.defjvp
def _cut_cross_entropy_jvp(
    primals: tuple[Float[Array, "..."], Float[Array, "..."]],
    tangents: tuple[Float[Array, "..."], Float[Array, "..."]],
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    (q, y), (q_change, y_change) = primals, tangents
    slope = (q - y) / jnp.maximum((1 - q) * q, LEAST_VARIANCE)
    slope = jnp.where((q >= 0) & (q <= 1), slope, jnp.nan)
    return _cut_cross_entropy(q, y), slope * q_change + (jnp.log1p(-q) - jnp.log(q)) * y_change
